"""Filters drop what they are for, and leave tissue alone."""

import cv2
import numpy as np
import pytest

from histomm.wsi.quality import (
    LIMITS,
    check_limits,
    drop_reason,
    edge_share,
    pen_share,
    sharpness,
    white_share,
)

GREEN, BLUE_INK, BLACK = (20, 130, 90), (40, 60, 160), (20, 20, 25)
HAEMATOXYLIN, EOSIN, DARK_NUCLEUS = (110, 80, 160), (225, 150, 190), (60, 40, 90)


def tissue(seed=0, size=64):
    rng = np.random.default_rng(seed)
    colours = np.array([HAEMATOXYLIN, EOSIN])[rng.integers(0, 2, (size // 4, size // 4))]
    return np.repeat(np.repeat(colours, 4, 0), 4, 1).astype(np.uint8)


def test_sharpness_against_a_naive_loop():
    tile = tissue(size=16)
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY).astype(float)
    mirrored = np.pad(grey, 1, mode='reflect')
    values = [
        mirrored[y, x + 1] + mirrored[y + 2, x + 1] + mirrored[y + 1, x] + mirrored[y + 1, x + 2] - 4 * grey[y, x]
        for y, x in np.ndindex(16, 16)
    ]
    assert sharpness(tile) == pytest.approx(np.var(values))


@pytest.mark.parametrize('ink', [GREEN, BLUE_INK, BLACK])
def test_share_of_ink(ink):
    tile = tissue()
    assert pen_share(tile) == 0
    tile[:16] = ink
    assert pen_share(tile) == 0.25


@pytest.mark.parametrize('colour', [HAEMATOXYLIN, EOSIN, DARK_NUCLEUS, (242, 242, 242), (180, 30, 40)])
def test_stain_glass_and_blood_are_no_ink(colour):
    assert pen_share(np.full((4, 4, 3), colour, np.uint8)) == 0


def test_share_of_white_and_of_edges():
    tile = np.full((8, 8, 3), 242, np.uint8)
    tile[:2] = EOSIN
    assert white_share(tile) == 0.75
    step = np.full((8, 8, 3), 240, np.uint8)
    step[:, 4:] = 100  # the gradient is 70 grey values per px in two columns
    assert edge_share(step) == 0.25
    step[:, 4:] = 180  # and here 30
    assert edge_share(step) == 0


def test_each_filter_drops_its_own():
    sharp, fat = tissue(), np.full((64, 64, 3), 242, np.uint8)
    fat[30:32] = EOSIN
    marked = tissue()
    marked[:20] = GREEN
    blurred = cv2.GaussianBlur(tissue(), None, 6)
    assert [drop_reason(tile, LIMITS) for tile in (sharp, fat, marked, blurred)] == [None, 'fat', 'pen', 'blur']
    assert [drop_reason(tile, {}) for tile in (sharp, fat, marked, blurred)] == [None] * 4
    assert drop_reason(marked, {'pen': 0.5}) is None
    assert drop_reason(sharp, {'blur': 1e9}) == 'blur'


def test_white_tissue_with_edges_is_no_fat():
    lace = np.full((64, 64, 3), 242, np.uint8)
    lace[:, ::4] = HAEMATOXYLIN
    assert white_share(lace) == 0.75
    assert drop_reason(lace, LIMITS) is None


def test_bad_filters():
    check_limits(LIMITS)
    with pytest.raises(ValueError, match="no filter 'pens', expected some of fat, pen, blur"):
        check_limits({'pens': 1})
    with pytest.raises(ValueError, match='limit of the filter pen is 2, expected 0 to 1'):
        check_limits({'pen': 2})
    with pytest.raises(ValueError, match='limit of the filter blur is -1, expected 0 to inf'):
        check_limits({'blur': -1})


def test_real_tissue_is_kept_and_its_blurred_copy_dropped(real_data):
    paths = sorted((real_data / 'tcga_luadlusc').rglob('*.jpg'))[::13]
    tiles = [cv2.imread(str(path))[..., ::-1].copy() for path in paths]
    assert [drop_reason(tile, LIMITS) for tile in tiles] == [None] * len(tiles)
    assert {drop_reason(cv2.GaussianBlur(tile, None, 4), LIMITS) for tile in tiles} == {'blur'}
