"""Pictures of tables: what stands where, and what a recipe may ask for."""

import json

import pytest
from small_runs import REPO

from histomm.engine.reproduce import RecipeError, make_plan, read_recipe, write_report
from histomm.engine.reproduce.curve import Curve, Point
from histomm.engine.reproduce.figure import alt_text, figure_of, series

LABELS = dict(xlabel='share of labels, %', ylabel='accuracy, %')


def test_over_columns_each_row_is_a_line():
    curve = Curve('columns', '* %', **LABELS)
    assert curve.points(['fixed', 'random'], ['5 %', 'F1', '12.5 %']) == [
        Point('fixed', 5, 'fixed', '5 %'),
        Point('fixed', 12.5, 'fixed', '12.5 %'),
        Point('random', 5, 'random', '5 %'),
        Point('random', 12.5, 'random', '12.5 %'),
    ]


def test_over_rows_what_stands_before_the_number_is_the_line():
    points = Curve('rows', 'Accuracy', **LABELS).points(['Table 7, fixed, 5 %', '100 %'], ['Accuracy', 'F1'])
    assert points == [
        Point('Table 7, fixed', 5, 'Table 7, fixed, 5 %', 'Accuracy'),
        Point('Accuracy', 100, '100 %', 'Accuracy'),
    ]
    lines = [point.line for point in Curve('rows', '*', **LABELS).points(['fixed 5'], ['Accuracy', 'F1'])]
    assert lines == ['fixed, Accuracy', 'fixed, F1']


def finish(records, run, value):
    """Leave what a training leaves behind."""
    records.begin(run)
    path = records.folder(run) / 'run' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({'coco/bbox_mAP': value, 'step': 3}))
    records.end(run, 1.0, dict(commit='c', machine='m', versions='v'))


def test_figures_of_finished_seeds_beside_the_published_ones(toy):
    toy.recipe['figure'] = dict(over='rows', columns='AP', **LABELS)
    rows = toy.recipe['rows'].values()
    toy.recipe['rows'] = {f'one, {share} %': row for share, row in zip((5, 20), rows, strict=True)}
    plan, records, _ = parts = toy.parts(toy.plan())
    for seed, value in enumerate((0.5, 0.6)):
        finish(records, plan.runs[f'fine/one/seed{seed}'], value)
    found = series(plan, records, plan.recipe.figure)['one']
    (place, mean, spread) = found.ours[0]
    assert (place, round(mean, 6), round(spread, 6)) == (5, 55, 7.071068)  # 10 / sqrt(2)
    assert len(found.ours) == 1
    assert found.published == [(5, 52.3)]
    write_report(*parts, toy.work / 'out')
    assert (toy.work / 'out/figure.png').is_file()
    assert 'alt="accuracy, % against share of labels, %: one"' in (toy.work / 'out/report.html').read_text()


def test_no_figure_without_figures(toy):
    toy.recipe['figure'] = dict(over='rows', columns='AP', **LABELS)
    toy.recipe['rows'] = {'one, 5 %': {'names': toy.recipe['rows']['first'].get('names', {})}}
    parts = toy.parts(toy.plan())
    assert figure_of(*parts[:2]) is None
    write_report(*parts, toy.work / 'out')
    assert not (toy.work / 'out/figure.png').exists()


@pytest.mark.parametrize(
    ('figure', 'message'),
    [
        (dict(over='cells'), r"figure\.over: is 'cells', expected one of rows, columns"),
        (dict(columns='F*'), r"figure\.columns: 'F\*' fits none of AP"),
        (dict(), r"figure\.over: is 'rows', but 'first' does not end in a number such as 5 %"),
        (dict(over='columns'), r"figure\.over: is 'columns', but 'AP' does not end in a number"),
        (dict(kind='curve'), r'figure\.kind: is no known field, expected one of over, columns, xlabel, ylabel'),
        (dict(xlabel=3), r'figure\.xlabel: is 3, expected str'),
    ],
)
def test_figures_that_cannot_be_are_refused(toy, figure, message):
    toy.recipe['figure'] = dict(over='rows', columns='AP', **LABELS) | figure
    with pytest.raises(RecipeError, match=message):
        toy.plan()


@pytest.mark.parametrize(
    ('name', 'lines', 'places'),
    [
        ('simclr-table3', ['Average of classes'], [0.01, 0.1, 1, 10]),
        ('mpcs-table8', ['Fixed', 'Ordered', 'Random'], [5, 10, 20, 40, 60, 80, 100]),
    ],
)
def test_shipped_figures_show_all_that_was_published(name, lines, places):
    plan = make_plan(read_recipe(REPO / f'configs/reproduce/{name}.yaml'), seeds=1)
    points = plan.recipe.figure.points(plan.rows(), plan.columns())
    assert list(dict.fromkeys(point.line for point in points)) == lines
    for line in lines:
        assert [point.place for point in points if point.line == line] == places
    assert all(plan.recipe.rows[point.row].published[point.column] for point in points)
    assert alt_text(plan).endswith(f': {", ".join(lines)}')
