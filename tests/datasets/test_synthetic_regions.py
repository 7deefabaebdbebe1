"""Drawn regions of BCSS: the truth lies on the picture, and the files are named as the real ones."""

import re

import cv2
import numpy as np
import pytest
from skimage.color import rgb2hed

from histomm.datasets.bcss import CLASSES, TEST_INSTITUTES
from histomm.datasets.synthetic import LAYOUTS, draw_region, write_layout

NAME = re.compile(r'TCGA-(\w\w)-(Z\w{3})-DX1_xmin\d+_ymin\d+_MPP-0\.2500\.png')


@pytest.fixture(scope='module')
def regions():
    return [draw_region((301, 200), 3, i, i) for i in range(12)]


def test_sizes_may_be_odd_and_small(regions):
    for image, codes in regions:
        assert image.shape == (200, 301, 3)
        assert codes.shape == (200, 301)
        assert image.dtype == codes.dtype == np.uint8
    image, codes = draw_region(32)
    assert image.shape == (32, 32, 3)
    assert codes.shape == (32, 32)


def test_same_arguments_same_bytes():
    first = draw_region((70, 50), 1, 2, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, draw_region((70, 50), 1, 2, 3), strict=True))
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
        assert not np.array_equal(first[0], draw_region((70, 50), *other)[0])


def test_codes_are_those_of_bcss(regions):
    names = {0: 'outside_roi', **dict(enumerate(CLASSES, start=1))}
    seen = {names[code] for _, codes in regions for code in np.unique(codes).tolist()}
    assert seen == {
        'outside_roi', 'tumor', 'stroma', 'lymphocytic_infiltrate', 'necrosis_or_debris', 'fat', 'mucoid_material',
        'normal_acinus_or_duct',
    }  # fmt: skip
    assert all({0, 1, 2} < set(np.unique(codes).tolist()) for _, codes in regions)
    outside = [(codes == 0).mean() for _, codes in regions]
    assert min(outside) > 0.02
    assert max(outside) < 0.25


def test_tissues_have_their_stain_where_the_truth_says(regions):
    """Fat is the palest, tumour and lymphocytes hold the most haematoxylin, each measured inside its own truth."""
    haem, light = {}, {}
    for image, codes in regions:
        hed = cv2.GaussianBlur(rgb2hed(image)[..., 0], (0, 0), 4)
        for code in np.unique(codes[codes > 0]).tolist():
            inside = cv2.erode((codes == code).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            if inside.sum() > 200:
                haem.setdefault(code, []).append(hed[inside].mean() / hed.mean())
                light.setdefault(code, []).append(image[inside].mean() / image.mean())
    haem, light = ({code: np.mean(values) for code, values in found.items()} for found in (haem, light))
    assert max(light, key=light.get) == 9
    assert set(sorted(haem, key=haem.get)[-2:]) == {1, 3}, haem


def test_edges_of_the_truth_are_edges_of_the_picture(regions):
    """Fat ends where the truth says: the mean step across its outline is lost when the truth is shifted."""

    def step(image, fat):
        near = cv2.dilate(fat, np.ones((13, 13), np.uint8)) - fat
        inner = fat - cv2.erode(fat, np.ones((13, 13), np.uint8))
        return image[inner > 0].mean() - image[near > 0].mean()

    exact, moved = [], []
    for image, codes in regions:
        fat = (codes == 9).astype(np.uint8)
        if fat.mean() > 0.05:
            exact.append(step(image, fat))
            moved.append(np.mean([step(image, np.roll(fat, shift, (0, 1))) for shift in ((12, 0), (-12, 0), (0, 12))]))
    assert len(exact) > 2
    assert np.mean(exact) > 25
    assert np.mean(moved) < 0.85 * np.mean(exact)


def test_files(tmp_path):
    pictures = write_layout('bcss', tmp_path, 9, (64, 50), 5)
    masks = sorted((tmp_path / 'masks').iterdir())
    assert sorted(pictures) == sorted((tmp_path / 'images').iterdir())
    assert [path.name for path in masks] == sorted(path.name for path in pictures)
    assert {path.name for path in tmp_path.iterdir()} == {'images', 'masks', 'synthetic.json'}
    found = [NAME.fullmatch(path.name) for path in pictures]
    assert all(found)
    patients = {match[2]: match[1] for match in found}
    assert len(patients) == 7, 'two of the patients have two regions'
    test = [patient for patient, site in patients.items() if site in TEST_INSTITUTES]
    assert 2 <= len(test) <= 3
    for path in masks:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (50, 64)
        assert mask.max() <= 21


def test_all_institutes_of_the_test_set_are_drawn():
    names = [paths[0] for paths, _ in LAYOUTS['bcss'].pictures(20, (64, 64), 0)]
    assert set(TEST_INSTITUTES) <= {name.split('-')[1] for name in names}
