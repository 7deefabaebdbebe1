"""Draws of other packages' transforms: the same for any number of workers, and without a trace outside."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader

from histomm.datasets import SampleIndex, SeededSampler
from histomm.datasets.transforms import SeedGlobalRandom
from histomm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DrawFromEverywhere(BaseTransform):
    """Stands for a transform that uses the global generators."""

    def transform(self, results):
        results['draws'] = [random.random(), np.random.rand(), torch.rand(()).item()]
        return results


class Numbers(BaseDataset):
    def load_data_list(self):
        return [{'number': i} for i in range(8)]


def epoch(num_workers: int, seed: int = 0, which: int = 0) -> list:
    pipeline = [{'type': 'histomm.SeedGlobalRandom', 'transforms': [{'type': 'histomm.DrawFromEverywhere'}]}]
    dataset = Numbers(pipeline=pipeline)
    sampler = SeededSampler(dataset, seed=seed)
    sampler.set_epoch(which)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers, collate_fn=list)
    return [(item['number'], item['draws']) for batch in loader for item in batch]


def test_number_of_workers_changes_nothing():
    alone = epoch(0)
    np.random.seed(99)
    assert epoch(0) == alone
    assert epoch(2) == alone


@pytest.mark.parametrize('wrap', [lambda data: RepeatDataset(data, 3), lambda data: ConcatDataset([data, data, data])])
def test_wrapped_data_sets_draw_alike_with_workers_and_apart_in_each_copy(wrap):
    pipeline = [{'type': 'histomm.SeedGlobalRandom', 'transforms': [{'type': 'histomm.DrawFromEverywhere'}]}]
    dataset = wrap(Numbers(pipeline=pipeline))
    runs = []
    for num_workers in (0, 2):
        sampler = SeededSampler(dataset, seed=0)
        loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers, collate_fn=list)
        runs.append([(item['number'], tuple(item['draws'])) for batch in loader for item in batch])
    assert runs[0] == runs[1]
    assert sorted(number for number, _ in runs[0]) == sorted(list(range(8)) * 3)
    assert len({draws for _, draws in runs[0]}) == 24


def test_samples_epochs_and_seeds_differ():
    draws = [tuple(d) for which, seed in ((0, 0), (1, 0), (0, 1)) for _, d in epoch(0, seed, which)]
    assert len(set(draws)) == 24
    for place in range(3):
        values = np.array([draw[place] for draw in draws])
        assert 0.3 < values.mean() < 0.7


def test_outside_generators_go_on_as_if_nothing_had_happened():
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    SeedGlobalRandom([{'type': 'histomm.DrawFromEverywhere'}])({'sample_idx': SampleIndex(3, seed=1, epoch=2)})
    assert state() == before


def test_outside_generators_survive_an_error():
    transform = SeedGlobalRandom([])
    transform.transforms = lambda results: 1 / 0
    before = np.random.get_state()[1].tolist()
    with pytest.raises(ZeroDivisionError):
        transform({'sample_idx': SampleIndex(3, seed=1, epoch=2)})
    assert np.random.get_state()[1].tolist() == before
