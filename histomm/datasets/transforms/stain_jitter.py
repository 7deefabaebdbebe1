"""Changing the stain of an image at random: in its stains, or towards that of other images."""

import numpy as np

from histomm.datasets.stain_statistics import read_statistics
from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.geometric import _check_probability
from histomm.datasets.transforms.stain_normalize import StainTransform
from histomm.datasets.transforms.stain_spaces import STAINS, density, from_density, match_statistics
from histomm.registry import TRANSFORMS

_LEAST_SPREAD = 0.25
"""Share of the mean standard deviation that a drawn one has at least: near 0 nothing could be seen, below all turns."""


def adjust_stains(image: np.ndarray, factors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Multiply the amounts of haematoxylin, eosin and DAB by ``factors`` (3,) and add ``shifts`` (3,).

    Amounts are those of the space ``hed`` of :mod:`~histomm.datasets.transforms.stain_spaces`. A factor of 1 and a
    shift of 0 change nothing.
    """
    stains = STAINS.astype(np.float64)
    matrix = np.linalg.inv(stains) @ np.diag(factors) @ stains
    return from_density(density(image) @ matrix.astype(np.float32) + (shifts @ stains).astype(np.float32))


@TRANSFORMS.register_module()
class HEDJitter(RandomTransform):
    """Multiply and shift the amount of each stain at random (Tellez et al., IEEE TMI 2018).

    Of each of haematoxylin, eosin and DAB the amount s becomes α·s + β, α ~ U(1 − factor, 1 + factor) and
    β ~ U(−shift, shift). Tellez et al. call 0.05 for both light and 0.2 strong; their amounts are in another unit, that
    of scikit-image, so that their shifts are not these. Background is shifted as well.

    **Required keys:** img

    **Modified keys:** img

    Args:
        factor: Largest change of the factor, in [0, 1).
        shift: Largest shift >= 0, in natural optical density.
        prob: Probability that the image is changed at all.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, factor: float = 0.05, shift: float = 0.05, prob: float = 1.0) -> None:
        if not 0 <= factor < 1 or shift < 0:
            raise ValueError(
                f'HEDJitter: factor is {factor} and shift {shift}, expected a factor in [0, 1) and a shift >= 0'
            )
        self.factor, self.shift = factor, shift
        self.prob = _check_probability('HEDJitter', 'prob', prob)

    def transform(self, results: dict) -> dict:
        """Maybe change the stains of ``results['img']``."""
        rng = self.generator(results)
        if rng.random() < self.prob:
            factors = rng.uniform(1 - self.factor, 1 + self.factor, 3)
            results['img'] = adjust_stains(results['img'], factors, rng.uniform(-self.shift, self.shift, 3))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(factor={self.factor}, shift={self.shift}, prob={self.prob})'


@TRANSFORMS.register_module()
class RandStainNA(StainTransform, RandomTransform):
    """Give the image the colour statistics of a made-up image like those of a data set (Shen et al., MICCAI 2022).

    The statistics of a data set say how the mean and standard deviation of each channel vary over its images. From
    normal distributions like these a mean and a standard deviation, the latter at least a quarter of its mean, are
    drawn for each channel, and the image is given them as by
    :class:`~histomm.datasets.transforms.ReinhardNormalize`. With statistics of several colour spaces one of them is
    drawn each time.

    **Required keys:** img

    **Modified keys:** img, unless it shows too little stained tissue

    Args:
        statistics: File of ``tools/analysis/stain_statistics.py``.
        spread: Factor on the standard deviations of the distributions, >= 0; 0 always gives the mean stain. The authors
            write it as 1 + std_hyper.
        prob: Probability that the image is changed at all.
        min_stained: Share of stained pixels below which an image stays as it is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else, or an argument is out of range.
    """

    def __init__(self, statistics: str, spread: float = 1.0, prob: float = 1.0, min_stained: float = 0.01) -> None:
        super().__init__(min_stained)
        if spread < 0:
            raise ValueError(f'RandStainNA: spread is {spread}, expected a number >= 0')
        self.statistics, self.spread = statistics, spread
        self.prob = _check_probability('RandStainNA', 'prob', prob)
        self.spaces = read_statistics(statistics)

    def transform(self, results: dict) -> dict:
        """Maybe change ``results['img']``."""
        if self.generator(results).random() < self.prob:
            return super().transform(results)
        return results

    def change(self, image: np.ndarray, results: dict) -> np.ndarray:
        """The image with drawn statistics."""
        rng = self.generator(results)
        space = list(self.spaces)[rng.integers(len(self.spaces))]
        found = self.spaces[space]
        mean = rng.normal(found.mean_of_means, self.spread * found.std_of_means)
        std = rng.normal(found.mean_of_stds, self.spread * found.std_of_stds)
        std = np.maximum(std, _LEAST_SPREAD * found.mean_of_stds)
        return match_statistics(image, mean, std, space)

    def __repr__(self) -> str:
        numbers = f'spread={self.spread}, prob={self.prob}, min_stained={self.min_stained}'
        return f'{type(self).__name__}(statistics={self.statistics!r}, {numbers})'
