"""The shipped classifiers: their settings, what is frozen, which epoch is kept, and a regressor from the bases."""

import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.models.backbones import ResNet
from small_runs import REPO, classification_options, command_options, draw_patches, small_config
from tool_modules import load_tool

from histomm.engine.launch import build_runner

FINETUNE = REPO / 'configs/nct/resnet18_finetune_nct.py'
LINEAR = REPO / 'configs/nct/resnet18_linear_nct.py'


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=9, size=64)


def test_settings_are_those_of_the_literature():
    config = Config.fromfile(FINETUNE)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('Adam', 1e-4, 1e-5)
    assert (config.train_cfg.max_epochs, config.train_dataloader.batch_size, config.param_scheduler) == (100, 128, [])
    assert (config.model.backbone.depth, config.model.backbone.frozen_stages, config.model.head.num_classes) == (
        18,
        -1,
        9,
    )
    assert config.test_dataloader.dataset.data_root != config.val_dataloader.dataset.data_root
    assert (config.default_hooks.checkpoint.save_best, config.default_hooks.checkpoint.rule) == (
        'classification/macro_f1', 'greater',
    )  # fmt: skip
    larger = Config.fromfile(REPO / 'configs/nct/resnet50_finetune_nct.py')
    assert (larger.model.backbone.depth, larger.model.head.in_channels) == (50, 2048)
    assert larger.optim_wrapper.optimizer.weight_decay == 1e-4


def test_the_linear_config_differs_in_freezing_alone():
    config, variant = Config.fromfile(FINETUNE), Config.fromfile(LINEAR)
    assert variant.model.backbone.frozen_stages == 4
    variant.model.backbone.frozen_stages = -1
    assert variant._cfg_dict.to_dict() == config._cfg_dict.to_dict()


class _Watch(Hook):
    """Remembers the backbone when training starts, and whether it was in evaluation mode in every iteration."""

    def before_train(self, runner):
        self.state = {name: value.clone() for name, value in runner.model.backbone.state_dict().items()}
        self.modes = set()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        norms = [part for part in runner.model.backbone.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        self.modes |= {part.training for part in norms}


def test_a_linear_layer_learns_on_a_backbone_that_stays(patches, tmp_path):
    torch.manual_seed(1)
    backbone = ResNet(18)
    state = {f'backbone.{name}': value + 0.01 for name, value in backbone.state_dict().items() if 'track' not in name}
    state |= {name: torch.tensor(3) for name in (f'backbone.{n}' for n in backbone.state_dict()) if 'track' in name}
    torch.save({'state_dict': state}, tmp_path / 'pre.pth')
    config = small_config(LINEAR, tmp_path, classification_options(patches, epochs=2))
    config.model.backbone.init_cfg = dict(type='histomm.VerifiedPretrained', checkpoint=str(tmp_path / 'pre.pth'))
    runner, watch = build_runner(config), _Watch()
    runner.register_hook(watch)
    before = runner.model.head.fc.weight.detach().clone()
    runner.train()
    assert watch.modes == {False}
    after = runner.model.backbone.state_dict()
    for name, value in watch.state.items():
        assert torch.equal(after[name], value), name
        assert torch.equal(after[name], state[f'backbone.{name}']), name
    assert not torch.equal(runner.model.head.fc.weight, before)
    trained = [name for name, value in runner.model.named_parameters() if value.requires_grad]
    assert trained == ['head.fc.weight', 'head.fc.bias']


def test_the_epoch_of_the_best_macro_f1_is_kept_and_tested(patches, tmp_path):
    options = classification_options(patches, epochs=4) | {'optim_wrapper.optimizer.lr': 3e-3}
    words = [str(FINETUNE), '--work-dir', str(tmp_path), '--cfg-options', *command_options(options)]
    load_tool('tools/train.py').main(words)
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    scores = [line['classification/macro_f1'] for line in lines if 'classification/macro_f1' in line]
    assert len(scores) == 4
    (best,) = tmp_path.glob('best_classification_macro_f1_epoch_*.pth')
    assert int(best.stem.rpartition('_')[2]) == scores.index(max(scores)) + 1
    words = [str(FINETUNE), str(best), '--work-dir', str(tmp_path / 'test'), '--cfg-options', *command_options(options)]
    found = load_tool('tools/test.py').main(words)
    assert found['classification/macro_f1'] == pytest.approx(max(scores)), (
        'test and validation are the same images here'
    )
    assert (
        found['classification/accuracy_low']
        <= found['classification/accuracy']
        <= found['classification/accuracy_high']
    )


def test_a_regressor_from_the_bases_trains_validates_and_tests(patches, tmp_path):
    own = tmp_path / 'own.py'
    base = REPO / 'configs/_base_'
    own.write_text(
        f"_base_ = ['{base}/models/resnet18_regressor.py', '{base}/datasets/labelled_patches.py',\n"
        f"    '{base}/schedules/adam_100e.py', '{base}/classification_runtime.py']\n"
        "values = dict(_delete_=True, type='histomm.ValuePatchDataset', data_root='data', list_file='labels.csv')\n"
        'train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline}}, **values))\n'
        'val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}, test_mode=True, **values))\n'
        'test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}, test_mode=True, **values))\n'
        "val_evaluator = dict(_delete_=True, type='histomm.RegressionMetric')\n"
        "test_evaluator = dict(_delete_=True, type='histomm.RegressionMetric', bootstrap=100)\n"
        "default_hooks = dict(checkpoint=dict(save_best='regression/l1', rule='less'))\n"
    )
    options = classification_options(patches, epochs=3) | {'optim_wrapper.optimizer.lr': 1e-3}
    runner = build_runner(small_config(own, tmp_path / 'run', options))
    runner.train()
    losses = [float(value) for value in runner.message_hub.get_scalar('train/loss').data[0]]
    assert all(math.isfinite(value) for value in losses)
    (best,) = (tmp_path / 'run').glob('best_regression_l1_epoch_*.pth')
    runner.load_checkpoint(str(best))
    found = runner.test()
    # Labels are 0 and 1 of 100: whatever was learned, predictions are cut to the range, so the error is at most 100.
    assert 0 <= found['regression/l1_low'] <= found['regression/l1'] <= found['regression/l1_high'] <= 100
