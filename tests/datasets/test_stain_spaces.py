"""Colour spaces against scikit-image and formulas written out, and the statistics that are matched in them."""

import math

import numpy as np
import pytest
from skimage import color

from histomm.datasets.transforms.stain_spaces import (
    SPACES,
    STAINS,
    channel_statistics,
    density,
    from_density,
    from_space,
    match_statistics,
    stained_share,
    to_space,
)


def colours(count=40):
    """Purples and pinks as stained tissue has them, (count, count, 3)."""
    rng = np.random.default_rng(0)
    low, high = np.array([90, 40, 110]), np.array([230, 190, 225])
    return rng.integers(low, high, (count, count, 3)).astype(np.uint8)


@pytest.mark.parametrize('space', SPACES)
def test_there_and_back_is_the_same_image(space):
    image = colours()
    assert np.abs(from_space(to_space(image, space), space).astype(int) - image).max() <= 1


def test_lab_is_that_of_skimage():
    # OpenCV looks the values up in a table; a difference of 1 can be seen at best
    np.testing.assert_allclose(to_space(colours(), 'lab'), color.rgb2lab(colours()), atol=0.4)


def test_hsv_is_that_of_skimage_with_hue_from_cyan():
    expected = color.rgb2hsv(colours()) * [360, 1, 1]
    difference = to_space(colours(), 'hsv') - expected - [180, 0, 0]
    difference[..., 0] = (difference[..., 0] + 180) % 360 - 180
    np.testing.assert_allclose(difference, 0, atol=1e-3)


def test_hed_is_that_of_skimage_in_another_unit():
    """scikit-image's unit is −ln 1e-6, its stain vectors have no unit length, and it cuts off what is below 0."""
    ours = to_space(colours(), 'hed')
    lengths = np.linalg.norm(color.rgb_from_hed, axis=1)
    third = np.array([0.27, 0.57, 0.78])
    np.testing.assert_allclose(color.rgb_from_hed[2], third)
    np.testing.assert_allclose(STAINS, color.rgb_from_hed / lengths[:, None], atol=1e-6)
    theirs = color.rgb2hed(colours()) * -math.log(1e-6) * lengths
    np.testing.assert_allclose(np.maximum(ours, 0), theirs, atol=2e-4)


def test_a_pixel_of_one_unit_of_a_stain():
    pixel = np.rint(255 * np.exp(-STAINS[:1, None, :])).astype(np.uint8)
    np.testing.assert_allclose(to_space(pixel, 'hed')[0, 0], [1, 0, 0], atol=0.02)


def test_density_by_hand():
    image = np.array([[[255, 128, 0]]], np.uint8)
    np.testing.assert_allclose(density(image)[0, 0], [0, math.log(255 / 128), math.log(255)], rtol=1e-6)
    assert from_density(np.array([[[-1.0, math.log(2), 100.0]]])).tolist() == [[[255, 128, 0]]]


def test_lalphabeta_of_a_pixel_by_hand():
    """L, M and S of (200, 100, 150), their logarithms, and the three sums."""
    red, green, blue = 200, 100, 150
    ls = math.log(0.3811 * red + 0.5783 * green + 0.0402 * blue)
    ms = math.log(0.1967 * red + 0.7244 * green + 0.0782 * blue)
    ss = math.log(0.0241 * red + 0.1288 * green + 0.8444 * blue)
    expected = [(ls + ms + ss) / 3**0.5, (ls + ms - 2 * ss) / 6**0.5, (ls - ms) / 2**0.5]
    found = to_space(np.array([[[red, green, blue]]], np.uint8), 'lalphabeta')[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('space', SPACES)
def test_black_and_white_stay_finite(space):
    image = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    values = to_space(image, space)
    assert np.isfinite(values).all()
    assert np.isfinite(channel_statistics(values)).all()


@pytest.mark.parametrize('space', SPACES)
def test_matched_statistics_are_the_wanted_ones(space):
    values = to_space(colours(), space)
    mean, std = channel_statistics(values)
    np.testing.assert_allclose(mean, values.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(std, values.std((0, 1)), rtol=1e-3)
    wanted_mean, wanted_std = mean * 1.02, std * 0.7
    found = channel_statistics(to_space(match_statistics(colours(), wanted_mean, wanted_std, space), space))
    np.testing.assert_allclose(found[0], wanted_mean, rtol=2e-2, atol=2e-3)
    np.testing.assert_allclose(found[1], wanted_std, rtol=2e-2)


def test_own_statistics_change_nothing_and_flat_channels_move():
    own = channel_statistics(to_space(colours(), 'lab'))
    assert np.abs(match_statistics(colours(), *own, 'lab').astype(int) - colours()).max() <= 1
    flat = np.full((4, 4, 3), 200, np.uint8)
    moved = match_statistics(flat, np.array([50.0, 0, 0]), np.ones(3), 'lab')
    assert np.unique(moved.reshape(-1, 3), axis=0).tolist() == [[119, 119, 119]]  # L* = 50


def test_stained_share_by_hand():
    """240 · exp(−0.15) = 206.57: a channel of 206 counts, one of 207 does not."""
    image = np.full((10, 10, 3), 255, np.uint8)
    image[0, :3, 1] = 206
    image[1, :3, 1] = 207
    assert stained_share(image) == 0.03
