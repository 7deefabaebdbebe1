"""The concordance index through the metric, against a loop over pairs."""

import math
import sys

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from histomm.evaluation import SurvivalMetric

pytest.importorskip('sksurv')


def metric(time, event, risk, **options):
    found = SurvivalMetric(**options)
    samples = []
    for number, values in enumerate(zip(time, event, risk, strict=True)):
        sample = DataSample(metainfo=dict(patient=f'p{number}'))
        for name, value in zip(('gt_time', 'gt_event', 'pred_score'), values, strict=True):
            sample.set_field(torch.tensor([float(value)]), name)
        samples.append(sample.to_dict())
    found.process(None, samples)
    return found.evaluate(len(samples))


def naive(time, event, risk):
    """Pairs of whom one is seen to die before the other was last seen."""
    right = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                right += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    return right / pairs


def test_equals_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    for _ in range(5):
        time, event = rng.integers(1, 12, 30), rng.integers(0, 2, 30)
        risk = rng.integers(0, 9, 30)
        found = metric(time, event, risk)['survival/c_index']
        assert found == pytest.approx(naive(time, event, risk))


def test_by_hand():
    """Deaths at 1 and 2, one alive at 3: the pairs are (1, 2), (1, 3), (2, 3); the risks have the last wrong."""
    assert metric([1, 2, 3], [1, 1, 0], [3, 1, 2])['survival/c_index'] == pytest.approx(2 / 3)


def test_intervals_hold_the_index_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(1)
    time, event = rng.permutation(40) + 1, rng.integers(0, 2, 40)
    first = metric(time, event, -time + rng.normal(0, 20, 40), bootstrap=60)
    assert 0 < first['survival/c_index_low'] < first['survival/c_index'] < first['survival/c_index_high'] <= 1


@pytest.mark.parametrize(('time', 'event'), [([1, 2], [0, 0]), ([2, 1], [1, 0])], ids=['no event', 'seen before'])
def test_without_pairs_it_is_not_defined(time, event):
    assert math.isnan(metric(time, event, [1, 2])['survival/c_index'])


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"a data sample has no gt_event, found \['gt_time'\]"):
        SurvivalMetric().process(None, [dict(gt_time=torch.ones(1))])
    with pytest.raises(ValueError, match='bootstrap is -1'):
        SurvivalMetric(bootstrap=-1)
    monkeypatch.setitem(sys.modules, 'sksurv.metrics', None)
    with pytest.raises(ModuleNotFoundError, match='run `pip install scikit-survival`'):
        metric([1, 2], [1, 1], [1, 2])
