"""Where views are made is one line of a config; the draws are the same."""

import copy
import re

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from small_runs import REPO, draw_patches, pretraining_options, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner, load_config
from histomm.engine.view_placement import place_views
from histomm.engine.view_trial import ViewTimes
from histomm.registry import MODELS

PLM = REPO / 'configs/plm/moco_plm_r18_nct.py'
DEVICE = ['histomm.LoadPatch', 'histomm.DrawViews', 'histomm.PackDraws']


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('placement'))


def config(path=PLM, **options):
    return load_config(str(path), None, options, 'none')


def kinds(cfg):
    return [step.type for step in cfg.train_dataloader.dataset.pipeline]


@pytest.mark.parametrize(
    'path', ['plm/moco_plm_r18_nct.py', 'dino/dino_vit-tiny_patches.py', 'simclr/simclr_r18_collection.py']
)
def test_one_line_moves_the_views(path):
    plain, cfg = config(REPO / 'configs' / path), config(REPO / 'configs' / path, views_on='device')
    views = plain.train_dataloader.dataset.pipeline[1]['views']
    place_views(cfg)
    assert kinds(cfg) == DEVICE
    assert cfg.train_dataloader.dataset.pipeline[1]['views'] == views
    assert cfg.model.data_preprocessor == {
        **plain.model.data_preprocessor,
        'type': 'histomm.BatchViews',
        'views': views,
    }
    assert cfg.train_dataloader.collate_fn == {'type': 'histomm.pad_collate'}
    assert cfg.views_on == 'device'
    moved = copy.deepcopy(cfg)
    place_views(moved)  # the config in the work directory, trained again
    assert moved.to_dict() == cfg.to_dict()


def test_without_the_line_and_on_the_cpu_nothing_moves():
    for options in ({}, dict(views_on='cpu')):
        cfg = config(**options)
        before = cfg.to_dict()
        place_views(cfg)
        assert cfg.to_dict() == before


def test_options_reach_the_preprocessor():
    cfg = config(views_on=dict(place='device', chunk_size=8))
    place_views(cfg)
    assert cfg.model.data_preprocessor.chunk_size == 8
    assert cfg.views_on == dict(place='device', chunk_size=8)


def test_views_that_were_moved_stay_on_the_device():
    """The config in the work directory: its options can be changed, but the pipeline's views are gone."""
    cfg = config(views_on='device')
    place_views(cfg)
    cfg.views_on = dict(place='device', chunk_size=8)
    place_views(cfg)
    assert cfg.model.data_preprocessor.chunk_size == 8
    cfg.views_on = 'cpu'
    with pytest.raises(ValueError, match=r"views_on is 'cpu': found histomm\.DrawViews in"):
        place_views(cfg)


def test_whole_images_are_decoded():
    cfg = config(**{'views_on': 'device', 'train_dataloader.dataset.pipeline.0.reduce': True})
    place_views(cfg)
    assert cfg.train_dataloader.dataset.pipeline[0] == dict(type='histomm.LoadPatch')


def test_views_of_wrapped_data_sets_move():
    cfg = config(views_on='device')
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner, copy.deepcopy(inner)])
    )
    place_views(cfg)
    for dataset in cfg.train_dataloader.dataset.dataset.datasets:
        assert [step.type for step in dataset.pipeline] == DEVICE


def other_views(cfg):
    inner = cfg.train_dataloader.dataset
    twin = ConfigDict(inner.to_dict())
    twin.pipeline[1]['views'][0].num = 3
    cfg.train_dataloader.dataset = ConfigDict(type='ConcatDataset', datasets=[inner, twin])


def stain(cfg):
    cfg.train_dataloader.dataset.pipeline[1]['views'][0].pipeline.append(ConfigDict(type='histomm.HEDJitter'))


def collate(cfg):
    cfg.train_dataloader.collate_fn = ConfigDict(type='own')


def preprocessor(cfg):
    cfg.model.data_preprocessor.type = 'mmpretrain.SelfSupDataPreprocessor'


@pytest.mark.parametrize(
    ('path', 'change', 'message'),
    [
        ('mpcs/mpcs_r50_breakhis_ordered.py', None, 'expected it to end in histomm.MultiView and histomm.PackViews'),
        ('concl/concl_r18_nct.py', None, r"a view is \['BoundingCrop'\]"),
        ('plm/moco_plm_r18_nct.py', stain, 'a view has the transform HEDJitter'),
        ('plm/moco_plm_r18_nct.py', collate, 'collate_fn is own'),
        ('plm/moco_plm_r18_nct.py', preprocessor, 'data_preprocessor is mmpretrain.SelfSupDataPreprocessor'),
        ('plm/moco_plm_r18_nct.py', other_views, 'found 2 pipelines with unlike views'),
    ],
)
def test_what_only_the_pipeline_can_do_stays_there(path, change, message, capsys):
    cfg = config(REPO / 'configs' / path, views_on='device')
    if change:
        change(cfg)
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=f"views_on is 'device': .*{message}"):
        place_views(cfg)
    assert cfg.to_dict() == before
    cfg.views_on = 'auto'
    place_views(cfg)
    assert cfg.to_dict() == before | dict(views_on='cpu')
    printed = capsys.readouterr().out
    assert re.search(f"views_on 'auto': the views are made by the pipeline, because .*{message}", printed)


