"""Colour steps of a batch beside a loop over pixels with exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from histomm.functional import colour


def pixels():
    """Random pixels, the corners of the cube, greys and pixels with equal channels: (2, 3, 20, 30)."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (2, 600, 3))
    values[:, :8] = [[255 * (n >> bit & 1) for bit in range(3)] for n in range(8)]
    values[:, 8:60] = values[:, 8:60, :1]
    values[:, 60:100, 1] = values[:, 60:100, 0]
    values[:, 100:140, 2] = values[:, 100:140, 1]
    return torch.from_numpy(values.reshape(2, 20, 30, 3)).permute(0, 3, 1, 2).float()


def luma(pixel):
    weights = Fraction(299, 1000), Fraction(587, 1000), Fraction(114, 1000)
    return math.floor(sum(w * int(value) for w, value in zip(weights, pixel, strict=True)) + Fraction(1, 2))


def clip(value):
    return min(max(math.floor(value), 0), 255)


def by_pixel(images, change):
    """(B, 3, H, W) with ``change(image, pixel)`` for each pixel."""
    out = np.empty(tuple(images.shape), np.float32)
    for number, image in enumerate(images.to(torch.int64).permute(0, 2, 3, 1).tolist()):
        for y, row in enumerate(image):
            for x, pixel in enumerate(row):
                out[number, :, y, x] = change(number, pixel)
    return out


# Halves and quarters, so that neither side rounds a factor.
FACTORS = torch.tensor([0.5, 1.75])


def check(found, expected):
    """Equal, but where the exact value is whole and floats fall short of it."""
    difference = np.abs(found.numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_grey():
    images = pixels()
    check(colour.to_grey(images), by_pixel(images, lambda _, pixel: [luma(pixel)] * 3))


def test_brightness():
    images, factor = pixels(), [Fraction(f) for f in FACTORS.tolist()]
    expected = by_pixel(images, lambda n, pixel: [clip(factor[n] * value) for value in pixel])
    check(colour.adjust_brightness(images, FACTORS), expected)


def test_contrast():
    images, factor = pixels(), [Fraction(f) for f in FACTORS.tolist()]
    lists = images.to(torch.int64).permute(0, 2, 3, 1).flatten(1, 2).tolist()
    mean = [math.floor(Fraction(sum(map(luma, image)), len(image)) + Fraction(1, 2)) for image in lists]
    expected = by_pixel(
        images, lambda n, pixel: [clip(factor[n] * value + (1 - factor[n]) * mean[n]) for value in pixel]
    )
    check(colour.adjust_contrast(images, FACTORS), expected)


def test_saturation():
    images, factor = pixels(), [Fraction(f) for f in FACTORS.tolist()]
    expected = by_pixel(
        images, lambda n, pixel: [clip(factor[n] * value + (1 - factor[n]) * luma(pixel)) for value in pixel]
    )
    check(colour.adjust_saturation(images, FACTORS), expected)


def turned(pixel, steps):
    """Hexagonal HSV in 255 steps that are cut off, hue turned by ``steps``, and back."""
    red, green, blue = map(int, pixel)
    value, low = max(pixel), min(pixel)
    if value == low:
        hue = saturation = 0
    else:
        rc, gc, bc = (Fraction(value - channel, value - low) for channel in (red, green, blue))
        sixths = bc - gc if red == value else 2 + rc - bc if green == value else 4 + gc - rc
        hue = math.floor(255 * (sixths / 6 % 1))
        saturation = math.floor(Fraction(255 * (value - low), value))
    sixths = Fraction(6 * ((hue + steps) % 256), 255)
    result = []
    for n in (5, 3, 1):
        k = (n + sixths) % 6
        share = min(max(min(k, 4 - k), 0), 1)
        result.append(math.floor(value - value * Fraction(saturation, 255) * share + Fraction(1, 2)))
    return result


@pytest.mark.parametrize('shifts', [(0.5, -0.5), (0.0, 0.1), (-0.1, 0.33)])
def test_hue(shifts):
    images, shift = pixels(), torch.tensor(shifts)
    steps = [int(value * 255) for value in shift.tolist()]
    check(colour.adjust_hue(images, shift), by_pixel(images, lambda n, pixel: turned(pixel, steps[n])))


def test_solarize():
    images = pixels()
    for threshold in (0, 128, 256):
        expected = by_pixel(images, lambda _, pixel, t=threshold: [v if v < t else 255 - v for v in pixel])
        np.testing.assert_array_equal(colour.solarize(images, threshold).numpy(), expected)


def test_images_are_left_alone_and_levels_stay_whole():
    images = pixels()
    before = images.clone()
    for change in (colour.adjust_brightness, colour.adjust_contrast, colour.adjust_saturation, colour.adjust_hue):
        found = change(images, torch.tensor([0.37, 0.41]))
        assert torch.equal(found, found.round().clamp(0, 255))
    colour.to_grey(images), colour.solarize(images)
    assert torch.equal(images, before)
