"""Tissue is found by colour, and cleaned by area."""

import cv2
import numpy as np
import pytest
from skimage.filters import threshold_otsu
from small_slides import write_slide

from histomm.datasets.synthetic import write_layout
from histomm.datasets.synthetic.slides import SLIDE_TISSUES
from histomm.wsi.reader import open_slide
from histomm.wsi.tissue import (
    ClamTissue,
    HsvTissue,
    OtsuTissue,
    TissueMask,
    clean_mask,
    find_tissue,
    otsu,
    read_overview,
    saturation_of,
)

COLOURS = np.uint8(
    [[[150, 120, 190], [220, 150, 190], [200, 120, 170], [120, 170, 190], [128, 128, 200], [240, 238, 242]]]
)


@pytest.mark.parametrize(
    ('unit', 'expected'),
    [('unit', [False, False, False, True, False, False]), ('cv2_255', [True, True, True, False, False, False])],
)
def test_box_in_both_units_of_hue(unit, expected):
    """Haematoxylin, eosin, their mixture, cyan, blue, glass: only OpenCV's unit takes what is stained."""
    assert HsvTissue(hue_unit=unit).fit(COLOURS).transform(COLOURS)[0].tolist() == expected
    inverted = HsvTissue(hue_unit=unit, invert=True).transform(COLOURS)[0]
    assert inverted.tolist() == [not value for value in expected]


def test_box_excludes_its_limits():
    grey = np.uint8([[[102, 51, 102], [204, 102, 204]]])  # hue 300 degrees: 150 of 180
    assert HsvTissue(hue=(150 / 255, 1)).transform(grey).tolist() == [[False, False]]
    assert HsvTissue(hue=(149 / 255, 1), value=(0.4, 0.9)).transform(grey).tolist() == [[False, True]]
    assert HsvTissue(hue=(0.8, 0.9), hue_unit='unit').transform(grey).tolist() == [[False, True]]


def test_unknown_unit():
    with pytest.raises(ValueError, match="hue_unit is 'degrees', expected 'cv2_255' or 'unit'"):
        HsvTissue(hue_unit='degrees')


@pytest.mark.parametrize('seed', range(4))
def test_otsu_against_another_implementation(seed):
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(40, 12, 500), rng.normal(150, 30, 300 * seed + 10)].clip(0, 255).astype(np.uint8)
    ours, theirs = otsu(values), threshold_otsu(values)
    assert np.array_equal(values > ours, values > theirs)


def test_otsu_of_equal_values():
    assert otsu(np.full(9, 17, np.uint8)) == 0
    assert otsu(np.uint8([0, 255])) == 0  # smallest of all that separate them


def test_otsu_tissue_learns_from_the_slide():
    picture = np.full((20, 30, 3), 240, np.uint8)
    picture[5:15, 10:20] = [200, 120, 170]
    finder = OtsuTissue()
    with pytest.raises(RuntimeError, match='call fit'):
        finder.transform(picture)
    mask = finder.fit(picture).transform(picture)
    assert mask.sum() == 100
    assert mask[5:15, 10:20].all()


def test_tissue_is_above_the_threshold_not_on_it():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, :4], picture[:, 4:] = (250, 200, 200), (250, 150, 150)  # saturations 51 and 102
    finder = OtsuTissue().fit(picture)
    assert finder.threshold == 51
    np.testing.assert_array_equal(finder.transform(picture), np.arange(8)[None].repeat(4, 0) >= 4)


@pytest.mark.parametrize('finder', [OtsuTissue(), HsvTissue(), ClamTissue(), ClamTissue(use_otsu=True)])
def test_glass_and_black_borders_are_no_tissue(finder):
    rng = np.random.default_rng(0)
    glass = rng.integers(238, 243, (40, 40, 3), dtype=np.uint8)
    glass[:, :8] = rng.integers(0, 6, (40, 8, 3))
    assert not finder.fit(glass).transform(glass).any()


def test_clam_smooths_and_closes():
    saturation = np.zeros((40, 40), np.uint8)
    saturation[10:30, 10:30] = 100
    saturation[20, 20] = 0  # lost in the median
    saturation[2, 2] = 100  # likewise
    saturation[10:30, 18:21] = 0  # a gap of 3 px that a square of 4 closes
    picture = np.stack([np.full_like(saturation, 250), 250 - np.uint8(saturation / 255 * 250), saturation * 0 + 250], 2)
    naive = np.zeros_like(saturation)
    seen, padded = saturation_of(picture), np.pad(saturation_of(picture), 1, mode='edge')
    for y, x in np.ndindex(*seen.shape):
        naive[y, x] = np.median(padded[y : y + 3, x : x + 3])
    open_ = ClamTissue(median=3, closing=0).transform(picture)
    assert np.array_equal(open_, naive > 8)
    closed = ClamTissue(median=3, closing=4).transform(picture)
    assert not open_[20, 19]
    assert closed[12:28, 12:28].all()
    assert not closed[2, 2]
    with pytest.raises(ValueError, match='median is 4, expected an odd number'):
        ClamTissue(median=4)


