"""Recipes of MPCS on BACH and the cells of UCSB: published figures, what each row trains, and a run of a cell."""

import re

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image
from recipe_runs import run_stages
from tool_modules import REPO, load_tool

from histomm.engine.reproduce import RecipeError, check_data, make_plan, read_recipe, with_pictures
from histomm.engine.reproduce.check import merged_config
from histomm.engine.reproduce.plan import ancestors

NUMBER = r'[\d.]+'


def recipe(number, budget='full', **names):
    return read_recipe(REPO / f'configs/reproduce/mpcs-table{number}.yaml', budget, names)


def page(folder):
    return (REPO / 'configs' / folder / 'README.md').read_text()


def line(folder, start):
    """The figures of the line of a table of the README that begins with ``start``."""
    (found,) = re.findall(rf'^\| {re.escape(start)} \| (.+) \|$', page(folder), re.M)
    return [float(number) for number in re.findall(NUMBER, found)]


# ---- published figures


def test_figures_of_table_7_are_those_of_the_readme():
    rows = recipe(7).rows
    assert {row: list(content.published.values()) for row, content in rows.items()} == {
        row: line('bach', row) for row in rows
    }
    assert rows['MPCS, ordered'].published == {
        'Image val': 93.31, 'Image test': 91.85, 'Patch val': 83.9, 'Patch test': 83.13
    }  # fmt: skip


def test_figures_of_table_8_are_those_of_the_readme():
    found = {}
    for row, content in recipe(8).rows.items():
        method = re.fullmatch(r'(\w+), \d+ %', row)[1]
        found.setdefault(method, []).extend([content.published['Accuracy'], content.published['F1']])
    assert found == {method: line('bach', f'MPCS, {method.lower()}, by labels') for method in found}
    assert found['Random'][:2] == [53.0, 0.51]
    assert all(len(values) == 14 for values in found.values())


def test_figures_of_table_9_are_those_of_the_readme():
    rows = recipe(9).rows
    assert {row: list(content.published.values()) for row, content in rows.items()} == {
        row: line('ucsb', row) for row in rows
    }
    assert list(rows['MPCS, ordered'].published.values()) == [98.18, 0.99, 0.98, 96.36, 0.97, 0.96]


def test_columns_show_what_they_are_called():
    """Those of Table 8 are swapped in the authors' code."""
    expected = {
        7: {
            'Image val': ('bach-val', 'vote/accuracy', 100), 'Image test': ('bach-test', 'vote/accuracy', 100),
            'Patch val': ('bach-val', 'classification/accuracy', 100),
            'Patch test': ('bach-test', 'classification/accuracy', 100),
        },
        8: {'Accuracy': ('bach-test', 'vote/accuracy', 100), 'F1': ('bach-test', 'vote/macro_f1', 1)},
        9: {
            'Accuracy': ('ucsb', 'vote/accuracy', 100), 'Precision': ('ucsb', 'vote/macro_precision', 1),
            'Recall': ('ucsb', 'vote/balanced_accuracy', 1), 'Accuracy, linear': ('ucsb-linear', 'vote/accuracy', 100),
            'Precision, linear': ('ucsb-linear', 'vote/macro_precision', 1),
            'Recall, linear': ('ucsb-linear', 'vote/balanced_accuracy', 1),
        },
    }  # fmt: skip
    found = {
        number: {name: (column.stage, column.metric, column.scale) for name, column in recipe(number).columns.items()}
        for number in expected
    }
    assert found == expected


# ---- what a row trains


def trainings(plan, folder):
    runs = [plan.runs[name] for name in (folder, *ancestors(plan, folder))]
    return [(run, merged_config(run, REPO)) for run in runs if run.kind == 'train']


