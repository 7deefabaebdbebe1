"""Photometric transforms beside torchvision's functions on Pillow images."""

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import ColorJitter as TorchvisionJitter

from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    RandomGrayscale,
    RandomSolarize,
    pixels,
    view_generator,
)
from histomm.datasets.transforms.photometric import JITTERS

OPS = {
    'brightness': (pixels.adjust_brightness, TF.adjust_brightness, (0.0, 2.0)),
    'contrast': (pixels.adjust_contrast, TF.adjust_contrast, (0.0, 2.0)),
    'saturation': (pixels.adjust_saturation, TF.adjust_saturation, (0.0, 2.0)),
    'hue': (pixels.adjust_hue, TF.adjust_hue, (-0.5, 0.5)),
    'blur': (pixels.gaussian_blur, lambda pil, s: pil.filter(ImageFilter.GaussianBlur(s)), (0.1, 2.0)),
}


def difference(ours: np.ndarray, theirs: Image.Image) -> int:
    assert ours.dtype == np.uint8
    return int(np.abs(ours.astype(int) - np.asarray(theirs)).max())


@pytest.mark.parametrize('name', OPS)
def test_equals_torchvision_within_two_levels(name, tissues):
    ours, theirs, bounds = OPS[name]
    draws = np.random.default_rng(0).uniform(*bounds, 8).tolist() + list(bounds)
    for image in tissues:
        before = image.copy()
        for value in draws:
            assert difference(ours(image, value), theirs(Image.fromarray(image), value)) <= 2, value
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('factor', [0.0, 0.2, 0.93, 1.0, 1.37, 2.0])
def test_one_pass_equals_the_formulas_within_one_level(tissues, factor):
    for image in tissues:
        exact = image.astype(float)
        luma = np.round(exact @ [0.299, 0.587, 0.114])[..., None]
        plain = {
            'brightness': factor * exact,
            'contrast': factor * exact + (1 - factor) * int(luma.mean() + 0.5),
            'saturation': factor * exact + (1 - factor) * luma,
        }
        for name, value in plain.items():
            ours = OPS[name][0](image, factor)
            assert np.abs(ours - np.floor(np.clip(value, 0, 255))).max() <= 1, name


def test_hue_of_large_images_is_turned_strip_by_strip(tissue):
    image = np.tile(tissue, (2, 3, 1))[:431, :600]
    assert image.shape[0] * image.shape[1] > 2 * pixels._STRIP
    np.testing.assert_array_equal(pixels.adjust_hue(image, 0.13), pixels._turn_hue(image, 0.13))


