"""Mirroring, turning, shifting and resizing against numpy."""

import math

import cv2
import numpy as np
import pytest
from scipy.stats import chisquare

from histomm.datasets import SampleIndex
from histomm.datasets.transforms import RandomAffine, RandomMirror, ResizeWhole
from histomm.datasets.transforms.affine import warp
from histomm.datasets.transforms.geometric import resize


def sample(image, index=0, **more):
    return dict(img=image, sample_idx=SampleIndex(index, 3, 1), **more)


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (21, 21, 3), dtype=np.uint8)


def test_quarter_turns_are_exact(image):
    for turns in (0, 1, 2):
        assert np.array_equal(warp(image, 90.0 * turns, (0, 0)), np.rot90(image, turns))
    assert np.array_equal(warp(image, -90.0, (0, 0)), np.rot90(image, -1))


def test_shifts_go_right_and_down_with_mirrored_or_white_border(image):
    mirrored = np.pad(image, ((3, 3), (2, 2), (0, 0)), mode='reflect')
    assert np.array_equal(warp(image, 0, (2, 3)), mirrored[:21, :21])
    white = warp(image, 0, (2, 3), 'white')
    assert np.array_equal(white[3:, 2:], image[:-3, :-2])
    assert (white[:3] == 255).all()
    assert (white[:, :2] == 255).all()


@pytest.mark.parametrize('shape', [(1, 1), (5, 40), (46, 70)])
@pytest.mark.parametrize('border', ['reflect', 'white'])
def test_equals_opencv_with_its_own_border_within_one_level(shape, border):
    """The picture that is put into its surroundings first, beside OpenCV looking up what lies beyond the border."""
    height, width = shape
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for angle, right, down in ((0, 0.4, -2.7), (31, 0, 0), (-88.5, 3.2, 0), (179, -1, 2.5), (12, 1.3 * width, 0)):
        place = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        place[:, 2] += (right, down)
        mode = {'reflect': cv2.BORDER_REFLECT_101, 'white': cv2.BORDER_CONSTANT}[border]
        plain = cv2.warpAffine(image, place, (width, height), borderMode=mode, borderValue=(255,) * 3)
        found = warp(image, angle, (right, down), border)
        assert np.abs(found.astype(int) - plain).max() <= 1, (angle, right, down)


def test_angles_and_shifts_are_uniform_within_bounds(image):
    """A picture with one white pixel shows the angle and the shift that was drawn."""
    plane = np.zeros((101, 101, 3), np.uint8)
    plane[50, 48:53] = 255
    transform = RandomAffine(translate=0.2, prob=1.0, border='white')
    places = []
    for index in range(300):
        shifted = transform.transform(sample(plane, index))['img'][20:81, 20:81, 0].astype(float)
        rows, columns = np.indices(shifted.shape)
        total = shifted[5:56, 5:56].sum()
        if total:
            places.append(((rows * shifted).sum() / shifted.sum() - 30, (columns * shifted).sum() / shifted.sum() - 30))
    down, right = np.abs(np.array(places)).max(axis=0)
    assert 18 < down <= 21
    assert 18 < right <= 21
    turned = RandomAffine(angle=(90, 90), prob=1.0).transform(sample(image))
    assert np.array_equal(turned['img'], np.rot90(image))


def test_labels_follow_and_the_box_is_given_up(image):
    labels = image[..., 0] > 128
    result = RandomAffine(angle=(90, 90), prob=1.0).transform(
        sample(image, seg_fields=['gt_seg_map'], gt_seg_map=labels.astype(np.uint8))
    )
    assert np.array_equal(result['gt_seg_map'], np.rot90(labels).astype(np.uint8))
    assert all(math.isnan(side) for side in result['crop_box'])
    untouched = RandomAffine(angle=90, prob=0.0).transform(sample(image))
    assert 'crop_box' not in untouched
    assert np.array_equal(untouched['img'], image)


def test_mirrors_are_as_likely_as_stated_and_recorded(image):
    counts = dict.fromkeys([(False, False), (True, False), (False, True), (True, True)], 0)
    transform = RandomMirror(prob=0.3)
    for index in range(2000):
        result = transform.transform(sample(image, index))
        key = (result['hflip'], result['vflip'])
        counts[key] += 1
        expected = image[:, ::-1] if key[0] else image
        assert np.array_equal(result['img'], expected[::-1] if key[1] else expected)
    assert chisquare([*counts.values()], [1400, 200, 200, 200]).pvalue > 0.001
    twice = RandomMirror(prob=1.0).transform(sample(image, 4, hflip=True, vflip=True))
    once = RandomMirror(prob=1.0).transform(sample(image, 4))
    assert (twice['hflip'], twice['vflip']) == (not once['hflip'], not once['vflip'])
    with pytest.raises(ValueError, match='put RandomMirror before RandomRotate90'):
        transform.transform(sample(image, rot90=1))


def test_the_whole_picture_is_resized(image):
    result = ResizeWhole((8, 12)).transform(sample(image[:, :15]))
    assert np.array_equal(result['img'], resize(image[:, :15], (8, 12)))
    assert result['img_shape'] == (8, 12)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: RandomAffine(angle=200), r'angle is 200, expected a number or \(min, max\) within ±180'),
        (lambda: RandomAffine(translate=(0.2, 0.1)), 'translate is'),
        (lambda: RandomAffine(border='black'), "border is 'black'"),
        (lambda: RandomAffine(prob=2), 'expected a probability'),
        (lambda: RandomMirror(prob=-1), 'expected a probability'),
        (lambda: ResizeWhole(0), 'expected a positive side'),
        (lambda: ResizeWhole(8, 'nearest'), "interpolation is 'nearest'"),
    ],
)
def test_bad_arguments_of_affine_steps_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