def naive_regions(mask, diagonal):
    """Connected sets of true pixels by flood fill."""
    left, regions = {tuple(place) for place in np.argwhere(mask)}, []
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * diagonal
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            for dy, dx in steps:
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    front.append((y + dy, x + dx))
        regions.append(region)
    return regions


def naive_clean(mask, pixel_area, min_piece, min_hole):
    result = mask.copy()
    for hole in naive_regions(~mask, diagonal=False):
        inner = all(0 < y < mask.shape[0] - 1 and 0 < x < mask.shape[1] - 1 for y, x in hole)
        if inner and len(hole) * pixel_area < min_hole:
            result[tuple(zip(*hole, strict=True))] = True
    for piece in naive_regions(result, diagonal=True):
        if len(piece) * pixel_area < min_piece:
            result[tuple(zip(*piece, strict=True))] = False
    return result


@pytest.mark.parametrize('seed', range(6))
def test_cleaning_against_flood_fill(seed):
    noise = np.random.default_rng(seed).random((23, 31)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, None, 0.8) > 0.5
    for min_piece, min_hole in ((0, 0), (12, 8), (1e9, 0), (0, 1e9), (40, 12)):
        expected = naive_clean(mask, 4, min_piece, min_hole)
        assert np.array_equal(clean_mask(mask, 4, min_piece, min_hole), expected)


def test_whole_masks_stay():
    assert clean_mask(np.ones((5, 5), bool), 1, 20, 20).all()
    assert not clean_mask(np.ones((5, 5), bool), 1, 26, 20).any()
    assert not clean_mask(np.zeros((5, 5), bool), 1, 0, 1e9).any()


def test_mask_lies_where_the_tissue_is(tmp_path):
    pixels = np.full((300, 410, 3), 242, np.uint8)
    pixels[64:160, 96:256] = [205, 120, 170]
    pixels[96:112, 128:144] = 242  # a hole of 8 x 8 um
    pixels[280:284, 400:404] = [205, 120, 170]  # a piece of 2 x 2 um
    with open_slide(write_slide(tmp_path / 'a.tif', pixels, mpp=0.5)) as slide:
        overview, scale_x, scale_y = read_overview(slide, 4)
        tissue = find_tissue(slide, OtsuTissue(), mpp=4, min_piece=100, min_hole=100)
        holes = find_tissue(slide, OtsuTissue(), mpp=4, min_piece=100, min_hole=0)
    assert overview.shape == (38, 52, 3)  # 300 / 8 and 410 / 8, rounded up
    assert (scale_x, scale_y, tissue.scales) == (8, 8, (8, 8))
    expected = np.zeros((38, 52), bool)
    expected[8:20, 12:32] = True
    assert np.array_equal(tissue.mask, expected)
    expected[12:14, 16:18] = False
    assert np.array_equal(holes.mask, expected)


def test_scale_of_pixels_that_are_not_square():
    assert TissueMask(np.ones((1, 1), bool), 4.0).scales == (4, 4)
    assert TissueMask(np.ones((1, 1), bool), 4.0, 5.0).scales == (4, 5)


def test_stained_tissue_of_drawn_slides_is_found(tmp_path):
    """Glass is left alone, and of stained tissue all but its edges is found."""
    write_layout('slides', tmp_path, 1, 1024)
    path = next((tmp_path / 'slides').glob('*.tif'))
    truth = cv2.imread(str(tmp_path / 'truth' / f'{path.stem}.png'), cv2.IMREAD_GRAYSCALE)
    pale = np.isin(truth, [SLIDE_TISSUES.index(tissue) for tissue in ('ADI', 'MUC')])
    with open_slide(path) as slide:
        for finder, share in ((OtsuTissue(), 0.9), (HsvTissue(), 0.8), (ClamTissue(), 0.9)):
            mask = find_tissue(slide, finder, mpp=8).mask
            assert mask.shape == truth.shape
            assert mask[(truth > 0) & ~pale].mean() > share
            assert mask[cv2.dilate(truth, np.ones((9, 9), np.uint8)) == 0].mean() < 0.01
