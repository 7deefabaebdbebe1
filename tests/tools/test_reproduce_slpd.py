"""Recipes of SLPD: published figures, what each row pre-trains and trains, and a run of every kind of stage."""

import json
import re

import pytest
from region_stores import draw_tokens
from tool_modules import REPO, load_tool

from histomm.engine.reproduce import Commands, Launch, Records, check_plan, make_plan, read_recipe
from histomm.engine.reproduce.check import merged_config
from histomm.engine.reproduce.plan import ancestors
from histomm.engine.reproduce.table import rows

COLUMNS = ('NSCLC accuracy', 'NSCLC AUC', 'BRCA accuracy', 'BRCA AUC')


def recipe(number, budget='full'):
    return read_recipe(REPO / f'configs/reproduce/slpd-table{number}.yaml', budget)


def trained(plan, row, column):
    """Config of the aggregator behind a cell, and of its pre-training; None where nothing was trained."""
    folder = plan.cells[row, column][0]
    lineage = [plan.runs[name] for name in (folder, *ancestors(plan, folder)) if plan.runs[name].kind == 'train']
    found = {run.folder.split('/')[0]: merged_config(run, REPO) for run in lineage}
    return found.get('slides'), found.get('pretrain')


def test_figures_of_table_1_are_those_of_the_readme():
    names = {'SLPD': 'regions, SLPD', '+ intra-slide': 'regions, + intra', '+ inter-slide': 'regions, + inter'}
    page = (REPO / 'configs/nsclc/README.md').read_text()
    lines = re.findall(
        r'^\| ([\w-]+) \| (.+?) \| (\.\d+)±\S+ / (\.\d+)±\S+ \| (\.\d+)±\S+ / (\.\d+)±\S+ \|$', page, re.M
    )
    expected = {f'{kind}, {names.get(source, source)}': tuple(map(float, values)) for kind, source, *values in lines}
    rows = recipe(1).rows
    assert {name: tuple(row.published[column] for column in COLUMNS) for name, row in rows.items()} == expected
    assert len(lines) == 13


def test_figures_of_table_2():
    rows = recipe(2).rows
    whole = ('Global clustering', 'Neighbours by regions', 'SLPD')
    assert [tuple(rows[name].published.values()) for name in whole] == [
        (0.848, 0.925, 0.842, 0.863),
        (0.828, 0.915, 0.843, 0.849),
        (0.864, 0.939, 0.869, 0.886),
    ]
    counted = {name: tuple(row.published.get(column) for column in COLUMNS[1::2]) for name, row in rows.items()}
    assert {name: values for name, values in counted.items() if '=' in name} == {
        'M = 2': (0.936, 0.886), 'M = 3': (0.938, 0.878), 'M = 4': (0.939, 0.872),
        'K = 2': (0.938, 0.889), 'K = 3': (0.936, 0.880),
    }  # fmt: skip


def test_rows_of_table_1_are_what_they_are_called():
    plan = make_plan(recipe(1), seeds=1)
    weights = {'DINO': None, '+ intra': (1.0, 0.0), '+ inter': (0.0, 1.0), 'SLPD': (1.0, 1.0)}
    kinds = {'MIL': 'MaxMIL', 'DS-MIL': 'DSMIL', 'ViT_WSI': 'ViTWSI', 'kNN': None}
    for row, column in plan.cells:
        aggregator, source, method = row.split(', ')
        slides, pretraining = trained(plan, row, column)
        if slides is not None:
            assert slides.model.aggregator.type == f'histomm.{kinds[aggregator]}'
            assert slides.model.aggregator.in_channels == (384 if source == 'patches' else 192)
        else:
            assert aggregator == 'kNN'
        if source == 'patches':
            assert pretraining is None
            continue
        model = pretraining.model
        assert model.type == ('histomm.DINO' if method == 'DINO' else 'histomm.SLPD')
        if weights[method]:
            assert (model.alpha_intra, model.alpha_inter) == weights[method]
            assert model.num_prototypes == (4 if column.startswith('NSCLC') else 2)
        assert ('NSCLC' in pretraining.train_dataloader.dataset.data_root) == column.startswith('NSCLC')


def test_rows_of_table_2_are_what_they_are_called():
    plan = make_plan(recipe(2), seeds=1)
    expected = {
        'Global clustering': dict(scope='global', alpha_inter=0.0, alpha_intra=1.0),
        'Neighbours by regions': dict(neighbors='regions', scope='slide', alpha_inter=1.0),
        'SLPD': dict(neighbors='prototypes', scope='slide', num_neighbors=1),
        **{f'M = {m}': dict(num_prototypes=m, num_neighbors=1) for m in (2, 3, 4)},
        **{f'K = {k}': dict(num_neighbors=k) for k in (2, 3)},
    }
    for row, column in plan.cells:
        slides, pretraining = trained(plan, row, column)
        assert slides.model.aggregator.type == 'histomm.ViTWSI'
        assert {name: pretraining.model[name] for name in expected[row]} == expected[row]


