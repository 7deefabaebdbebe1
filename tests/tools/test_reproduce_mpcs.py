"""Recipes of MPCS on BreakHis: published figures, what each row and fold trains and tests, and a run of every stage."""

import re
import statistics
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image
from recipe_runs import run_stages
from tool_modules import REPO

from histomm.engine.reproduce import RecipeError, check_data, make_plan, read_recipe, with_pictures
from histomm.engine.reproduce.check import merged_config
from histomm.engine.reproduce.plan import ancestors
from histomm.evaluation.feature_store import read_features

ENCODERS = {'EfficientNet-b2': ('efficientnet-b2', 'efficientnet-b2'), 'ResNet-50': ('resnet50', 'r50')}
STARTS = ('ImageNet', 'fixed pairs', 'ordered pairs', 'random pairs')
MAGNIFICATIONS = (40, 100, 200, 400)


def recipe(name, budget='full', **names):
    return read_recipe(REPO / f'configs/reproduce/mpcs-{name}.yaml', budget, names)


def numbers(text):
    return [float(number) for number in re.findall(r'\d+\.\d+', text)]


def lines():
    """Lines of the table in the README: encoder and score, share of the labels, figures."""
    page = (REPO / 'configs/mpcs/README.md').read_text()
    return re.findall(r'^\| ((?:EfficientNet|ResNet)\S+), ([\w /]+) \| (\d+) % \| (.+) \|$', page, re.M)


def test_published_means_are_those_of_the_readme():
    found = {}
    for encoder, scores, share, cells in lines():
        for start, cell in zip(STARTS, cells.split(' | '), strict=True):
            values = numbers(cell)[:1] if share == '20' else numbers(cell)
            for score, value in zip(scores.split(' / '), values, strict=True):
                found[share, f'{encoder}, {start}', f'{score} mean'] = value
    ours = {}
    for share, name in (('20', 'table5'), ('100', 'table6')):
        for row, content in recipe(name).rows.items():
            for column in ('ILA mean', 'PLA mean'):
                ours[share, row, column] = content.published[column]
    assert ours == found
    assert len(ours) == 32


def test_published_means_are_means_of_the_four_magnifications():
    """But for one, of which the recipe tells."""
    table, odd = recipe('table5'), []
    for row, content in table.rows.items():
        for score in ('ILA', 'PLA'):
            mean = statistics.fmean(content.published[f'{score} {x}X'] for x in MAGNIFICATIONS)
            if abs(mean - content.published[f'{score} mean']) > 0.0051:
                odd.append((row, score, round(mean, 2)))
    assert odd == [('ResNet-50, fixed pairs', 'ILA', 87.80)]
    assert any('87.68' in note and '87.80' in note for note in table.notes)


# ---- what a row, a column and a fold are


def chain(plan, folder):
    """Configs of the test, of the training and of the pre-training behind a cell, None without one."""
    test = plan.runs[folder]
    (train,) = [run for run in map(plan.runs.get, test.needs) if run.kind == 'train']
    before = [run for run in map(plan.runs.get, train.needs) if run.kind == 'train']
    return [merged_config(run, REPO) if run else None for run in (test, train, *(before or [None]))]


@pytest.mark.parametrize(
    ('name', 'trained', 'chosen'), [('table5', 'val_20', 'train_60'), ('table6', 'train_60', 'val_20')]
)
def test_every_cell_is_of_its_encoder_start_magnification_and_fold(name, trained, chosen):
    plan = make_plan(recipe(name))
    assert len(plan.cells) == 8 * 8
    for (row, column), folders in plan.cells.items():
        encoder, start = row.split(', ')
        score, at = column.split(' ')
        assert plan.recipe.metric(row, column) == f'patients/{score.lower()}_{at}'
        assert len(folders) == 5
        fold = 2
        test, train, before = chain(plan, folders[fold])
        lists = f'<work>/data/breakhis-folds/fold{fold}'
        assert test.test_dataloader.dataset.list_file == f'{lists}/test_20.csv'
        assert train.train_dataloader.dataset.list_file == f'{lists}/{trained}_{at}.csv'
        assert train.val_dataloader.dataset.list_file == f'{lists}/{chosen}_{at}.csv'
        init = train.model.backbone.init_cfg[2]
        assert init.type == 'histomm.VerifiedPretrained'
        assert (before is None) == (start == 'ImageNet')
        imagenet = f'<root>/weights/{ENCODERS[encoder][0]}_imagenet.pth'
        if before is None:
            assert init.checkpoint == imagenet
        else:
            kind = start.split(' ')[0]
            assert init.checkpoint == f'<work>/pretrain/mpcs_{ENCODERS[encoder][1]}_breakhis_{kind}/fold{fold}'
            assert before.train_dataloader.dataset.list_file == f'{lists}/train_60.csv'
            assert before.train_dataloader.dataset.pipeline[0].strategy == kind
            assert before.model.backbone.init_cfg[2].checkpoint == imagenet
        kinds = {cfg.model.backbone.type.rpartition('.')[2] for cfg in (test, train, before) if cfg}
        assert kinds == {'EfficientNet' if encoder == 'EfficientNet-b2' else 'ResNet'}


