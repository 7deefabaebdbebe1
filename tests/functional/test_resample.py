"""Batched resizing and blur beside Pillow's weights and a naive loop."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from histomm.functional.resample import blur_reach, blur_taps, crop_resize, flips_of_turns, gaussian_blur, resize_matrix

SIZES = [(1, 1), (1, 9), (9, 1), (7, 7), (10, 23), (23, 10), (40, 6), (24, 25)]


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(('length', 'size'), SIZES)
def test_weights_are_pillows(length, size, interpolation):
    """The columns of an image of zeros and ones, resized by Pillow in floats, are the weights."""
    ones = Image.fromarray(np.eye(length, dtype=np.float32), 'F')
    expected = np.asarray(ones.resize((length, size), Image.Resampling[interpolation.upper()]))
    flips = torch.tensor([False, True])
    starts, lengths = torch.tensor([3, 3]), torch.tensor([length, length])
    found = resize_matrix(starts, lengths, flips, length + 5, size, interpolation).numpy()
    assert not found[:, :, :3].any()
    assert not found[:, :, 3 + length :].any()
    np.testing.assert_allclose(found[0, :, 3 : 3 + length], expected, atol=1e-5)
    np.testing.assert_array_equal(found[1], found[0, ::-1])


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_crops_are_those_of_each_image_alone(interpolation):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 40, 50)).astype(np.float32)
    rectangles = np.array([[0, 0, 40, 50], [3, 5, 20, 30], [39, 49, 1, 1], [10, 0, 30, 12], [2, 2, 24, 16]])
    hflip, vflip = torch.tensor([0, 1, 0, 1, 0]).bool(), torch.tensor([0, 0, 1, 1, 0]).bool()
    found = crop_resize(torch.from_numpy(images), torch.from_numpy(rectangles), hflip, vflip, (24, 16), interpolation)
    for number, (top, left, height, width) in enumerate(rectangles):
        for channel in range(3):
            cut = Image.fromarray(images[number, channel, top : top + height, left : left + width], 'F')
            mode = Image.Resampling[interpolation.upper()]
            columns = np.asarray(cut.resize((16, int(height)), mode))
            if interpolation == 'bicubic':
                columns = np.clip(np.floor(columns + 0.5), 0, 255)
            expected = np.asarray(Image.fromarray(columns, 'F').resize((16, 24), mode)).clip(0, 255)
            expected = expected[:: -1 if vflip[number] else 1, :: -1 if hflip[number] else 1]
            # a whole number: on either side where the float lies halfway
            assert np.abs(found[number, channel].numpy() - expected).max() <= 0.5 + 1e-3
    assert torch.equal(found, found.round())


def test_a_crop_of_the_size_of_the_view_is_copied():
    images = torch.randint(0, 256, (2, 3, 9, 11)).float()
    rectangle, never = torch.tensor([[1, 2, 5, 6]] * 2), torch.zeros(2, dtype=torch.bool)
    for interpolation in ('bilinear', 'bicubic'):
        assert torch.equal(crop_resize(images, rectangle, never, never, (5, 6), interpolation), images[..., 1:6, 2:8])


@pytest.mark.parametrize(('hflip', 'vflip', 'turns'), itertools.product((0, 1), (0, 1), range(5)))
def test_turns_are_flips_and_a_transpose(hflip, vflip, turns):
    image = torch.arange(16.0).view(4, 4)
    expected = torch.rot90(image.flip([axis for axis, flip in ((1, hflip), (0, vflip)) if flip]), turns)
    flags = torch.tensor([hflip]).bool(), torch.tensor([vflip]).bool(), torch.tensor([turns])
    left_right, top_bottom, transpose = (bool(flag) for flag in flips_of_turns(*flags))
    found = image.flip([axis for axis, flip in ((1, left_right), (0, top_bottom)) if flip])
    assert torch.equal(found.T if transpose else found, expected)


def naive_taps(sigma):
    """The whole taps that keep within a third of the variance, and the share of two more that reaches it."""
    whole = 0
    while sum(place**2 for place in range(-whole - 1, whole + 2)) / (2 * whole + 3) <= sigma**2 / 3:
        whole += 1
    low, high = 0.0, 1.0
    for _ in range(60):
        end = (low + high) / 2
        taps = [end] + [1] * (2 * whole + 1) + [end]
        spread = sum(tap * (place - whole - 1) ** 2 for place, tap in enumerate(taps)) / sum(taps)
        low, high = (end, high) if spread < sigma**2 / 3 else (low, end)
    return [tap / sum(taps) for tap in taps]


# Not 2, whose taps are tenths and thirds: many sums then lie halfway between two levels.
SIGMAS = (0.1, 0.5, 1.01, 1.4142136, 1.9, 5.3)


def test_taps_have_a_third_of_the_variance():
    reach = blur_reach(max(SIGMAS))
    found = blur_taps(torch.tensor(SIGMAS), reach).numpy()
    for row, sigma in zip(found, SIGMAS, strict=True):
        expected = naive_taps(sigma)
        assert blur_reach(sigma) == len(expected) // 2
        around = [0.0] * (reach - len(expected) // 2)
        np.testing.assert_allclose(row, around + expected + around, atol=1e-6)


def naive_blur(plane, sigma):
    """Tap by tap along rows three times, the border repeated and levels rounded, and the same along columns."""
    taps = naive_taps(sigma)
    reach = len(taps) // 2
    for _ in range(2):
        for _ in range(3):
            padded = np.pad(plane, ((0, 0), (reach, reach)), mode='edge')
            width = plane.shape[1]
            plane = sum(tap * padded[:, place : place + width] for place, tap in enumerate(taps))
            plane = np.floor(plane + 0.5)
        plane = plane.T
    return plane


def test_blur_is_three_boxes_along_each_axis():
    images = torch.randint(0, 256, (len(SIGMAS), 3, 8, 13)).float()
    before = images.clone()
    blurred = gaussian_blur(images, torch.tensor(SIGMAS), blur_reach(max(SIGMAS)))
    for image, found, sigma in zip(images.double().numpy(), blurred.numpy(), SIGMAS, strict=True):
        expected = np.array([naive_blur(plane, sigma) for plane in image])
        assert np.abs(found - expected).max() <= 1  # where float32 and float64 round apart
        assert (found != expected).mean() < 0.02
    assert torch.equal(images, before)


def test_blur_leaves_flat_images_alone():
    flat = torch.full((1, 3, 6, 6), 97.0)
    assert torch.equal(gaussian_blur(flat, torch.tensor([2.0]), 2), flat)


def test_autocast_leaves_the_precision_of_crops():
    """Under bfloat16 the grey level 201 would be 200 or 202."""
    images = torch.full((2, 3, 20, 20), 201.0)
    whole, off = torch.tensor([[0, 0, 20, 20]]).expand(2, 4), torch.zeros(2, dtype=torch.bool)
    with torch.autocast('cpu', torch.bfloat16):
        found = crop_resize(images, whole, off, off, (8, 8))
    assert torch.equal(found, torch.full((2, 3, 8, 8), 201.0))
