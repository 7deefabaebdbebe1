"""Every shipped config is built and runs a step on drawn data; YAML is as good as Python."""

import math
from pathlib import Path

import pytest
import torch
from bag_files import CLASSES, draw_bags
from mmengine.config import Config
from mmengine.hooks import Hook
from region_stores import FEW_STEPS, draw_tokens, token_options
from small_runs import (
    REPO,
    bag_options,
    classification_options,
    detection_options,
    draw_bcss,
    draw_coco,
    draw_magnification_sets,
    draw_monuseg,
    draw_patches,
    draw_scales,
    draw_slides,
    draw_tiles,
    fold_options,
    magnification_options,
    nuclei_options,
    patch_contrast_options,
    pretraining_options,
    scale_options,
    segmentation_options,
    shipped_configs,
    slide_magnification_options,
    slide_options,
    small_config,
    supervised_options,
    tile_options,
    vote_options,
)

from histomm.engine.launch import build_runner


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return {
        'pretraining': draw_patches(root),
        'detection': draw_coco(root),
        'segmentation': draw_bcss(root),
        'tiles': draw_tiles(root),
        'nuclei': draw_monuseg(root),
        'scales': draw_scales(root),
        'slides': draw_slides(root),
        'tokens': {dim: draw_tokens(root, dim) for dim in (96, 384)},
        'bags': {family: draw_bags(root / family, 15, classes=names) for family, names in CLASSES.items()},
        'magnifications': draw_magnification_sets(root),
    }


def _options(path, drawn):
    cfg = Config.fromfile(str(path))
    model = cfg.model.type
    if cfg.train_dataloader.dataset.type == 'histomm.SlideTileDataset':
        return slide_options(drawn['slides'])
    if cfg.train_dataloader.dataset.type == 'histomm.BagDataset':
        return bag_options(drawn['bags'][Path(path).parent.name])
    if cfg.train_dataloader.dataset.type == 'histomm.SlideMagnificationDataset':
        return slide_magnification_options(drawn['slides'])
    if cfg.train_dataloader.dataset.type == 'histomm.GridPatchDataset':
        return vote_options(drawn['pretraining'])
    if cfg.train_dataloader.dataset.type == 'histomm.MagnificationSetDataset':
        return magnification_options(drawn['magnifications'])
    if cfg.train_dataloader.dataset.type == 'histomm.RegionTokenDataset':
        return token_options(drawn['tokens'][cfg.train_dataloader.dataset.dim]) | FEW_STEPS
    if model == 'histomm.PatchContrast' and cfg.get('val_dataloader'):
        return nuclei_options(drawn['nuclei'])
    if model == 'histomm.ScalePretext':
        return scale_options(drawn['scales'], drawn['nuclei'])
    if model == 'histomm.SupervisedConfidence':
        return supervised_options(drawn['nuclei'])
    if model == 'histomm.PatchContrast':
        return patch_contrast_options(drawn['pretraining'])
    if model == 'mmpretrain.ImageClassifier' and cfg.val_evaluator.type == 'histomm.PatientAccuracyMetric':
        return fold_options(drawn['magnifications'])
    if model == 'mmpretrain.ImageClassifier':
        return classification_options(drawn['pretraining'])
    if model.startswith(('histomm.', 'mmpretrain.')):
        return pretraining_options(drawn['pretraining'])
    if cfg.train_dataloader.dataset.type == 'BaseSegDataset':
        return tile_options(drawn['tiles'])
    if model == 'EncoderDecoder':
        return segmentation_options(drawn['segmentation'])
    return detection_options(drawn['detection'])


CONV_STEMS = ('backbone.conv1', 'backbone.layers.0.conv')
"""First convolutions of ResNets and EfficientNets."""

VITS = ('histomm.PatchViT', 'histomm.RegionViT')


class _RememberWeights(Hook):
    """Keeps the trained weights as they are when training starts."""

    def __init__(self, store):
        self.store = store

    def before_train(self, runner):
        parameters = runner.model.named_parameters()
        self.store.update({name: value.detach().clone() for name, value in parameters if value.requires_grad})


def _trained(model):
    """How the names of weights begin that a step has to change."""
    if model.type.startswith('histomm.Bag'):
        return 'aggregator'
    if model.backbone.get('frozen_stages') == 4:
        return 'head.fc' if model.type == 'mmpretrain.ImageClassifier' else 'decode_head.decoder.blocks.0'
    return 'backbone.patch_embed' if model.backbone.type in VITS else CONV_STEMS


@pytest.mark.parametrize('name', shipped_configs())
def test_config_runs_a_step(name, drawn, tmp_path):
    path = REPO / 'configs' / name
    runner = build_runner(small_config(path, tmp_path, _options(path, drawn)))
    before = {}
    runner.register_hook(_RememberWeights(before))
    runner.train()
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert math.isfinite(loss)
    after = dict(runner.model.named_parameters())
    assert all(torch.isfinite(after[key]).all() for key in before)
    trained = [key for key in before if key.startswith(_trained(runner.cfg.model))]
    assert trained
    assert all(not torch.equal(before[key], after[key]) for key in trained)


@pytest.mark.parametrize('name', shipped_configs())
def test_yaml_dump_is_the_same_config(name, tmp_path):
    cfg = Config.fromfile(str(REPO / 'configs' / name))
    cfg.dump(str(tmp_path / 'dumped.yaml'))
    assert Config.fromfile(str(tmp_path / 'dumped.yaml'))._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()


@pytest.mark.parametrize('name', ['plm/moco_plm_r18_nct.py', 'glas/mask-rcnn_r18_fpn_glas.py'])
def test_training_from_yaml_gives_the_same_weights(name, drawn, tmp_path):
    path = REPO / 'configs' / name
    Config.fromfile(str(path)).dump(str(tmp_path / 'dumped.yaml'))
    states = []
    for source, work_dir in ((path, 'py'), (tmp_path / 'dumped.yaml', 'yaml')):
        runner = build_runner(small_config(source, tmp_path / work_dir, _options(source, drawn)))
        runner.train()
        states.append(runner.model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_three_lines_of_yaml_train(drawn, tmp_path):
    own = tmp_path / 'own.yaml'
    data = drawn['pretraining']
    own.write_text(f'_base_: histomm::plm/moco_plm_r18_nct.py\ntrain_dataloader:\n  dataset: {{data_root: {data}}}\n')
    options = pretraining_options(data)
    del options['train_dataloader.dataset.data_root']
    runner = build_runner(small_config(own, tmp_path / 'work', options))
    assert runner.cfg.train_dataloader.dataset.data_root == str(data)
    runner.train()
    assert Path(tmp_path, 'work', 'epoch_1.pth').is_file()


def test_lambda_variants_differ_in_lambda_alone():
    base = Config.fromfile(str(REPO / 'configs/plm/moco_plm_r18_nct.py'))
    for name, value in (('000', 0.0), ('025', 0.25), ('050', 0.5), ('075', 0.75), ('100', 1.0)):
        variant = Config.fromfile(str(REPO / f'configs/plm/moco_plm_r18_nct_lambda{name}.py'))
        assert variant.model.loss_lambda == value
        variant.model.loss_lambda = base.model.loss_lambda
        assert variant._cfg_dict.to_dict() == base._cfg_dict.to_dict()