def test_the_cross_table_tests_networks_of_table_6_at_every_magnification():
    cross, table = make_plan(recipe('cross')), make_plan(recipe('table6'))
    assert set(cross.runs) <= set(table.runs)
    for folder, run in cross.runs.items():
        assert vars(run) == vars(table.runs[folder])
    for (row, column), folders in cross.cells.items():
        encoder, at = re.fullmatch(r'(.+), trained at (\d+X)', row).groups()
        _, train, before = chain(cross, folders[4])
        assert train.train_dataloader.dataset.list_file.endswith(f'fold4/train_60_{at}.csv')
        assert before.train_dataloader.dataset.pipeline[0].strategy == 'ordered'
        assert (train.model.backbone.type == 'mmpretrain.ResNet') == (encoder == 'ResNet-50')
        score, tested = column.split(' ')
        assert cross.recipe.metric(row, column) == f'patients/{score.lower()}_{tested}'
    limited = make_plan(recipe('cross', labels='val_20', validation='train_60'))
    assert set(limited.runs) <= set(make_plan(recipe('table5')).runs)


def test_weights_and_data_that_are_not_there_are_told(tmp_path):
    plan = make_plan(recipe('table6'), seeds=1, rows=('ResNet-50, ImageNet',), columns=('ILA 40X',))
    with pytest.raises(RecipeError, match=r'reads \S+/BreaKHis_v1, \S+/weights/resnet50_imagenet\.pth, found nothing'):
        check_data(plan, tmp_path)


def test_small_rows_called_imagenet_start_from_its_weights_or_at_random(tmp_path):
    plan = make_plan(recipe('table6', 'small'))
    for encoder, (name, _) in ENCODERS.items():
        (folder,) = plan.cells[f'{encoder}, ImageNet', 'ILA 40X']
        _, train, before = chain(plan, folder)
        assert before is None
        init = train.model.backbone.init_cfg[2]
        assert (init.type, init.checkpoint) == (
            'histomm.PretrainedIfPresent', f'<root>/weights/{name}_imagenet.pth'
        )  # fmt: skip
        (folder,) = plan.cells[f'{encoder}, ordered pairs', 'ILA 40X']
        _, train, before = chain(plan, folder)
        assert train.model.backbone.init_cfg[2].type == 'histomm.VerifiedPretrained'
        assert before.model.backbone.init_cfg[2] == init | dict(prefix='backbone') or name == 'resnet50'
        rates = [cfg.optim_wrapper.optimizer.lr for cfg in (before, train)]
        assert rates == [0.001 if name == 'efficientnet-b2' else 0.3, 0.0005]
    (tmp_path / 'BreaKHis_v1').mkdir()
    check_data(plan, tmp_path)


def test_results_of_other_validation_labels_lie_elsewhere():
    one, other = (make_plan(recipe('table5', **names)).runs for names in ({}, dict(validation='val_20')))
    assert not {folder for folder in set(one) & set(other) if folder.startswith(('finetune/', 'test/'))}


@pytest.mark.parametrize('name', ['table5', 'table6', 'cross'])
def test_there_are_as_many_seeds_as_folds(name):
    with pytest.raises(RecipeError, match='seeds: found 6, but each is one of 5 folds'):
        make_plan(recipe(name), seeds=6)


# ---- whole


