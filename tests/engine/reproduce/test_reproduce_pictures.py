"""Pictures of a recipe: which rows stand in them, what they wait for, and that the report shows them."""

import base64
import copy
import re

import pytest

from histomm.engine.reproduce import Launch, RecipeError, StageFailed, script, write_report
from histomm.engine.reproduce.table import markdown

DRAW = """
import argparse
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument('--out', type=Path)
parser.add_argument('--of', nargs=2, action='append')
args = parser.parse_args()
root = Path(__file__).resolve().parents[1]
with open(root / 'journal', 'a') as file:
    file.write('picture of ' + ' and '.join(name for name, _ in args.of) + '\\n')
assert not (root / 'fail_draw').exists(), 'pip install brushes'
args.out.parent.mkdir(parents=True, exist_ok=True)
args.out.write_bytes(b' '.join(Path(path).read_bytes() for _, path in args.of))
"""
BOTH = dict(
    script='tools/draw.py',
    folder='looks/all/seed{seed}',
    args=['--out', '{out}/picture.png'],
    each=['--of', 'from {method}', '{fine}/iter_3.pth'],
    caption='Who is who.',
)
"""Both rows side by side, from their trainings."""
OWN = dict(
    script='tools/draw.py',
    folder='looks/{method}',
    args=['--of', '{method}', '{weights}/result', '--out', '{out}/picture.png'],
    caption='What it weighs.',
)
"""One picture a row, from its weights."""


@pytest.fixture
def drawn(toy):
    (toy.repo / 'tools/draw.py').write_text(DRAW)
    toy.recipe['pictures'] = copy.deepcopy({'Faces': BOTH, 'Scales': OWN})
    return toy


def test_rows_stand_side_by_side_or_each_by_itself(drawn):
    plan = drawn.plan()
    *_, both, first, second = plan.runs.values()
    assert both.args == (
        '--out', '<work>/looks/all/seed0/picture.png',
        '--of', 'from one', '<work>/fine/one/seed0/iter_3.pth', '--of', 'from two', '<work>/fine/two/seed0/iter_3.pth',
    )  # fmt: skip
    assert both.needs == ('fine/one/seed0', 'fine/two/seed0')
    assert (first.args[1:3], second.args[1:3]) == (
        ('one', '<work>/weights/one/result'),
        ('two', '<work>/weights/two/result'),
    )
    shown = [(drawing.heading, drawing.row, drawing.folder) for drawing in plan.drawings]
    assert shown == [
        ('Faces', '', 'looks/all/seed0'), ('Scales', 'first', 'looks/one'), ('Scales', 'second', 'looks/two'),
    ]  # fmt: skip


def test_rows_are_those_that_are_chosen_and_fit_the_pattern(drawn):
    assert [drawing.row for drawing in drawn.plan(rows=('second',)).drawings] == ['', 'second']
    assert 'from one' not in drawn.plan(rows=('second',)).runs['looks/all/seed0'].args
    drawn.recipe['pictures']['Scales']['rows'] = 'f*'
    assert [drawing.row for drawing in drawn.plan().drawings] == ['', 'first']
    assert [drawing.heading for drawing in drawn.plan(rows=('second',)).drawings] == ['Faces']


def test_a_picture_brings_commands_but_no_training(drawn):
    """Those of trainings that no chosen column needs are left out; what was made for the picture alone is not."""
    stages = drawn.recipe['stages']
    stages['other'] = stages['fine'] | {'folder': 'other/{method}/seed{seed}'}
    stages['extra'] = stages['weights'] | {'folder': 'extra/{method}'}
    drawn.recipe['columns']['Other'] = drawn.recipe['columns']['AP'] | {'stage': 'other'}
    drawn.recipe['pictures']['Scales']['args'][2] = '{extra}/result'
    assert [drawing.heading for drawing in drawn.plan(columns=('AP',)).drawings] == ['Faces', 'Scales', 'Scales']
    plan = drawn.plan(columns=('Other',))
    assert [drawing.heading for drawing in plan.drawings] == ['Scales', 'Scales']
    assert {'extra/one', 'extra/two'} < set(plan.runs)
    assert not [folder for folder in plan.runs if folder.startswith('fine/')]
    drawn.recipe['rows']['second']['instead'] = {'other': 'fine'}
    (faces, *_) = (run for run in drawn.plan(columns=('Other',)).runs.values() if run.stage == 'Faces')
    assert faces.args[2:4] == ('--of', 'from two')
    assert len(faces.args) == 5


