"""The report: figures worked out by hand, what is not there yet, and what it says about the budget."""

import re

import pytest

from histomm.engine.reproduce import write_report
from histomm.engine.reproduce.recipe import Column
from histomm.engine.reproduce.table import cell_text, markdown, rows


@pytest.mark.parametrize(
    ('values', 'planned', 'column', 'text'),
    [
        ([0.501, 0.503, 0.511], 3, Column('s', 'm', 100), '50.5 ± 0.5 (n = 3)'),  # sd of .1, .3, 1.1 is sqrt(.28)
        ([0.5], 1, Column('s', 'm', 100), '50.0 (n = 1)'),
        ([0.65, 0.66], 5, Column('s', 'm', 1, 4), '0.6550 ± 0.0071 (n = 2 of 5)'),  # .01 / sqrt(2)
        ([0.1, 0.5, 0.2], 3, Column('s', 'm', 1, 2, 'max'), '0.50 (n = 3)'),
        ([0.1, 0.5, 0.2], 3, Column('s', 'm', 1, 2, 'median'), '0.20 (n = 3)'),
        # the third and fourth of 1..6 from the top: 80 % of the way from 1 to 6
        ([1, 6, 5, 4, 3, 2], 6, Column('s', 'm', 1, 1, 'percentile80'), '5.0 (n = 6)'),
    ],
)
def test_cell(values, planned, column, text):
    assert cell_text(values, planned, column) == text


def test_figures_stand_beside_the_published_ones(toy):
    parts, _ = toy.run(rows=('first',))
    # the toy's training gives .5 and .6
    assert rows(parts[0], parts[1]) == (['', 'AP', 'paper'], [['first', '55.0 ± 7.1 (n = 2)', '52.3']])
    plan, records, _ = toy.parts(toy.plan(seeds=3))
    assert rows(plan, records)[1] == [['first', '55.0 ± 7.1 (n = 2 of 3)', '52.3'], ['second', 'not run yet', None]]


def test_a_row_shows_another_metric(toy):
    toy.recipe['rows']['first']['metrics'] = {'AP': 'coco/segm_mAP'}
    config = toy.repo / 'configs/toy.py'
    config.write_text(config.read_text().replace("metric=['bbox']", "metric=['bbox', 'segm']"))
    parts, _ = toy.run(seeds=1)
    # the toy's training gives .5 for boxes and half of it for masks
    assert [line[1] for line in rows(parts[0], parts[1])[1]] == ['25.0 (n = 1)', '50.0 (n = 1)']


def test_average_of_columns_seed_by_seed(toy):
    toy.recipe['columns'] |= {
        'Masks': {'stage': 'fine', 'metric': 'coco/segm_mAP', 'scale': 10},
        'Mean': {'average': ['AP', 'Masks'], 'digits': 2},
    }
    toy.recipe['rows']['first']['published'] = {'Mean': 3}
    config = toy.repo / 'configs/toy.py'
    config.write_text(config.read_text().replace("metric=['bbox']", "metric=['bbox', 'segm']"))
    toy.run(rows=('first',), seeds=2)
    plan, records, _ = toy.parts(toy.plan(seeds=3))
    # 50 and 2.5 with the first seed, 60 and 3 with the second: 26.25 and 31.5, and 5.25 / sqrt(2) is 3.71
    assert [line[-2:] for line in rows(plan, records)[1]] == [
        ['28.88 ± 3.71 (n = 2 of 3)', '3.00'],
        ['not run yet', None],
    ]
    plan, records, _ = toy.parts(toy.plan(columns=('AP',)))
    assert rows(plan, records)[0] == ['', 'AP', 'paper']


def test_average_with_a_column_that_has_one_value_for_all_seeds(toy):
    once = toy.recipe['stages']['once'] = toy.recipe['stages']['fine'] | {'folder': 'once/{method}'}
    once['options'] = {'randomness.seed': 3}
    toy.recipe['columns'] |= {'Once': {'stage': 'once', 'metric': 'coco/bbox_mAP'}, 'Mean': {'average': ['AP', 'Once']}}
    parts, _ = toy.run(rows=('first',), seeds=2)
    # (50 + .8) / 2 and (60 + .8) / 2
    assert rows(*parts[:2])[1][0][-2] == '27.9 ± 3.5 (n = 2)'
    toy.recipe['columns']['Mean'] = {'average': ['Once']}
    plan, records, _ = toy.parts(toy.plan(rows=('first',), seeds=2))
    assert rows(plan, records)[1][0][-2] == '0.8 (n = 1)'


def test_begun_is_told_from_not_run(toy):
    plan, records, _ = toy.parts(toy.plan())
    records.begin(plan.runs['fine/two/seed1'])
    assert [line[1] for line in rows(plan, records)[1]] == ['not run yet', 'begun']


def test_changed_results_are_not_shown(toy):
    toy.run()
    toy.recipe['stages']['make']['args'][0] = 'other'
    plan, records, _ = toy.parts(toy.plan())
    assert [line[1] for line in rows(plan, records)[1]] == ['not run yet', 'not run yet']


def test_markdown_and_page(toy):
    parts, _ = toy.run(rows=('first',))
    write_report(*parts, toy.work / 'out')
    text = (toy.work / 'out/report.md').read_text()
    assert '|   | AP | paper |\n| --- | --: | --: |\n| first | 55.0 ± 7.1 (n = 2) | 52.3 |' in text
    assert '- Published figures: Somebody 2020, Table 9' in text
    assert '- Stages: 4 of 4 finished' in text
    assert re.search(r'- Hardware: \d+ cores of ', text)
    assert re.search(r'- Software: Python 3\.\d+\.\d+, histomm ', text)
    assert '- Commit: unknown (no git checkout)' in text
    assert 'Mind the gap.' in text
    assert 'cannot be compared' not in text
    page = (toy.work / 'out/report.html').read_text()
    cells = re.findall('<t[hd][^>]*>([^<]*)</t[hd]>', page)
    assert cells[:6] == ['', 'AP', 'paper', 'first', '55.0 ± 7.1 (n = 2)', '52.3']
    assert f'python tools/copy.py make --out {toy.work}/data/made' in page
    assert 'Mind the gap.' in page


def test_another_budget_is_said_not_to_be_comparable(toy):
    parts = toy.parts(toy.plan('tiny'))
    assert (
        "The budget is 'tiny', not that of the paper: these figures cannot be compared with the published ones. "
        'Everything is tiny.'
    ) in markdown(*parts[:2], toy.work)
    write_report(*parts, toy.work / 'out')
    assert 'cannot be compared with the published ones' in (toy.work / 'out/report.html').read_text()
