"""Plans: which runs stand behind which cell, in what order, and that they are held against configs and data."""

import pytest

from histomm.engine.reproduce import RecipeError, check_data


def test_runs_behind_the_cells(toy):
    plan = toy.plan()
    assert list(plan.runs) == [
        'data/made', 'weights/one', 'fine/one/seed0', 'fine/one/seed1',
        'weights/two', 'fine/two/seed0', 'fine/two/seed1',
    ]  # fmt: skip
    assert plan.cells == {
        ('first', 'AP'): ['fine/one/seed0', 'fine/one/seed1'],
        ('second', 'AP'): ['fine/two/seed0', 'fine/two/seed1'],
    }
    run = plan.runs['weights/two']
    assert run.args == (
        'two',
        '--out',
        '<work>/weights/two',
        '--of',
        '<work>/data/made/result',
        '<root>/patches/list.txt',
    )
    assert run.needs == ('data/made',)
    assert run.data() == {'<root>/patches/list.txt'}
    run = plan.runs['fine/two/seed1']
    assert dict(run.options) == {'randomness.seed': '1', 'load_from': '<work>/weights/two/result'}
    assert run.needs == ('weights/two',)


def test_a_stage_that_ignores_the_seed_runs_once(toy):
    del toy.recipe['stages']['fine']['options']['randomness.seed']
    toy.recipe['stages']['fine']['folder'] = 'fine/{method}'
    assert toy.plan(seeds=5).cells['first', 'AP'] == ['fine/one']


def test_rows_and_columns_can_be_chosen(toy):
    assert list(toy.plan(rows=('sec*',), seeds=1).runs) == ['data/made', 'weights/two', 'fine/two/seed0']
    with pytest.raises(RecipeError, match=r"rows: 'third' fits none of first, second"):
        toy.plan(rows=('first', 'third'))


def test_an_average_brings_its_columns_and_no_others(toy):
    toy.recipe['columns'] |= {'Other': toy.recipe['columns']['AP'], 'Mean': {'average': ['AP']}}
    assert {column for _, column in toy.plan(columns=('Mean',)).cells} == {'AP'}
    assert {column for _, column in toy.plan().cells} == {'AP', 'Other'}


def test_a_row_replaces_stages_wherever_they_are_referred_to(toy):
    toy.recipe['stages']['other'] = toy.recipe['stages']['make'] | {'folder': 'data/other'}
    toy.recipe['rows']['second']['instead'] = {'make': 'other'}
    plan = toy.plan(seeds=1)
    assert plan.runs['weights/one'].needs == ('data/made',)
    assert plan.runs['weights/two'].needs == ('data/other',)


def test_names_refer_to_names_and_lists_are_written_for_the_command_line(toy):
    toy.recipe['names'] |= {'word': '{method}-{thing}', 'thing': 'x{seed}'}
    toy.recipe['stages']['fine']['options'] |= {'+scale': [[400, '{word}'], [True, None]]}
    assert toy.plan().runs['fine/two/seed1'].options['scale'] == '[[400,two-x1],[True,None]]'


