"""FixedLRHook in a run of SimSiam's config: the predictor's rate stays while the others' follow the schedule."""

import math

import pytest
from mmengine.hooks import Hook
from small_runs import REPO, draw_patches, pretraining_options, small_config

from histomm.engine.launch import build_runner

CONFIG = REPO / 'configs/simsiam/simsiam_r18_nct.py'


class _Rates(Hook):
    """Notes the rates that each step trains with: of the predictor, and of all else."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        names = {p: name for name, p in runner.model.named_parameters()}
        rates = {True: set(), False: set()}
        for group in runner.optim_wrapper.optimizer.param_groups:
            for p in group['params']:
                rates[names[p].startswith('head.predictor.')].add(group['lr'])
        self.steps.append((rates[True], rates[False]))


def test_the_predictor_keeps_the_first_rate_scaled_with_the_batch(tmp_path):
    options = pretraining_options(draw_patches(tmp_path), batch_size=2, epochs=3) | {
        'default_hooks.knn': None,
        'auto_scale_lr.enable': True,
        'optim_wrapper.optimizer.lr': 0.1,
    }
    runner = build_runner(small_config(CONFIG, tmp_path / 'work', options))
    seen = _Rates()
    runner.register_hook(seen)
    runner.train()
    first = 0.1 * 2 / 256
    assert len(seen.steps) == 3
    for epoch, (predictor, others) in enumerate(seen.steps):
        assert predictor == {first}
        assert len(others) == 1
        assert others.pop() == pytest.approx(first * (1 + math.cos(math.pi * epoch / 200)) / 2, rel=1e-9)


def test_nothing_marked_is_an_error(tmp_path):
    options = pretraining_options(draw_patches(tmp_path)) | {
        'default_hooks.knn': None,
        'optim_wrapper.paramwise_cfg': None,
    }
    runner = build_runner(small_config(CONFIG, tmp_path / 'work', options))
    with pytest.raises(ValueError, match='no parameter is marked'):
        runner.train()
