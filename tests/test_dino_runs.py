"""DINO's small config in real runs: schedules, the frozen layer, a killed and resumed run, and a collapse."""

import json
import logging
import math

import pytest
import torch
from mmengine.hooks import Hook
from small_runs import REPO, draw_patches, pretraining_options, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner
from histomm.evaluation.encoder import encoder_from_config

CONFIG = REPO / 'configs/dino/dino_vit-tiny_patches.py'


class _StopAt(Hook):
    """Stands for a kill: raises before the given iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


class _Notes(Hook):
    """What each step trains with: rate, weight decays and the last layer."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.rates, self.decays, self.momenta, self.last, self.plain = [], [], [], [], set()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        names = {p: name for name, p in runner.model.named_parameters()}
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates.append({group['lr'] for group in groups})
        self.decays.append({group['weight_decay'] for group in groups})
        self.plain = {names[p] for group in groups for p in group['params'] if group['weight_decay'] == 0}
        self.momenta.append(runner.model.teacher.current_momentum())
        self.last.append(runner.model.neck.last_layer.weight.detach().clone())


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'))


def run(folder, patches, *hooks, epochs=3, samples=4, constant=False, **options):
    small = pretraining_options(patches, batch_size=2, epochs=epochs, samples=samples) | {'default_hooks.knn': None}
    cfg = small_config(CONFIG, folder, small)
    schedule = {
        'param_scheduler.0.end': 1,
        'param_scheduler.1.begin': 1,
        'param_scheduler.1.end': epochs,
        'param_scheduler.2.end': epochs,
    }
    cfg.merge_from_dict(options if constant else schedule | options)
    if constant:
        cfg.param_scheduler = []
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def test_killed_and_resumed_equals_uninterrupted(patches, tmp_path):
    """With drop-path and a warm-up of the temperature, killed in the middle of the second of three epochs."""
    options = {
        'model.backbone.drop_path_rate': 0.3,
        'model.warmup_teacher_epochs': 3,
        'model.teacher_temp': 0.07,
    }
    run(tmp_path / 'whole', patches, **options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'killed', patches, _StopAt(3), **options)
    checkpoint = latest_good_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('epoch_1.pth')
    torch.manual_seed(99)  # what is left in the global generators does not matter
    run(tmp_path / 'killed', patches, resume=True, load_from=checkpoint, **options)
    whole, killed = (
        torch.load(latest_good_checkpoint(tmp_path / name), weights_only=False) for name in ('whole', 'killed')
    )
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(whole[part], killed[part], rtol=0, atol=0)
    assert whole['param_schedulers'] == killed['param_schedulers']
    assert whole['state_dict']['center'].any()
    assert int(whole['state_dict']['teacher.steps']) == 6


def test_schedules_and_the_frozen_layer(patches, tmp_path):
    """Twelve steps in six epochs; the last layer stays as it is in the first."""
    notes = _Notes()
    run(tmp_path / 'run', patches, notes, epochs=6)
    assert [len(rates) for rates in notes.rates] == [1] * 12
    rates = [rates.pop() for rates in notes.rates]
    assert rates[0] == pytest.approx(5e-4 * 1e-4)
    assert rates[2] == pytest.approx(5e-4)  # the warm-up of one epoch is over
    assert rates[7] == pytest.approx((5e-4 + 1e-6) / 2, rel=1e-6)  # half of the ten steps that follow
    assert notes.decays[0] == {0.0, 0.04}
    assert 0.0 in notes.decays[6]
    assert max(notes.decays[6]) == pytest.approx(0.22)  # the middle of 0.04 and 0.4
    assert notes.momenta[0] == 0.996
    assert notes.momenta[6] == pytest.approx(0.998)
    frozen = [torch.equal(layer, notes.last[0]) for layer in notes.last]
    assert frozen == [True] * 3 + [False] * 9  # as it is seen before a step
    assert {'backbone.ln1.weight', 'backbone.layers.0.attn.qkv.bias', 'neck.mlp.0.bias'} <= notes.plain
    assert not notes.plain & {'backbone.pos_embed', 'backbone.cls_token', 'neck.last_layer.weight'}


def test_the_teacher_is_monitored_and_gives_features(patches, tmp_path):
    dataset = dict(
        type='histomm.PatchDataset',
        data_root=str(patches),
        with_labels=True,
        pipeline=[dict(type='histomm.LoadPatch'), dict(type='mmpretrain.PackInputs')],
    )
    knn = dict(type='histomm.OnlineKNNHook', dataset=dataset, module='teacher.module.backbone')
    run(tmp_path / 'run', patches, epochs=2, **{'default_hooks.knn': knn})
    (scalars,) = (tmp_path / 'run').rglob('scalars.json')
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert any('knn_top1' in line for line in logged)
    encoder = encoder_from_config(str(CONFIG), tmp_path / 'run', prefix='teacher.module.backbone')
    state = torch.load(latest_good_checkpoint(tmp_path / 'run'), weights_only=False)['state_dict']
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(value, state[f'teacher.module.backbone.{name}']), name
    assert encoder(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)).shape == (2, 96)


def test_the_monitor_says_that_the_outputs_collapse(patches, tmp_path):
    """Without centring and with a soft teacher all outputs become equal: the loss is that of 64 of them."""
    warnings = []

    class Listen(Hook):
        def before_train(self, runner):
            handler = logging.Handler(logging.WARNING)
            handler.emit = lambda record: warnings.append(record.getMessage())
            runner.logger.addHandler(handler)

    options = {
        'model.center_momentum': 1.0,
        'model.teacher_temp': 1.0,
        'default_hooks.features': dict(
            type='histomm.FeatureMonitorHook', module='neck.mlp', interval=1, num_samples=9, min_rankme=1.2
        ),
        'default_hooks.checkpoint.interval': 100,
        'train_dataloader.batch_size': 9,
        'optim_wrapper.optimizer.lr': 1e-3,
    }
    runner = run(tmp_path / 'run', patches, Listen(), epochs=15, samples=9, constant=True, **options)
    assert any('The features collapse' in line for line in warnings)
    spread, loss = (runner.message_hub.get_scalar(f'train/{name}').data[0] for name in ('feature_std', 'loss'))
    assert spread[-1] < 0.05 < spread[0]
    assert loss[-1] == pytest.approx(math.log(64), rel=1e-2)