@pytest.mark.parametrize(
    ('stage', 'field', 'value', 'message'),
    [
        ('make', 'args', ['{mkae}'], r'stages\.make\.args: \{mkae\} is no stage and no name, expected one of root'),
        ('make', 'args', ['{weights}'], r'stages\.weights: needs itself by way of weights, make'),
        ('make', 'args', ['{word}'], r'stages\.make\.args: \{word\} refers to itself'),
        ('make', 'script', 'tools/none.py', r'stages\.make\.script: tools/none\.py: no such file'),
        ('fine', 'config', 'configs/none.py', r'stages\.fine\.config: configs/none\.py: no such file'),
        ('fine', 'folder', 'fine/{method}', r"folder: 'fine/one' is that of two different runs \(options\.random"),
        ('fine', 'options', {'a': 1}, r'stages\.fine\.options\.a: \S+ has no such field; to add it, write \+a'),
        ('fine', 'options', {'+randomness.seed': 1}, r'options\.randomness\.seed: \S+ has this field already; le'),
        ('fine', 'options', {'randomness.seed': 'a b'}, r"options\.randomness\.seed: 'a b' has white space"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_runs(toy, stage, field, value, message):
    toy.recipe['names']['word'] = '{word}'
    toy.recipe['stages'][stage][field] = value
    with pytest.raises(RecipeError, match=rf'^recipe \S+/recipe\.yaml: .*{message}'):
        toy.plan()


@pytest.mark.parametrize(
    ('evaluator', 'metric', 'right'),
    [
        ("dict(type='CocoMetric', metric=['bbox', 'segm'])", 'coco/segm_mAP', True),
        ("dict(type='CocoMetric', metric='bbox')", 'coco/bbox_mAP_75', True),
        ("dict(type='mmdet.CocoMetric', metric='bbox')", 'coco/segm_mAP', False),
        ("dict(type='CocoMetric', metric='bbox')", 'bbox_mAP', False),
        ("dict(type='CocoMetric', metric='bbox', prefix='val')", 'coco/bbox_mAP', False),
        ("[dict(type='Own', prefix='x'), dict(type='CocoMetric', metric='bbox')]", 'coco/bbox_mAP', True),
        ("dict(type='histomm.JaccardDiceMetric')", 'jaccard_micro', True),
        ("dict(type='histomm.JaccardDiceMetric')", 'jaccard_batch_mean', False),
        ("dict(type='histomm.JaccardDiceMetric', batch_mean=True)", 'dice_batch_mean', True),
        ("dict(type='histomm.JaccardDiceMetric', prefix='bcss')", 'dice_macro', False),
        ("dict(type='Own', prefix='x')", 'y/score', False),
        ("dict(type='Own', prefix='x')", 'x/score', True),
        ('None', 'coco/bbox_mAP', False),
    ],
)
def test_metrics_are_held_against_the_evaluator(toy, evaluator, metric, right):
    config = toy.repo / 'configs/toy.py'
    config.write_text(f'{config.read_text()}val_evaluator = {evaluator}\n')
    toy.recipe['columns']['AP']['metric'] = metric
    if right:
        toy.plan()
    else:
        with pytest.raises(RecipeError, match=rf"columns\.AP\.metric: '{metric}' is not given by the val_evaluator"):
            toy.plan()


def test_all_missing_data_are_told(toy):
    toy.recipe['stages']['make']['args'] = ['{root}/CRAG', '{root}/patches', '{root}/glas']
    plan = toy.plan()
    with pytest.raises(
        RecipeError, match=r'recipe\.yaml: reads \S+/data/CRAG, \S+/data/glas, found nothing there; put'
    ):
        check_data(plan, toy.root)


def test_weights_that_may_be_absent_are_not_missed(toy):
    toy.recipe['stages']['fine']['options'] |= {
        '+init.type': 'histomm.PretrainedIfPresent', '+init.checkpoint': '{root}/weights.pth'
    }  # fmt: skip
    plan = toy.plan(seeds=1, rows=('first',))
    assert '<root>/weights.pth' in plan.runs['fine/one/seed0'].data()
    check_data(plan, toy.root)
    before = toy.parts(plan)[1].parts['fine/one/seed0']
    (toy.root / 'weights.pth').write_text('w')
    assert toy.parts(plan)[1].parts['fine/one/seed0'] != before


def test_more_seeds_than_folds_are_refused(toy):
    toy.recipe['folds'] = 3
    toy.plan(seeds=3)
    with pytest.raises(RecipeError, match=r'recipe\.yaml: seeds: found 4, but each is one of 3 folds; choose fewer'):
        toy.plan(seeds=4)


def test_paths_that_options_cannot_hold_are_refused(toy):
    (toy.root / 'a, b').mkdir()
    toy.root = toy.root / 'a, b'
    toy.recipe['names']['patches'] = '{root}'
    toy.recipe['stages']['weights']['args'] = ['{method}', '--out', '{out}']
    with pytest.raises(RecipeError, match=r'a, b: has a space, bracket, comma or = in its path'):
        toy.plan()