@pytest.mark.parametrize('number', [7, 8, 9])
def test_rows_are_pre_trained_with_their_pairs_on_breakhis_from_imagenet(number):
    plan = make_plan(recipe(number), seeds=1)
    for (row, _), (folder,) in plan.cells.items():
        found = trainings(plan, folder)
        if row == 'ImageNet':
            ((_, tuned),) = found
            assert tuned.model.backbone.init_cfg.checkpoint == '<root>/weights/resnet50_imagenet.pth'
            continue
        (_, tuned), (_, pretrained) = found
        assert tuned.model.backbone.init_cfg.checkpoint.startswith('<work>/pretrain/mpcs/mpcs_r50_breakhis_')
        sampler = pretrained.train_dataloader.dataset.pipeline[0]
        assert sampler.strategy == row.removeprefix('MPCS, ').partition(',')[0].lower()
        assert pretrained.train_dataloader.dataset.data_root == '<root>/BreaKHis_v1'
        assert pretrained.model.backbone.init_cfg[2].checkpoint == '<root>/weights/resnet50_imagenet.pth'


def test_validation_is_not_what_is_tested_and_every_seed_has_its_split():
    plan = make_plan(recipe(7), seeds=2, rows=('MPCS, random',))
    for seed in (0, 1):
        lists = f'<work>/data/bach-lists-60/original/seed{seed}'
        assert plan.runs[f'data/bach-lists-60/original/seed{seed}'].args[-1] == str(seed)
        for column, part in (('Image val', 'val'), ('Patch test', 'test')):
            folder = plan.cells['MPCS, random', column][seed]
            tested = merged_config(plan.runs[folder], REPO)
            assert tested.test_dataloader.dataset.list_file == f'{lists}/{part}.csv'
            ((_, tuned), _) = trainings(plan, folder)
            assert tuned.train_dataloader.dataset.list_file == f'{lists}/train.csv'
            assert tuned.val_dataloader.dataset.list_file == f'{lists}/val.csv'


def test_shares_of_the_labels_are_portions_of_the_training_images():
    plan = make_plan(recipe(8), seeds=1, rows=('Fixed*',), columns=('F1',))
    lists = [
        trainings(plan, folder)[0][1].train_dataloader.dataset.list_file.rpartition('/')[2]
        for (folder,) in plan.cells.values()
    ]
    assert lists == [*(f'train_{count}_each.csv' for count in (3, 6, 12, 24, 36, 48)), 'train.csv']
    whole = make_plan(recipe(7), seeds=1, rows=('MPCS, fixed',), columns=('Image test',))
    assert {folder: plan.runs.get(folder) for folder in whole.runs} == whole.runs, 'the training with all labels is one'


def test_photographs_of_another_stain_have_results_of_their_own():
    own = {'bach-data': '/stains', 'stain': 'reinhard'}
    one, other = (make_plan(recipe(7, **names), seeds=1).runs for names in ({}, own))
    shared = set(one) & set(other)
    assert all(folder.startswith('pretrain/') for folder in shared)
    assert len(shared) == 3


def test_rates_of_the_small_budget_suit_its_batches():
    plan = make_plan(recipe(9, 'small'), seeds=1, rows=('MPCS, fixed',))
    rates = {
        run.stage: merged_config(run, REPO).optim_wrapper.optimizer.lr
        for run in plan.runs.values()
        if run.kind == 'train'
    }
    assert rates == {'pretrain': 0.15, 'ucsb-train': 0.001, 'ucsb-linear-train': 0.001}


def test_linear_evaluation_shares_all_but_the_training():
    plan = make_plan(recipe(9), seeds=1, rows=('MPCS, fixed',))
    tuned, linear = (
        trainings(plan, plan.cells['MPCS, fixed', column][0])[0][1] for column in ('Recall', 'Recall, linear')
    )
    assert linear.model.backbone.frozen_stages == 4
    linear.model.backbone.frozen_stages = -1
    assert linear.to_dict() == tuned.to_dict()