def test_a_seed_is_a_fold_and_the_test_part_is_looked_at_once():
    plan = make_plan(recipe(1))
    folders = plan.cells['ViT_WSI, regions, SLPD', 'BRCA AUC']
    assert len(folders) == 10
    for fold, folder in enumerate(folders):
        cfg = merged_config(plan.runs[folder], REPO)
        for part in (cfg.train_dataloader, cfg.val_dataloader):
            assert part.dataset.split_file == f'<root>/TCGA-BRCA/splits/splits_{fold}.csv'
            assert part.dataset.feature_folder == '<work>/features/brca/regions-slpd/bags'
        assert (cfg.train_dataloader.dataset.part, cfg.val_dataloader.dataset.part) == ('train', 'test')
        assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs == 20
        assert cfg.randomness.seed == 1
    assert len([folder for folder in plan.runs if folder.startswith('pretrain/')]) == 8, 'one for all folds'


def test_regions_are_embedded_with_the_config_that_their_training_left():
    for number in (1, 2):
        plan = make_plan(recipe(number), seeds=1)
        embedded = [run for folder, run in plan.runs.items() if '/regions-' in folder]
        assert len(embedded) == (8 if number == 1 else 14)
        for run in embedded:
            (pretraining,) = (plan.runs[need] for need in run.needs)
            left = f'<work>/{pretraining.folder}'
            assert run.args[:2] == (f'{left}/{pretraining.target.rpartition("/")[2]}', left)


def test_tables_share_their_slpd():
    one, two = (make_plan(recipe(number)).runs for number in (1, 2))
    shared = {folder for folder in one if '/slpd' in folder or 'regions-slpd' in folder} & set(two)
    assert 'slides/brca/vit-wsi-region/slpd/fold9' in shared
    assert all(one[folder] == two[folder] for folder in shared)


def test_numbers_of_prototypes_that_slpd_has_are_not_trained_twice():
    cells = make_plan(recipe(2)).cells
    for row, data in (('M = 4', 'NSCLC'), ('M = 2', 'BRCA')):
        assert cells[row, f'{data} AUC'] == cells['SLPD', f'{data} AUC']
    assert len({folders[0] for (_, column), folders in cells.items() if column == 'NSCLC AUC'}) == 7


@pytest.mark.parametrize('budget', ['small', 'smoke'])
def test_data_of_small_budgets_are_drawn(budget):
    for number in (1, 2):
        plan = make_plan(recipe(number, budget))
        assert {path for run in plan.runs.values() for path in run.data()} == set()


def test_from_tokens_to_figures(tmp_path, monkeypatch):
    """Patches and regions, training and neighbours, of one data set; the other, and DINO, have the same stages.

    All commands are run in this process. How slides become tokens, the page of HIPT's configs is tried for.
    """
    tokens = draw_tokens(tmp_path, 96, slides=16)
    table = tokens / 'slides.csv'
    table.write_text(table.read_text().replace(',A\n', ',LUAD\n').replace(',B\n', ',LUSC\n'))
    load_tool('tools/split_slides.py').main([str(table), '--folds', '4', '--out', str(tmp_path / 'splits')])
    names = {'nsclc-tokens': str(tokens), 'nsclc-table': str(table), 'nsclc-splits': str(tmp_path / 'splits')}
    found = read_recipe(REPO / 'configs/reproduce/slpd-table1.yaml', 'smoke', names)
    plan = make_plan(found, None, ('MIL, patches, DINO', 'kNN, regions, SLPD'), ('NSCLC*',))
    work = tmp_path / 'work'
    check_plan(plan, REPO, tmp_path, work)
    records, commands = Records(plan, REPO, tmp_path, work), Commands(REPO, tmp_path, work, Launch())
    monkeypatch.chdir(REPO)
    kinds = []
    for run in records.due():
        records.begin(run)
        program, script, *words = commands.of(run).argv
        assert program == 'python'
        load_tool(script).main(words)
        records.end(run, 1, {})
        kinds.append(run.folder.split('/')[0])
    assert sorted(kinds) == ['features', 'features', 'pretrain', 'slides', 'slides']
    lines = rows(plan, records)[1]
    assert len(lines) == 2
    assert all(re.fullmatch(r'[\d.]+ \(n = 1\)', cell) for line in lines for cell in line[1::2])
    (log,) = (work / 'pretrain/slpd/nsclc/slpd').glob('*/*.log')
    assert re.search(r'prototypes', log.read_text())
    features = work / 'features/nsclc'
    stems = [{path.stem for path in (features / kind / 'bags').glob('*.h5')} for kind in ('patches', 'regions-slpd')]
    assert stems[0] == stems[1]
    assert len(stems[0]) == 16
    scores = json.loads((work / 'slides/nsclc/knn/slpd/fold0/folds.json').read_text())
    assert set(scores['folds']) == {'0'}
