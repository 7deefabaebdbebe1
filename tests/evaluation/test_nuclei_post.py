"""Morphology, watershed and Dice of nuclei, against scipy, naive loops and by hand."""

import numpy as np
import pytest
from scipy import ndimage

from histomm.evaluation.nuclei_post import clean_mask, dice, disk, split_nuclei


def _blobs(seed: int, size: tuple[int, int] = (70, 61), share: float = 0.4) -> np.ndarray:
    """Blobs of all sizes, some at the border, with noise in them."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(size), 3)
    return (smooth > np.quantile(smooth, 1 - share)) ^ (rng.random(size) < 0.02)


def _circles(centres: list[tuple[int, int]], radius: int, size: int = 60) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in centres], axis=0)


@pytest.mark.parametrize(
    ('pred', 'truth', 'expected'),
    [
        ([[1, 1], [0, 0]], [[1, 0], [1, 0]], 0.5),  # 2·1 / (2·1 + 1 + 1)
        ([[1, 1], [1, 1]], [[1, 0], [0, 0]], 0.4),
        ([[0, 0], [0, 0]], [[1, 0], [0, 0]], 0.0),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]], 1.0),
        ([[0, 3], [0, 0]], [[0, 7], [0, 0]], 1.0),
    ],
)
def test_dice_by_hand(pred, truth, expected):
    assert dice(np.array(pred), np.array(truth)) == expected


def test_dice_of_different_shapes_is_an_error():
    with pytest.raises(ValueError, match=r'\(2, 3\), the truth \(3, 2\)'):
        dice(np.ones((2, 3)), np.ones((3, 2)))


def test_disks_by_hand():
    assert disk(1).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert disk(3).sum() == 29
    assert disk(3)[0].tolist() == [0, 0, 0, 1, 0, 0, 0]
    with pytest.raises(ValueError, match='is 0, expected at least 1'):
        disk(0)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('radii', [(3, 1), (2,), (1, 4), ()])
def test_cleaning_is_that_of_scipy(seed, radii):
    """scipy, too, takes 0 for what lies beyond the border."""
    mask = _blobs(seed)
    expected = mask
    for radius in radii:
        expected = ndimage.binary_opening(expected, disk(radius))
        expected = ndimage.binary_closing(expected, disk(radius))
    found = clean_mask(mask, radii)
    assert found.dtype == bool
    assert np.array_equal(found, expected)


def test_cleaning_by_hand():
    mask = np.zeros((40, 40), bool)
    mask[10:24, 10:24] = True
    mask[16, 16] = False  # a hole, which is closed
    mask[30:33, 30:33] = True  # smaller than the disk, which is opened away
    # The holed square does not hold a disk of 7 pixels everywhere, so the hole is opened first: only then closed.
    found = clean_mask(mask)
    assert not found[28:].any()
    assert found[16, 16]
    assert found[14:20, 14:20].all()


def test_closing_erodes_at_the_border():
    full = np.ones((30, 30), bool)
    found = clean_mask(full)
    assert not found[:3].any()
    assert not found[:, -3:].any()
    assert found[5:-5, 5:-5].all()


def test_the_mask_given_stays_as_it_is():
    mask = _blobs(0)
    before = mask.copy()
    clean_mask(mask)
    split_nuclei(mask)
    assert np.array_equal(mask, before)


def test_circles_that_touch_are_parted_where_they_touch():
    mask = _circles([(20, 15), (20, 33), (45, 30)], 10)
    assert ndimage.label(mask)[1] == 2
    labels = split_nuclei(mask)
    assert labels.dtype == np.int32
    assert labels.max() == 3
    assert np.array_equal(labels > 0, mask)
    assert labels[20, 15] != labels[20, 33]
    assert len(np.unique(labels[:31, :24][mask[:31, :24]])) == 1
    assert len(np.unique(labels[:31, 25:][mask[:31, 25:]])) == 1


def test_one_circle_and_one_long_cell_stay_whole():
    mask = _circles([(15, 15)], 9)
    mask[40:48, 5:55] = True
    assert split_nuclei(mask).max() == 2


def test_depth_decides_what_is_a_nucleus_of_its_own():
    mask = _circles([(30, 20), (30, 34)], 10)  # distances of 10 at the centres, of some 7 between them
    assert split_nuclei(mask, depth=1).max() == 2
    assert split_nuclei(mask, depth=5).max() == 1


@pytest.mark.parametrize('seed', range(3))
def test_no_pixel_is_lost_and_every_nucleus_is_in_one_piece(seed):
    mask = _blobs(seed)  # with single pixels, lower than any depth
    labels = split_nuclei(mask)
    assert np.array_equal(labels > 0, mask)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    corners = np.ones((3, 3))
    assert all(ndimage.label(labels == number, corners)[1] == 1 for number in range(1, labels.max() + 1))
    assert labels.max() >= ndimage.label(mask, corners)[1]


def test_nothing_and_everything():
    assert not split_nuclei(np.zeros((9, 9), bool)).any()
    assert (split_nuclei(np.ones((9, 9), bool)) == 1).all()
    assert split_nuclei(np.eye(2, dtype=bool)).max() == 1


def test_wrong_arguments_are_named():
    mask = np.ones((4, 5), bool)
    with pytest.raises(ValueError, match='depth is 0'):
        split_nuclei(mask, depth=0)
    for function in (clean_mask, split_nuclei):
        with pytest.raises(ValueError, match=r'\(1, 4, 5\).*expected \(H, W\)'):
            function(mask[None])