@pytest.mark.parametrize('sigma', [0.1, 0.7, 1.3, 2.0])
def test_blur_equals_six_plain_passes_within_one_level(tissues, sigma):
    """Of the taps of Gwosdek et al., along rows and then along columns, each rounded to 8 bits."""
    variance = sigma**2 / 3
    whole = int((np.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    taps = np.array([[end, *[1.0] * (2 * whole + 1), end]], np.float32)
    taps /= taps.sum()
    for image in tissues:
        plain = image
        for kernel in (taps, taps, taps, taps.T, taps.T, taps.T):
            plain = cv2.filter2D(plain, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        difference = np.abs(pixels.gaussian_blur(image, sigma).astype(int) - plain)
        assert difference.max() <= 1
        assert difference.mean() < 0.05


def test_grey_equals_torchvision(tissues):
    for image in tissues:
        assert difference(pixels.to_grey(image), TF.rgb_to_grayscale(Image.fromarray(image), 3)) <= 1


@pytest.mark.parametrize('threshold', [0, 1, 128, 255, 256])
def test_solarisation_is_that_of_pillow(threshold):
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None] * np.ones(3, np.uint8)
    image[..., 1] = image[::-1, :, 1]
    before = image.copy()
    expected = ImageOps.solarize(Image.fromarray(image), threshold)
    np.testing.assert_array_equal(pixels.solarize(image, threshold), np.asarray(expected))
    np.testing.assert_array_equal(image, before)


def test_hue_of_all_pure_hues_follows_pillow():
    # Every pixel whose channels are among these has a hue that is a whole number of 1/255 steps.
    levels = np.arange(86)
    hues = np.array([[a, b, c] for a in (0, 85) for b in levels for c in (0, 85)], np.uint8)
    image = np.concatenate([hues, hues[:, [1, 0, 2]], hues[:, [0, 2, 1]]])[None] * np.uint8(3)
    for shift in (0.0, 0.1, -0.3):
        assert difference(pixels.adjust_hue(image, shift), TF.adjust_hue(Image.fromarray(image), shift)) <= 1


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 3)])
def test_tiny_images(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for name, (ours, theirs, bounds) in OPS.items():
        assert difference(ours(image, bounds[1]), theirs(Image.fromarray(image), bounds[1])) <= 2, name


def test_constant_image_stays_constant():
    image = np.full((16, 16, 3), (180, 90, 160), np.uint8)
    np.testing.assert_array_equal(pixels.gaussian_blur(image, 1.7), image)


def jitter_record(jitter, draws):
    """Order and factors of the adjustments that ``jitter`` makes."""
    drawn = (jitter.draw(view_generator(dict(sample_idx=SampleIndex(index, 0, 0)))) for index in range(draws))
    return [[(JITTERS[step].__name__, factor) for step, factor in steps] for steps in drawn]


def test_jitter_has_the_parameter_law_of_torchvision():
    calls = jitter_record(ColorJitter(0.4, 0.3, 0.2, 0.1, prob=0.8), 4000)
    applied = [call for call in calls if call]
    assert len(applied) / len(calls) == pytest.approx(0.8, abs=0.03)
    reference = [TorchvisionJitter.get_params((0.6, 1.4), (0.7, 1.3), (0.8, 1.2), (-0.1, 0.1)) for _ in range(3000)]
    for position, name in enumerate(('brightness', 'contrast', 'saturation', 'hue')):
        values = torch.tensor([dict(call)[f'adjust_{name}'] for call in applied])
        expected = torch.tensor([draw[position + 1] for draw in reference])
        width = expected.max() - expected.min()
        assert (values.mean() - expected.mean()).abs() < 0.03 * width
        assert (values.std() - expected.std()).abs() < 0.03 * width
        assert values.min() >= expected.min() - 0.01
        assert values.max() <= expected.max() + 0.01
    orders = [tuple(name for name, _ in call) for call in applied]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 24
    np.testing.assert_allclose(counts / len(orders), 1 / 24, atol=0.015)


def test_jitter_leaves_out_what_is_zero():
    assert jitter_record(ColorJitter(0, 0, 0, 0, prob=1.0), 1) == [[]]
    calls = jitter_record(ColorJitter(0.4, 0, 0, 0, prob=1.0), 3)
    assert all([name for name, _ in call] == ['adjust_brightness'] for call in calls)


@pytest.mark.parametrize(
    ('transform', 'share'),
    [
        (RandomGrayscale(0.2), 0.2),
        (GaussianBlur((1, 2), 0.5), 0.5),
        (RandomSolarize(prob=0.3), 0.3),
        (RandomGrayscale(0), 0),
    ],
)
def test_probability(transform, share):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    changed = [
        not np.array_equal(transform(dict(img=image, sample_idx=SampleIndex(i, 0, 0)))['img'], image)
        for i in range(2000)
    ]
    assert np.mean(changed) == pytest.approx(share, abs=0.035)


@pytest.mark.parametrize(
    ('build', 'word'),
    [
        (lambda: ColorJitter(hue=0.6), 'hue'),
        (lambda: ColorJitter(brightness=(1.2, 0.8)), 'brightness'),
        (lambda: ColorJitter(prob=1.1), 'prob'),
        (lambda: GaussianBlur(sigma=(0, 1)), 'sigma'),
        (lambda: RandomGrayscale(prob=-1), 'prob'),
        (lambda: RandomSolarize(threshold=300), 'threshold'),
        (lambda: RandomSolarize(prob=2), 'prob'),
    ],
)
def test_bad_arguments_name_the_field(build, word):
    with pytest.raises(ValueError, match=word):
        build()
