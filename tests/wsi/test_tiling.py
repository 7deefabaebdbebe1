"""Tiles lie where a naive loop puts them."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from histomm.wsi.tiling import Grid, foreground_share, random_order
from histomm.wsi.tissue import TissueMask


def slide_of(width, height, mpp, mpp_y=None):
    return SimpleNamespace(size=(width, height), scale=lambda wanted: (wanted / mpp, wanted / (mpp_y or mpp)))


def naive_starts(side, size, overlap, scale, partial):
    """Exact, with fractions."""
    found, index, scale = [], 0, Fraction(scale).limit_denominator(10**6)
    while (start := index * (size - overlap) * scale) + (1 if partial else size * scale) <= side:
        found.append(math.floor(start))
        index += 1
    return found


@pytest.mark.parametrize('partial', [False, True])
@pytest.mark.parametrize(
    ('width', 'height', 'size', 'overlap', 'mpp', 'own'),
    [
        (2220, 2967, 224, 0, 0.5, 0.499),
        (1000, 700, 100, 0, 0.5, 0.5),  # the last tile ends at the border
        (1000, 700, 100, 30, 0.25, 0.5),
        (999, 701, 64, 63, 1.0, 0.25),
        (1001, 100, 100, 0, 0.7, 0.7),
        (90, 300, 100, 0, 1, 1),  # narrower than a tile
        (333, 333, 37, 5, 0.3, 0.1),
    ],
)
def test_grid_against_a_naive_loop(width, height, size, overlap, mpp, own, partial):
    scale = Fraction(str(mpp)) / Fraction(str(own))
    xs = naive_starts(width, size, overlap, scale, partial)
    ys = naive_starts(height, size, overlap, scale, partial)
    corners = Grid(size, mpp, overlap, partial).corners(slide_of(width, height, own))
    assert corners.tolist() == [[x, y] for y in ys for x in xs]


def test_grid_of_pixels_that_are_not_square():
    grid, slide = Grid(10, 1.0), slide_of(40, 40, 0.5, 0.25)
    assert grid.span(slide) == (20, 40)
    assert grid.corners(slide).tolist() == [[0, 0], [20, 0]]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(size=0), 'size is 0, expected at least 1 px'),
        (dict(mpp=0), 'mpp is 0, expected a positive number'),
        (dict(mpp=math.nan), 'mpp is nan'),
        (dict(size=8, overlap=8), 'overlap is 8, expected 0 to 7 px'),
        (dict(overlap=-1), 'overlap is -1'),
    ],
)
def test_bad_grids(values, message):
    with pytest.raises(ValueError, match=message):
        Grid(**values)


def naive_share(mask, scales, corner, span):
    """Sum over all mask pixels of the area they share with the tile."""
    total = 0.0
    for row, column in np.argwhere(mask):
        width = min((column + 1) * scales[0], corner[0] + span[0]) - max(column * scales[0], corner[0])
        height = min((row + 1) * scales[1], corner[1] + span[1]) - max(row * scales[1], corner[1])
        total += max(width, 0) * max(height, 0)
    return total / (span[0] * span[1])


@pytest.mark.parametrize('scales', [(4, 4), (7.3, 7.3), (16.03, 15.9), (0.5, 0.5)])
@pytest.mark.parametrize('span', [(32, 32), (21.7, 19.2)])
def test_foreground_against_a_naive_loop(scales, span):
    rng = np.random.default_rng(0)
    mask = rng.random((13, 17)) > 0.4
    corners = rng.integers(-5, 140, (40, 2))
    expected = [naive_share(mask, scales, corner, span) for corner in corners]
    found = foreground_share(TissueMask(mask, *scales), corners, span)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_foreground_of_nothing_and_all():
    corners = np.array([[0, 0], [8, 8]])
    assert foreground_share(TissueMask(np.ones((4, 4), bool), 4.0), corners, (8, 8)).tolist() == [1, 1]
    assert foreground_share(TissueMask(np.zeros((4, 4), bool), 4.0), corners, (8, 8)).tolist() == [0, 0]
    assert foreground_share(TissueMask(np.ones((4, 4), bool), 4.0), corners[:0], (8, 8)).tolist() == []


def test_random_order_hangs_on_name_and_seed_alone():
    first = random_order(100, 'a.svs', 0)
    np.random.seed(1)
    random_order(7, 'b.svs', 0)
    assert np.array_equal(first, random_order(100, 'a.svs', 0))
    assert sorted(first.tolist()) == list(range(100))
    assert not np.array_equal(first, random_order(100, 'b.svs', 0))
    assert not np.array_equal(first, random_order(100, 'a.svs', 1))


def test_every_place_is_as_likely_to_come_first():
    counts = np.bincount([random_order(8, f's{number}', 0)[0] for number in range(4000)], minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi-squared with 7 degrees of freedom, 99.9 %
