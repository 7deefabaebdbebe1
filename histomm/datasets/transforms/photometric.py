"""Colour jitter, grey, blur and solarisation with what is drawn for each image."""

import math

import numpy as np

from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.geometric import _check_probability
from histomm.datasets.transforms.pixels import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    solarize,
    to_grey,
)
from histomm.registry import TRANSFORMS


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
