"""Batched resizing and blur beside Pillow's weights and a naive loop."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from histomm.functional.resample import blur_matrix, crop_resize, flips_of_turns, gaussian_blur, resize_matrix

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


def naive_box_blur(values, sigma):
    """Three extended boxes over a row, tap by tap, with the border repeated."""
    for _ in range(3):
        variance = sigma**2 / 3
        whole = int((np.sqrt(12 * variance + 1) - 1) // 2)
        # the share of the end taps that gives the box its variance, by bisection
        low, high = 0.0, 1.0
        for _ in range(60):
            end = (low + high) / 2
            taps = [end] + [1] * (2 * whole + 1) + [end]
            spread = sum(tap * (place - whole - 1) ** 2 for place, tap in enumerate(taps)) / sum(taps)
            low, high = (end, high) if spread < variance else (low, end)
        padded = [values[0]] * (whole + 1) + list(values) + [values[-1]] * (whole + 1)
        values = [
            sum(tap * padded[place + offset] for offset, tap in enumerate(taps)) / sum(taps)
            for place in range(len(values))
        ]
    return values


def test_blur_is_three_boxes():
    sigma = torch.tensor([0.1, 0.5, 1.0, 1.4142136, 2.0, 5.3])
    matrix = blur_matrix(sigma, 12)
    for number, value in enumerate(sigma.tolist()):
        columns = [naive_box_blur(row, value) for row in np.eye(12)]
        np.testing.assert_allclose(matrix[number].numpy(), np.transpose(columns), atol=1e-5)


def test_blur_goes_along_both_axes_and_leaves_flat_images_alone():
    images = torch.randint(0, 256, (2, 3, 8, 13)).float()
    sigma = torch.tensor([0.7, 2.0])
    blurred = gaussian_blur(images, sigma)
    for image, found, value in zip(images.numpy(), blurred.numpy(), sigma.tolist(), strict=True):
        for plane, result in zip(image, found, strict=True):
            rows = np.array([naive_box_blur(row, value) for row in plane])
            expected = np.array([naive_box_blur(row, value) for row in rows.T]).T
            assert np.abs(result - expected).max() <= 0.5 + 1e-3
    flat = torch.full((1, 3, 6, 6), 97.0)
    assert torch.equal(gaussian_blur(flat, sigma[:1]), flat)
