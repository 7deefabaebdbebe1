"""Intervals cover what they should, and groups are drawn whole."""

import math

import numpy as np
import pytest

from histomm.evaluation.bootstrap import bootstrap_interval, bootstrap_intervals


def test_interval_of_a_mean_covers_the_truth_as_often_as_it_says():
    """Means of 60 normal numbers: the 90 % interval holds the true mean as often as that of the normal distribution."""
    rng = np.random.default_rng(1)
    hits, normal = 0, 0
    for trial in range(300):
        values = rng.normal(3, 2, 60)
        low, high = bootstrap_interval(np.mean, [values], draws=200, level=0.9, seed=trial)
        hits += low <= 3 <= high
        normal += abs(values.mean() - 3) <= 1.645 * values.std() / math.sqrt(60)
    assert hits / 300 == pytest.approx(normal / 300, abs=0.03)
    assert hits / 300 == pytest.approx(0.9, abs=0.05), 'the binomial deviation of 300 trials is 1.7 %'


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap_interval(np.mean, [values], draws=4000)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_groups_widen_the_interval_as_far_as_they_repeat_themselves():
    """Ten equal copies of each of 40 numbers say no more than the 40 numbers."""
    values = np.random.default_rng(2).normal(0, 1, 40)
    copies, groups = np.repeat(values, 10), np.repeat(np.arange(40).astype(str), 10)
    alone = bootstrap_interval(np.mean, [values], draws=3000)
    grouped = bootstrap_interval(np.mean, [copies], groups, draws=3000)
    single = bootstrap_interval(np.mean, [copies], draws=3000)
    width = alone.high - alone.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.1)
    assert single.high - single.low == pytest.approx(width / math.sqrt(10), rel=0.1)


def test_groups_are_drawn_whole_and_rows_of_all_arrays_together():
    groups = np.array(['b', 'a', 'b', 'c', 'a', 'b'])
    seen = []

    def count(values, same):
        assert (values == same).all()
        seen.append(tuple(np.bincount(values, minlength=6)))
        return 0.0

    bootstrap_interval(count, [np.arange(6), np.arange(6)], groups, draws=50)
    assert all(c[0] == c[2] == c[5] and c[1] == c[4] and c[0] + c[1] + c[3] == 3 for c in seen)


def test_scores_that_are_not_defined_are_left_out():
    rng_free = [np.array([0.0, 1.0])]
    borders = bootstrap_intervals(lambda x: {'mean': x.mean() if x.any() else np.nan, 'never': np.nan}, rng_free)
    assert borders['mean'] == (0.5, 1.0)
    assert all(math.isnan(value) for value in borders['never'])


def test_same_seed_same_interval():
    values = np.random.default_rng(3).random(30)
    assert bootstrap_interval(np.median, [values], seed=4) == bootstrap_interval(np.median, [values], seed=4)
    assert bootstrap_interval(np.median, [values], seed=4) != bootstrap_interval(np.median, [values], seed=5)


@pytest.mark.parametrize(
    ('arrays', 'options', 'message'),
    [
        ([np.empty(0)], {}, 'expected one number above 0'),
        ([np.zeros(2), np.zeros(3)], {}, r'\[2, 3\] rows'),
        ([np.zeros(2)], {'draws': 0}, 'draws is 0'),
        ([np.zeros(2)], {'level': 1.0}, 'level 1.0'),
    ],
)
def test_wrong_arguments_are_refused(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.mean, arrays, **options)
