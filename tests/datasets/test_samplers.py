"""SeededSampler: permutations, resuming, and sharing over ranks."""

import pickle

import pytest
from mmengine.dist import get_dist_info

from histomm.datasets import SampleIndex, SeededSampler, samplers


def as_rank(monkeypatch, rank, world):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world))


def take(sampler, count):
    return [(int(i), i.epoch) for i, _ in zip(sampler, range(count), strict=False)]


def test_index_is_an_int_that_survives_pickling():
    index = pickle.loads(pickle.dumps(SampleIndex(4, seed=2, epoch=9)))
    assert index == 4
    assert [10, 11, 12, 13, 14][index] == 14
    assert (index.seed, index.epoch) == (2, 9)


@pytest.mark.parametrize('size', [1, 2, 15, 16, 17])
def test_each_epoch_is_another_permutation(size):
    sampler = SeededSampler(range(size), seed=3)
    orders = set()
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(size))
        assert {(index.seed, index.epoch) for index in order} == {(3, epoch)}
        assert len(order) == len(sampler)
        orders.add(tuple(order))
    if size > 10:
        assert len(orders) == 4
        assert tuple(SeededSampler(range(size), seed=4)) not in orders


def test_without_shuffling():
    assert list(SeededSampler(range(5), shuffle=False, seed=0)) == [0, 1, 2, 3, 4]


def test_infinite_stream_is_the_epochs_and_resumes():
    finite, stream = SeededSampler(range(7), seed=1), SeededSampler(range(7), seed=1, infinite=True)
    expected = []
    for epoch in range(4):
        finite.set_epoch(epoch)
        expected += take(finite, 7)
    assert take(stream, 28) == expected
    for start in (0, 1, 7, 12):
        stream.skip(start)
        assert take(stream, 10) == expected[start : start + 10]
    with pytest.raises(ValueError, match='num_samples is -1'):
        stream.skip(-1)


@pytest.mark.parametrize('world', [2, 3])
@pytest.mark.parametrize('size', [1, 7, 12])
def test_ranks_share_an_epoch(monkeypatch, world, size):
    shares, exact = [], []
    for rank in range(world):
        as_rank(monkeypatch, rank, world)
        shares.append(list(SeededSampler(range(size), seed=0)))
        exact.append(list(SeededSampler(range(size), seed=0, round_up=False)))
        assert len(shares[-1]) == len(SeededSampler(range(size), seed=0))
        assert len(exact[-1]) == len(SeededSampler(range(size), seed=0, round_up=False))
    assert len({len(share) for share in shares}) == 1
    assert {index for share in shares for index in share} == set(range(size))
    assert sorted(index for share in exact for index in share) == list(range(size))


def test_ranks_share_the_stream(monkeypatch):
    whole = take(SeededSampler(range(5), seed=0, infinite=True), 20)
    for rank in range(2):
        as_rank(monkeypatch, rank, 2)
        sampler = SeededSampler(range(5), seed=0, infinite=True)
        assert take(sampler, 10) == whole[rank::2]
        sampler.skip(4)
        assert take(sampler, 6) == whole[rank::2][4:]


def test_empty_data_set():
    assert get_dist_info() == (0, 1)
    with pytest.raises(ValueError, match='the data set is empty'):
        SeededSampler([])