def test_every_kind_of_stage_runs(tmp_path, monkeypatch):
    """Drawn, dealt out to folds, pre-trained on one, trained at 40X of it and tested at all magnifications.

    Then with a fifth of the labels at 200X, from given weights and from a pre-training; both are looked into, and the
    pre-training is laid out.
    """
    monkeypatch.chdir(REPO)
    plan = make_plan(recipe('cross', 'smoke'), rows=('EfficientNet-b2, trained at 40X',), columns=('ILA*',))
    found = run_stages(plan, tmp_path)
    (tested,) = {folder for (folder,) in plan.cells.values()}
    assert tested == 'test/breakhis-train_60-val_20/efficientnet-b2/mpcs_efficientnet-b2_breakhis_ordered/40X/fold0'
    assert all(0 <= found[tested][f'patients/ila_{x}X'] <= 1 for x in MAGNIFICATIONS)
    trained, before = (
        tmp_path / plan.runs[folder].folder for folder in ancestors(plan, tested) if plan.runs[folder].kind == 'train'
    )
    # the backbone of a checkpoint of SimCLR, of a config that looks below 'backbone' in whatever it loads
    log = next(trained.rglob('*.log')).read_text()
    assert re.search(rf'{before}: \d+ tensors are in EfficientNet', log)
    assert 'found no none.pth, so EfficientNet starts at random' in next(before.rglob('*.log')).read_text()
    assert (trained / 'best_patients_pla_epoch_1.pth').is_file()

    torch.save(ResNet(50).state_dict(), tmp_path / 'imagenet.pth')
    rows = {'ResNet-50, ImageNet': r'imagenet\.pth', 'ResNet-50, ordered pairs': 'mpcs_r50_breakhis_ordered/fold0'}
    limited = recipe('table5', 'smoke', imagenet=str(tmp_path / 'imagenet.pth'))
    plan = with_pictures(make_plan(limited, rows=tuple(rows), columns=('* 200X',)))
    left = replace(plan, runs={folder: run for folder, run in plan.runs.items() if folder not in found})
    found = run_stages(left, tmp_path)
    for (row, column), (folder,) in plan.cells.items():
        assert 0 <= found[folder][limited.columns[column].metric] <= 1
        (trained,) = [need for need in plan.runs[folder].needs if need.startswith('finetune/breakhis-val_20-train_60/')]
        log = next((tmp_path / trained).rglob('*.log')).read_text()
        assert re.search(rf'{rows[row]}: \d+ tensors are in ResNet', log)
    for drawing in plan.drawings:
        with Image.open(tmp_path / drawing.folder / 'picture.png') as picture:
            assert len(picture.convert('RGB').resize((64, 64)).getcolors(4096)) > 50
    features = read_features(tmp_path / 'features/mpcs_r50_breakhis_ordered/fold0/test_20.h5').features
    listed = (tmp_path / 'data/breakhis-folds/fold0/test_20.csv').read_text().splitlines()[1:]
    assert features.shape == (len(listed), 128)


@pytest.mark.parametrize('name', ['table5', 'table6', 'cross'])
def test_pictures_look_into_the_classifiers_of_the_table(name):
    """Grad-CAM shows every row of an encoder, by its training of fold 0; each pre-training is laid out."""
    plan = with_pictures(make_plan(recipe(name), seeds=2))
    looks = [drawing for drawing in plan.drawings if drawing.heading.startswith('Grad-CAM')]
    assert [drawing.heading for drawing in looks] == [f'Grad-CAM, {encoder}' for encoder in ENCODERS]
    for drawing, encoder in zip(looks, ENCODERS, strict=True):
        words = plan.runs[drawing.folder].args
        models = [words[i + 1 : i + 4] for i, word in enumerate(words) if word == '--model']
        rows = [row for row in plan.rows() if row.startswith(encoder)]
        assert [f'{encoder}, {label}' for label, _, _ in models] == rows
        for row, (label, config, checkpoint) in zip(rows, models, strict=True):
            at = label.removeprefix('trained at ') if name == 'cross' else '200X'
            test = plan.cells[row, 'PLA 40X' if name == 'cross' else 'PLA 200X'][0]
            assert plan.runs[test].args[0] == checkpoint
            assert checkpoint.endswith(f'/{at}/fold0')
            assert plan.runs[test].target == config
            assert plan.runs[test].options.keys().isdisjoint({'test_dataloader.dataset.pipeline.1.size'})
        sizes = {word.partition('=')[0]: int(word.partition('=')[2]) for word in words if '.pipeline.' in word}
        pipeline = Config.fromfile(str(REPO / config)).test_dataloader.dataset.pipeline
        assert list(sizes.values()) == [pipeline[1].size, pipeline[2].crop_size]
    laid_out = [drawing.row for drawing in plan.drawings if drawing.heading == 't-SNE']
    assert laid_out == ([] if name == 'cross' else [row for row in plan.rows() if row.endswith(' pairs')])
    assert {plan.runs[drawing.folder].needs for drawing in plan.drawings if drawing.row} == {
        (f'features/{plan.recipe.rows[row].names["pretraining"]}/fold0',) for row in laid_out
    }


@pytest.mark.parametrize('name', ['table5', 'cross'])
def test_pictures_of_the_small_budget_see_images_as_small_as_training_and_tests(name):
    plan = with_pictures(make_plan(recipe(name, 'small')))
    for drawing in plan.drawings:
        run = plan.runs[drawing.folder]
        if drawing.row:
            (features,) = run.needs
            trained = merged_config(plan.runs[plan.runs[features].needs[0]], REPO).train_dataloader.dataset.pipeline[1]
            size = f'train_dataloader.dataset.pipeline.1.pipeline.5.size={trained.pipeline[5].size}'
            assert plan.runs[features].args[-1] == size
            continue
        (tested,) = {
            tuple(f'{key}={value}' for key, value in test.options.items() if '.pipeline.' in key)
            for test in plan.runs.values() if test.kind == 'test'
        }  # fmt: skip
        assert tuple(word for word in run.args if '.pipeline.' in word) == tested