def test_without_training_data_nothing_is_tried():
    cfg = Config(dict(views_on='auto', model=dict(type='SimCLR')))
    place_views(cfg)
    assert cfg.to_dict() == dict(views_on='auto', model=dict(type='SimCLR'))


def test_an_unknown_place_is_refused():
    for wanted in ('gpu', dict(chunk_size=3)):
        with pytest.raises(ValueError, match="expected one of \\('cpu', 'device', 'auto'\\)"):
            place_views(config(views_on=wanted))


def test_a_trial_chooses(patches, tmp_path, capsys):
    """On this machine whichever is faster; here only that both are timed, and that the config says what was taken."""
    cfg = small_config(PLM, tmp_path, pretraining_options(patches, samples=3) | dict(views_on='auto'))
    cfg.train_dataloader.dataset = ConfigDict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    place_views(cfg)
    cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
    assert cfg.views_on in ('cpu', 'device')
    moved = cfg.views_on == 'device'
    assert (kinds(cfg) == DEVICE) == moved
    printed = capsys.readouterr().out
    assert (
        f"views_on 'auto': the views are made {'on the device' if moved else 'by the pipeline'}; an image and its"
        in printed
    )
    assert 'with 1 worker' in printed


def test_the_faster_place_is_that_of_less_time():
    assert ViewTimes(8e-3, 1e-4, 1e-4, 8).device_is_faster
    assert not ViewTimes(8e-3, 1e-4, 1e-3, 8).device_is_faster
    assert ViewTimes(8e-3, 1e-4, 1e-3, 4).device_is_faster


@pytest.mark.parametrize(('device', 'moved'), [('cuda', True), ('cpu', False)])
def test_several_processes_choose_alike(monkeypatch, device, moved):
    monkeypatch.setattr('histomm.engine.view_placement.get_device', lambda: device)
    cfg = config(views_on='auto')
    cfg.launcher = 'pytorch'
    place_views(cfg)
    assert (kinds(cfg) == DEVICE) == moved


def watched(cfg):
    """Train, and keep what the model was given at each step."""
    runner, seen = build_runner(cfg), []
    prepare = runner.model.data_preprocessor.forward

    def forward(data, training=False):
        result = prepare(data, training)
        if training:
            seen.append(result)
        return result

    runner.model.data_preprocessor.forward = forward
    runner.train()
    return seen


def assert_same_views(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        for field in ('box', 'hflip', 'vflip', 'rot90'):
            for a, b in zip(ours['geometry'], theirs['geometry'], strict=True):
                assert torch.equal(getattr(a, field), getattr(b, field))
        for a, b in zip(ours['inputs'], theirs['inputs'], strict=True):
            assert (a - b).abs().mean() <= tolerance


def test_a_run_has_the_views_of_the_pipeline_and_resumes_with_them(patches, tmp_path):
    """Two epochs; then the second again, resumed, with loader workers; and the batches of the pipeline beside them."""
    options = pretraining_options(patches, samples=8, epochs=2) | {
        'default_hooks.knn': None,
        'default_hooks.features': None,
    }
    whole = watched(small_config(PLM, tmp_path / 'run', options | dict(views_on='device')))
    assert len(whole) == 4
    again = small_config(PLM, tmp_path / 'again', options | {'views_on': 'device', 'train_dataloader.num_workers': 2})
    again.load_from, again.resume = str(tmp_path / 'run' / 'epoch_1.pth'), True
    assert_same_views(watched(again), whole[2:], 0)
    weights = [torch.load(latest_good_checkpoint(tmp_path / run), weights_only=False) for run in ('run', 'again')]
    torch.testing.assert_close(weights[0]['state_dict'], weights[1]['state_dict'], rtol=0, atol=0)

    plain = small_config(PLM, tmp_path / 'plain', options)
    loader = Runner.build_dataloader(plain.train_dataloader, seed=0)
    prepare, batches = MODELS.build(plain.model.data_preprocessor), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        batches += [prepare(batch) for batch in loader]
    assert_same_views(whole, batches, 0.02)  # of standard deviations of 57 grey levels
