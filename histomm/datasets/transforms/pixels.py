"""Colour and blur of uint8 images, equal to torchvision's on Pillow images within two grey levels.

The functions take and return RGB (H, W, 3) uint8 and leave their input alone. Pillow truncates where OpenCV rounds;
``_TRUNCATE`` moves a rounded value down to the truncated one.
"""

import math
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

_TRUNCATE = -0.499
_SAME, _ADDED = np.eye(3, 4), np.eye(4)[[3, 3, 3]]  # of maps (3, 4) of (R, G, B, 1)
_LUMA = np.tile([0.299, 0.587, 0.114, 0.0], (3, 1))
_NOTHING = np.ones(1, np.float32)  # a filter along rows
_STRIP = 32768  # pixels; their planes of floats stay in the cache of a core


def _grey(image: np.ndarray) -> np.ndarray:
    """Luma (H, W) uint8, 0.299 R + 0.587 G + 0.114 B."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Luma in all three channels."""
    return cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB)


def _mixed(image: np.ndarray, same: float, grey: float, offset: float) -> np.ndarray:
    """``same`` · image + ``grey`` · luma + ``offset``, truncated to 8 bits as Pillow does, in one pass."""
    return cv2.transform(image, same * _SAME + grey * _LUMA + (offset + _TRUNCATE) * _ADDED)


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """factor · image."""
    return _mixed(image, factor, 0, 0)


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """factor · image + (1 − factor) · m, where m is the mean luma of the image, rounded."""
    mean = int(cv2.mean(_grey(image))[0] + 0.5)
    return _mixed(image, factor, 0, (1 - factor) * mean)


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """factor · image + (1 − factor) · luma."""
    return _mixed(image, factor, 1 - factor, 0)


def _pillow_hues() -> np.ndarray:
    """What Pillow makes of the 256 hues that are exact multiples of 1/255: (256,) uint8, some one less than expected.

    Pillow truncates 255 · hue, which it has rounded to float32 before. A hue of exactly n/255 = (2n/85)/6 is that of a
    pixel whose channels lie 85 apart and whose middle one lies 2n mod 85 from a neighbour; so Pillow is asked itself.
    """
    n = np.arange(256)
    sector, rise = (2 * n) // 85 % 6, (2 * n) % 85
    high, low, up, down = np.full(256, 85), np.zeros(256, int), rise, 85 - rise
    red = np.choose(sector, [high, down, low, low, up, high])
    green = np.choose(sector, [up, high, high, down, low, low])
    blue = np.choose(sector, [low, low, up, high, high, down])
    pixels = np.stack([red, green, blue], axis=-1).astype(np.uint8)[None]
    hues = np.asarray(Image.fromarray(pixels).convert('HSV'))[0, :, 0].copy()
    hues[255] = 255  # a hue of 1 is one of 0: never asked for
    return hues


_EXACT_HUES = _pillow_hues()
_LEVELS = np.arange(256)


def adjust_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the hue by ``shift`` of the circle, with Pillow's 8-bit HSV in between.

    Hue and saturation are truncated to 255 steps there, which costs up to several grey levels and so has to be followed
    to agree with it; the conversions themselves are OpenCV's, in float. Large images are done strip by strip.

    Args:
        image: (H, W, 3) uint8.
        shift: In [-0.5, 0.5].
    """
    height, width = image.shape[:2]
    if height * width <= 2 * _STRIP:
        return _turn_hue(image, shift)
    turned, rows = np.empty_like(image), max(_STRIP // width, 1)
    for top in range(0, height, rows):
        turned[top : top + rows] = _turn_hue(image[top : top + rows], shift)
    return turned


@lru_cache(511)
def _turned_hues(steps: int) -> np.ndarray:
    """Degrees of the 256 hues after a turn by ``steps`` of 255."""
    return ((_LEVELS + steps) % 256 * (360 / 255)).astype(np.float32)


def _turn_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """:func:`adjust_hue` of an image that fits the cache."""
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hue = cv2.extractChannel(hsv, 0)
    # Hues that are not exact steps are at least 1/510 away from one: the two truncations differ for exact ones only.
    above = cv2.convertScaleAbs(hue, alpha=255 / 360, beta=_TRUNCATE)
    cv2.max(hue, 0.003, hue)
    below = cv2.convertScaleAbs(hue, alpha=255 / 360, beta=-0.501)
    steps = cv2.max(below, cv2.LUT(above, _EXACT_HUES))
    cv2.insertChannel(cv2.LUT(steps, _turned_hues(int(shift * 255))), hsv, 0)
    saturation = cv2.convertScaleAbs(cv2.extractChannel(hsv, 1), alpha=255, beta=_TRUNCATE)
    cv2.insertChannel(np.multiply(saturation, np.float32(1 / 255), dtype=np.float32), hsv, 1)
    return cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Pillow's ``GaussianBlur(radius=sigma)``: three extended box filters along rows, then three along columns.

    Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (2011): each box has
    2l + 1 whole taps and two of weight a at the ends, such that its variance is sigma²/3. Values are rounded to 8 bits
    after each pass and the border pixel is repeated before each, as Pillow does.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation in pixels, above 0.
    """
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    kernel = np.ones(2 * whole + 3, np.float32)
    kernel[[0, -1]] = end
    kernel /= kernel.sum()
    for _ in range(3):
        image = cv2.filter2D(image, -1, kernel[None], borderType=cv2.BORDER_REPLICATE)
    for _ in range(3):  # the faster of two ways to the same; along rows that is filter2D
        image = cv2.sepFilter2D(image, -1, _NOTHING, kernel, borderType=cv2.BORDER_REPLICATE)
    return image


def solarize(image: np.ndarray, threshold: int = 128) -> np.ndarray:
    """Invert the values from ``threshold`` on, channel by channel, as Pillow's ``ImageOps.solarize`` does.

    Args:
        image: (H, W, 3) uint8.
        threshold: Values below it are kept; in [0, 256].
    """
    inverted = np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS)
    return cv2.LUT(image, inverted.astype(np.uint8))