def test_pictures_are_drawn_last_and_shown(drawn):
    parts, journal = drawn.run(seeds=1)
    plan, records, commands = parts
    assert journal[-3:] == ['picture of from one and from two', 'picture of one', 'picture of two']
    assert len(journal) == 5 + 3
    write_report(*parts, drawn.work / 'reports/toy')
    page = (drawn.work / 'reports/toy/report.html').read_text()
    content = base64.b64encode((drawn.work / 'looks/one/picture.png').read_bytes()).decode()
    assert f'src="data:image/png;base64,{content}" alt="Scales, first. What it weighs."' in page
    assert re.findall('<h2>(.+?)</h2>\n<p>(.+?)</p>', page) == [
        ('Faces', 'Who is who.'), ('Scales', 'What it weighs.'), ('Commands', 'In the folder of the repository:'),
    ]  # fmt: skip
    assert re.findall('<figcaption>(.+?)</figcaption>', page) == ['first', 'second']
    text = (drawn.work / 'reports/toy/report.md').read_text()
    assert '## Faces\n\nWho is who.\n\n![Faces](../../looks/all/seed0/picture.png)\n\n## Scales\n\n' in text
    assert text.endswith('![Scales, second](../../looks/two/picture.png)\n')
    assert '- Stages: 8 of 8 finished' in text
    assert '# looks/two: finished in' in script(plan, records, commands)


def test_before_they_are_drawn_the_report_has_none_and_the_script_has_all(drawn):
    plan, records, commands = drawn.parts(drawn.plan())
    assert '![' not in markdown(plan, records, drawn.work)
    assert script(plan, records, commands).count('python tools/draw.py') == 3
    assert '# looks/two: not run yet' in script(plan, records, commands)


def test_only_what_changed_or_is_gone_is_drawn_again(drawn):
    drawn.run(seeds=1)
    assert drawn.run(seeds=1)[1] == []
    (drawn.work / 'looks/two/picture.png').unlink()
    assert drawn.run(seeds=1)[1] == ['picture of two']
    drawn.recipe['pictures']['Scales']['args'][1] = 'anew {method}'
    assert drawn.run(seeds=1)[1] == ['picture of anew one', 'picture of anew two']


def test_figures_stand_when_a_picture_cannot_be_drawn(drawn):
    (drawn.repo / 'fail_draw').touch()
    with pytest.raises(
        StageFailed, match=r'the stage looks/all/seed0 ended with status 1, see \S+looks--all--seed0\.txt'
    ):
        drawn.run(seeds=1)
    assert any('pip install brushes' in line for line in drawn.said)
    plan, records, _ = drawn.parts(drawn.plan(seeds=1))
    assert '| first | 50.0 (n = 1) | 52.3 |' in markdown(plan, records, drawn.work)
    (drawn.repo / 'fail_draw').unlink()
    assert len(drawn.run(seeds=1)[1]) == 3


def test_figures_are_made_after_a_picture_has_failed_beside_them(drawn):
    args = ['--of', '{method}', '{make}/result', '--out', '{out}/picture.png']
    drawn.recipe['pictures'] = {'Early': OWN | dict(args=args)}
    (drawn.repo / 'fail_draw').touch()
    with pytest.raises(StageFailed, match='the stage looks/one ended with status 1'):
        drawn.run(Launch(jobs=2), rows=('first',), seeds=1)
    plan, records, _ = drawn.parts(drawn.plan(rows=('first',), seeds=1))
    assert [run.stage for run in plan.runs.values() if not records.finished(run)] == ['Early']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(rows='third*'), r"pictures\.Scales\.rows: 'third\*' fits none of first, second"),
        (dict(args=['--out', '{out}']), r'pictures\.Scales\.args: do not say where .* expected \{out\}/picture\.png'),
        (dict(kind='command'), r'pictures\.Scales\.kind: is no known field, expected one of script, folder, args, cap'),
        (dict(each='x'), r"pictures\.Scales\.each: is 'x', expected list"),
        (dict(folder='looks'), r"pictures\.Scales\.folder: 'looks' is that of two different runs \(args"),
        (dict(folder='{looks}'), r'pictures\.Scales\.folder: \{looks\} is no stage and no name'),
        (dict(script='tools/none.py'), r'pictures\.Scales\.script: tools/none\.py: no such file'),
    ],
)
def test_what_is_wrong_with_a_picture_is_told_before_anything_runs(drawn, change, message):
    drawn.recipe['pictures']['Scales'] |= change
    with pytest.raises(RecipeError, match=rf'^recipe \S+/recipe\.yaml: {message}'):
        drawn.plan()