@pytest.mark.parametrize(('number', 'column'), [(7, 'Image test'), (9, 'Accuracy')])
def test_pictures_look_into_the_fine_tuned_classifiers_at_the_published_size(number, column):
    plan = with_pictures(make_plan(recipe(number), seeds=2))
    (drawing,) = plan.drawings
    words = plan.runs[drawing.folder].args
    models = [words[i + 1 : i + 4] for i, word in enumerate(words) if word == '--model']
    labels = [row.removeprefix('MPCS, ') for row in plan.rows()]
    assert [label for label, _, _ in models] == [label if label == 'ImageNet' else f'{label} pairs' for label in labels]
    for row, (_, config, checkpoint) in zip(plan.rows(), models, strict=True):
        tested = plan.runs[plan.cells[row, column][0]]
        assert (tested.target, tested.args[0]) == (config, checkpoint)
        assert words[0] == tested.options['test_dataloader.dataset.list_file']
    cfg = Config.fromfile(str(REPO / config))
    settings = words[words.index('--cfg-options') + 1 : words.index('--model')]
    changed = Config(cfg.to_dict())
    changed.merge_from_dict({name: int(value) for name, value in (setting.split('=') for setting in settings)})
    assert changed.to_dict() == cfg.to_dict()
    assert not with_pictures(make_plan(recipe(8), seeds=1)).drawings, 'its picture is that of the table'


def test_weights_of_imagenet_that_are_not_there_are_told(tmp_path):
    plan = make_plan(recipe(7), seeds=1, rows=('ImageNet',))
    (tmp_path / 'BACH').mkdir()
    with pytest.raises(RecipeError, match=r'reads \S+/weights/resnet50_imagenet\.pth, found nothing there'):
        check_data(plan, tmp_path)


# ---- whole


def test_cells_run_whole(tmp_path, monkeypatch):
    """Pre-trained from given weights once; the cells of UCSB linearly, BACH with a share of the labels, both parts."""
    monkeypatch.chdir(REPO)
    torch.save(ResNet(18).state_dict(), tmp_path / 'imagenet.pth')
    weights, row = {'imagenet': str(tmp_path / 'imagenet.pth')}, {'rows': ('MPCS, ordered',)}
    plan = make_plan(recipe(9, 'smoke', **weights), **row, columns=('* linear',))
    found = run_stages(plan, tmp_path)
    (tested,) = {folder for (folder,) in plan.cells.values()}
    for column in ('Accuracy, linear', 'Precision, linear', 'Recall, linear'):
        assert 0 <= found[tested][plan.recipe.columns[column].metric] <= 1
    log = next((tmp_path / 'pretrain/mpcs/mpcs_r50_breakhis_ordered/all').rglob('*.log')).read_text()
    assert re.search(r'imagenet\.pth: \d+ tensors are in ResNet', log)
    assert (tmp_path / tested.removeprefix('test/') / 'best_classification_macro_f1_epoch_1.pth').is_file()

    cell = make_plan(recipe(8, 'smoke', **weights), rows=('Ordered, 5 %',))
    plan = with_pictures(make_plan(recipe(7, 'smoke', **weights, labels='train_1_each'), **row))
    assert {folder: plan.runs.get(folder) for folder in cell.runs} == cell.runs
    for folder in found:
        plan.runs.pop(folder, None)
    found = run_stages(plan, tmp_path)
    for table in (plan, cell):
        for (_, column), (folder,) in table.cells.items():
            assert 0 <= found[folder][table.recipe.columns[column].metric] <= 1
    (look,) = (tmp_path / drawing.folder / 'picture.png' for drawing in plan.drawings)
    with Image.open(look) as picture:
        assert len(picture.convert('RGB').resize((64, 64)).getcolors(4096)) > 50
    (log,) = (tmp_path / 'finetune/bach-patches').rglob('*.log')
    assert re.search(r'mpcs_r50_breakhis_ordered/all: \d+ tensors are in ResNet', log.read_text())


@pytest.mark.parametrize('number', [7, 8, 9])
def test_whole_recipes_plan(number, tmp_path, capsys):
    load_tool('tools/reproduce.py').main(
        [f'mpcs-table{number}', '--smoke', '--dry-run', '--work-dir', str(tmp_path / 'w')]
    )
    commands = [text for text in capsys.readouterr().out.splitlines() if text and not text.startswith('#')]
    scripts = [re.match(r'python (tools/\S+\.py) ', command)[1] for command in commands]
    # a pre-training that stands in for ImageNet and three of the pairs; fine-tunings; tests, of val, too, in Table 7
    trained, tested = {7: (4 + 4, 8), 8: (4 + 21, 21), 9: (4 + 6, 6)}[number]
    assert (scripts.count('tools/train.py'), scripts.count('tools/test.py')) == (trained, tested)
    assert not (tmp_path / 'w').exists()
