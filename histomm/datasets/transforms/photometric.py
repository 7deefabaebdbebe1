"""Colour jitter, grey, blur and solarisation on uint8, equal to torchvision's on Pillow images within two grey levels.

The functions take and return RGB (H, W, 3) uint8 and leave their input alone. Pillow truncates where OpenCV rounds;
``_TRUNCATE`` moves a rounded value down to the truncated one.
"""

import math
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.geometric import _check_probability
from histomm.registry import TRANSFORMS

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


def _bounds(name: str, value: float | tuple[float, float], center: float, low: float, high: float) -> tuple:
    """``value`` as (min, max) around ``center``, or as given; ValueError unless low <= min <= max <= high."""
    if isinstance(value, int | float):
        bounds = (max(center - value, low) if center else -value, center + value)
    else:
        bounds = tuple(value)
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        raise ValueError(f'ColorJitter: {name} is {value}, expected a number or (min, max) within [{low}, {high}]')
    return bounds


JITTERS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
"""Steps of :class:`ColorJitter`, which are told by their number."""

_NEUTRAL = ((1, 1), (1, 1), (1, 1), (0, 0))


@TRANSFORMS.register_module()
class ColorJitter(RandomTransform):
    """Jitter brightness, contrast, saturation and hue in random order, with the parameter law of torchvision.

    **Required keys:** img

    **Modified keys:** img

    Args:
        brightness: b for a factor U(max(0, 1 − b), 1 + b), or its bounds; 0 leaves brightness alone.
        contrast: Likewise.
        saturation: Likewise.
        hue: h in [0, 0.5] for a turn U(−h, h) of the circle, or its bounds.
        prob: Probability that the image is jittered at all.

    Raises:
        ValueError: a bound or probability out of range.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0.4,
        contrast: float | tuple[float, float] = 0.4,
        saturation: float | tuple[float, float] = 0.4,
        hue: float | tuple[float, float] = 0.1,
        prob: float = 0.8,
    ) -> None:
        self.brightness = _bounds('brightness', brightness, 1, 0, math.inf)
        self.contrast = _bounds('contrast', contrast, 1, 0, math.inf)
        self.saturation = _bounds('saturation', saturation, 1, 0, math.inf)
        self.hue = _bounds('hue', hue, 0, -0.5, 0.5)
        self.prob = _check_probability('ColorJitter', 'prob', prob)
        bounds = (self.brightness, self.contrast, self.saturation, self.hue)
        self.steps = tuple(step for step in range(len(JITTERS)) if bounds[step] != _NEUTRAL[step])
        self._drawn = [bounds[step] for step in self.steps]

    def draw(self, rng: np.random.Generator) -> list[tuple[int, float]]:
        """Numbers in :data:`JITTERS` of the steps to take, in order, with their factors; empty without jitter."""
        if rng.random() >= self.prob:
            return []
        factors = [rng.uniform(*bounds) for bounds in self._drawn]
        return [(self.steps[number], factors[number]) for number in rng.permutation(len(self.steps))]

    def transform(self, results: dict) -> dict:
        """Jitter ``results['img']``."""
        for step, factor in self.draw(self.generator(results)):
            results['img'] = JITTERS[step](results['img'], factor)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, '
            f'saturation={self.saturation}, hue={self.hue}, prob={self.prob})'
        )


@TRANSFORMS.register_module()
class RandomGrayscale(RandomTransform):
    """Replace the image by its luma, still in three channels.

    **Required keys:** img

    **Modified keys:** img

    Args:
        prob: Probability.

    Raises:
        ValueError: ``prob`` outside [0, 1].
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = _check_probability('RandomGrayscale', 'prob', prob)

    def draw(self, rng: np.random.Generator) -> bool:
        """Whether to turn the image grey."""
        return bool(rng.random() < self.prob)

    def transform(self, results: dict) -> dict:
        """Maybe turn ``results['img']`` grey."""
        if self.draw(self.generator(results)):
            results['img'] = to_grey(results['img'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class GaussianBlur(RandomTransform):
    """Blur with a random standard deviation; see :func:`gaussian_blur`.

    **Required keys:** img

    **Modified keys:** img

    Args:
        sigma: Bounds of the uniform standard deviation in pixels, 0 < min <= max.
        prob: Probability.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), prob: float = 0.5) -> None:
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f'GaussianBlur: sigma is {sigma}, expected (min, max) with 0 < min <= max')
        self.sigma = tuple(sigma)
        self.prob = _check_probability('GaussianBlur', 'prob', prob)

    def draw(self, rng: np.random.Generator) -> float:
        """Standard deviation in pixels, or 0 not to blur."""
        return rng.uniform(*self.sigma) if rng.random() < self.prob else 0.0

    def transform(self, results: dict) -> dict:
        """Maybe blur ``results['img']``."""
        sigma = self.draw(self.generator(results))
        if sigma:
            results['img'] = gaussian_blur(results['img'], sigma)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma={self.sigma}, prob={self.prob})'


@TRANSFORMS.register_module()
class RandomSolarize(RandomTransform):
    """Invert bright values; see :func:`solarize`.

    **Required keys:** img

    **Modified keys:** img

    Args:
        threshold: Grey level in [0, 256] from which on values are inverted.
        prob: Probability.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, threshold: int = 128, prob: float = 0.2) -> None:
        if not 0 <= threshold <= 256:
            raise ValueError(f'RandomSolarize: threshold is {threshold}, expected a grey level in [0, 256]')
        self.threshold = threshold
        self.prob = _check_probability('RandomSolarize', 'prob', prob)

    def draw(self, rng: np.random.Generator) -> bool:
        """Whether to invert the bright values."""
        return bool(rng.random() < self.prob)

    def transform(self, results: dict) -> dict:
        """Maybe invert the bright values of ``results['img']``."""
        if self.draw(self.generator(results)):
            results['img'] = solarize(results['img'], self.threshold)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(threshold={self.threshold}, prob={self.prob})'
