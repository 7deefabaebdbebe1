"""Batch-norm statistics against those computed by hand, and training left undisturbed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from histomm.engine.hooks import PreciseBNHook


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, momentum=0.1)
        self.frozen = nn.BatchNorm2d(2).eval()

    def data_preprocessor(self, data, training):
        return {'inputs': data * 2}

    def extract_feat(self, inputs):
        return self.frozen(self.norm(inputs))


class Runner(SimpleNamespace):
    def build_dataloader(self, config, seed):
        assert config['persistent_workers'] is False
        torch.rand(1)  # as a real loader draws its base seed
        return self.batches


@pytest.fixture
def runner():
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(3, 2, 4, 4, generator=generator) + i for i in range(5)]
    logger = SimpleNamespace(info=lambda message: None)
    cfg = SimpleNamespace(train_dataloader={'persistent_workers': True})
    return Runner(model=Detector(), batches=batches, cfg=cfg, seed=0, iter=0, max_iters=10, logger=logger)


def test_means_of_batch_statistics(runner):
    model = runner.model
    frozen = model.frozen.running_mean.clone()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    hook = PreciseBNHook(interval=2, num_iters=4)
    hook.after_train_iter(runner, 0)
    assert model.norm.running_mean.tolist() == [0, 0], 'ran before its interval'
    runner.iter = 1
    hook.after_train_iter(runner, 1)
    used = [2 * batch.double() for batch in runner.batches[:4]]
    mean = sum(batch.mean((0, 2, 3)) for batch in used) / 4
    variance = sum(batch.transpose(0, 1).flatten(1).var(1, unbiased=True) for batch in used) / 4
    torch.testing.assert_close(model.norm.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.norm.running_var.double(), variance, rtol=1e-5, atol=1e-5)
    assert (model.norm.momentum, model.norm.num_batches_tracked) == (0.1, 0)
    assert torch.equal(model.frozen.running_mean, frozen)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_runs_after_the_last_iteration_and_with_fewer_batches_than_asked(runner):
    runner.iter = 9
    PreciseBNHook(interval=100, num_iters=200).after_train_iter(runner, 9)
    mean = sum(2 * batch.mean((0, 2, 3)) for batch in runner.batches) / 5
    torch.testing.assert_close(runner.model.norm.running_mean, mean, rtol=1e-5, atol=1e-5)


def test_arguments():
    with pytest.raises(ValueError, match='num_iters=0'):
        PreciseBNHook(interval=1, num_iters=0)
