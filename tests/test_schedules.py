"""Shipped schedules, epoch by epoch, beside numbers computed by hand."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from small_runs import REPO


def course(name, value, steps):
    """What an option of the optimiser is in each epoch."""
    cfg = Config.fromfile(str(REPO / f'configs/_base_/schedules/{name}.py'))
    options = {key: cfg.optim_wrapper.optimizer[key] for key in ('lr', 'weight_decay')}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **options)
    schedulers = []
    for part in cfg.param_scheduler:
        part = {key: item for key, item in part.items() if key != 'convert_to_iter_based'}
        schedulers.append(PARAM_SCHEDULERS.build(part, default_args=dict(optimizer=optimizer)))
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0][value])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_the_cosine_from_003_to_0():
    """A quarter, half and three quarters on: 0.03·(1 + cos(π·t)) / 2."""
    rates = course('sgd_cosine_200e', 'lr', 200)
    assert [rates[epoch] for epoch in (0, 50, 100, 150)] == pytest.approx([0.03, 0.025607, 0.015, 0.004393], abs=1e-6)


def test_weight_decay_of_dino_rises():
    decays = course('dino_adamw_100e', 'weight_decay', 100)
    assert [decays[epoch] for epoch in (0, 50)] == pytest.approx([0.04, 0.22])
