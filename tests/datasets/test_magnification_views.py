"""Pairs of magnifications by their table, and views that share their draws."""

from collections import Counter

import cv2
import numpy as np
import pytest
from mmengine.dataset import default_collate
from scipy.stats import chisquare
from torch.utils.data import DataLoader

from histomm.datasets import MagnificationSetDataset, SampleIndex, SeededSampler
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import MagnificationPairSampler, MagnificationViews
from histomm.datasets.transforms.magnifications import magnification_pairs

FOUR = (40, 100, 200, 400)
SHARED = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, prob=0.3),
    dict(type='histomm.RandomMirror', prob=0.3),
    dict(type='histomm.RandomAffine', angle=90, prob=0.3),
    dict(type='histomm.RandomAffine', translate=0.05, prob=0.2),
    dict(type='histomm.ResizeWhole', size=32),
]


def drawn_pairs(sampler, number=4000, seed=7, magnifications=FOUR):
    paths = dict.fromkeys(magnifications, '')
    return [
        sampler.transform(dict(img_paths=paths, sample_idx=SampleIndex(index, seed, index % 3)))['pair']
        for index in range(number)
    ]


ORDERED = {
    'previous': {(40, 100): 1 / 4, (100, 200): 1 / 4, (200, 400): 1 / 2},
    'itself': {(40, 100): 1 / 4, (100, 200): 1 / 4, (200, 400): 1 / 4, (400, 400): 1 / 4},
    'never': {(40, 100): 1 / 3, (100, 200): 1 / 3, (200, 400): 1 / 3},
}
RANDOM = {(one, other): 1 / 12 for one in FOUR for other in FOUR if one != other}


@pytest.mark.parametrize(
    ('options', 'table'),
    [
        *((dict(strategy='ordered', last=last), table) for last, table in ORDERED.items()),
        (dict(strategy='random'), RANDOM),
        (dict(strategy='fixed'), {(200, 400): 1}),
        (dict(strategy='fixed', pair=(400, 40)), {(400, 40): 1}),
    ],
)
def test_pairs_come_as_often_as_the_table_says(options, table):
    exact = Counter(
        magnification_pairs(options['strategy'], FOUR, options.get('pair', (200, 400)), options.get('last', 'previous'))
    )
    assert {pair: count / exact.total() for pair, count in exact.items()} == pytest.approx(table)
    found = Counter(drawn_pairs(MagnificationPairSampler(**options)))
    assert set(found) == set(table)
    if len(table) > 1:
        expected = [4000 * share for share in table.values()]
        assert chisquare([found[pair] for pair in table], expected).pvalue > 0.001


def test_two_magnifications_in_any_order_of_the_dict():
    assert set(drawn_pairs(MagnificationPairSampler('ordered'), 50, magnifications=(10, 2.5))) == {(2.5, 10)}
    assert set(drawn_pairs(MagnificationPairSampler('random'), 50, magnifications=(10, 2.5))) == {(2.5, 10), (10, 2.5)}


def test_draws_depend_on_seed_epoch_and_sample_alone():
    sampler = MagnificationPairSampler('random')
    first = drawn_pairs(sampler, 40)
    np.random.seed(3)
    assert drawn_pairs(MagnificationPairSampler('random'), 40) == first
    assert drawn_pairs(sampler, 40, seed=8) != first
    paths = dict.fromkeys(FOUR, '')
    epochs = [
        [sampler.transform(dict(img_paths=paths, sample_idx=SampleIndex(n, 7, epoch)))['pair'] for n in range(40)]
        for epoch in (0, 1)
    ]
    assert epochs[0] != epochs[1]


def test_bad_samplers_and_pairs_are_named():
    with pytest.raises(ValueError, match=r"strategy is 'any'"):
        MagnificationPairSampler('any')
    with pytest.raises(ValueError, match=r"last 'first'"):
        MagnificationPairSampler(last='first')
    with pytest.raises(ValueError, match='expected two magnifications'):
        MagnificationPairSampler('fixed', pair=(40,))
    with pytest.raises(
        ValueError, match=r'pair is \(50, 400\), expected two of the magnifications \(40, 100, 200, 400\)'
    ):
        drawn_pairs(MagnificationPairSampler('fixed', pair=(50, 400)), 1)
    with pytest.raises(ValueError, match='pipeline is empty'):
        MagnificationViews([])


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('picture') / 'same.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (46, 70, 3), dtype=np.uint8))
    return str(path)


def views_of(path, transform, index):
    sample = dict(img_path='set', img_paths={40: path, 100: path}, pair=(40, 100), sample_idx=SampleIndex(index, 1, 2))
    return transform.transform(sample)['views']


def test_synchronised_views_of_equal_pictures_are_equal(picture):
    transform = MagnificationViews(SHARED, sync=True)
    pictures = set()
    for index in range(60):
        first, second = views_of(picture, transform, index)
        assert first['magnification'] == 40
        assert second['magnification'] == 100
        assert np.array_equal(first['img'], second['img'])
        pictures.add(first['img'].tobytes())
    # a picture stays as it is with probability .7 · .7 · .7 · .8 = .2744, so about 44 others are expected
    assert 30 <= len(pictures) <= 57


def test_views_with_draws_of_their_own_differ(picture):
    """Two views agree if both stay as they are, .2744², or mirror alike and nothing else: .0861 in all."""
    transform = MagnificationViews(SHARED, sync=False)
    same = sum(
        np.array_equal(first['img'], second['img'])
        for first, second in (views_of(picture, transform, index) for index in range(300))
    )
    alike = (0.7 * 0.7 * 0.8) ** 2 * (0.7**2 + 3 * 0.1**2)
    deviation = (300 * alike * (1 - alike)) ** 0.5
    assert abs(same - 300 * alike) < 4 * deviation


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_does_not_depend_on_the_number_of_workers(tmp_path, workers):
    write_layout('breakhis', tmp_path, 8, (40, 32), seed=0)
    pipeline = [
        dict(type='histomm.MagnificationPairSampler', strategy='random'),
        dict(type='histomm.MagnificationViews', pipeline=SHARED),
        dict(type='histomm.PackViews', meta_keys=['pair', 'patient']),
    ]
    dataset = MagnificationSetDataset(str(tmp_path), pipeline=pipeline)
    sampler = SeededSampler(dataset, seed=5)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=default_collate)
    batches = list(loader)
    wanted = [dataset[index] for index in sampler]
    found = [
        (view, sample)
        for batch in batches
        for view, sample in zip(zip(*batch['inputs'], strict=True), batch['data_samples'], strict=True)
    ]
    assert len(found) == 8
    for sample, (views, packed) in zip(wanted, found, strict=True):
        assert packed.pair == sample['data_samples'].pair
        assert packed.patient.startswith('14-9000')
        assert all(bool((one == other).all()) for one, other in zip(views, sample['inputs'], strict=True))
