"""Giving images the stain of a reference: Macenko and Reinhard."""

import logging
import os
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from histomm.datasets.transforms.loading import read_image
from histomm.datasets.transforms.macenko import REFERENCE, find_stains, normalise_stains
from histomm.datasets.transforms.stain_spaces import (
    SPACES,
    channel_statistics,
    match_statistics,
    stained_share,
    to_space,
)
from histomm.registry import TRANSFORMS

_WORKERS = 256


class UnchangedCount:
    """How many images a transform left as they are, counted over loader processes as well."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        # one number a process, in memory that loader processes share, so that none waits for or overwrites another
        self._counts = torch.zeros(_WORKERS, dtype=torch.int64).share_memory_()

    def add(self, results: dict) -> None:
        """Count an image; the first of a process is named in the log."""
        worker = get_worker_info()
        slot = 0 if worker is None else 1 + worker.id % (_WORKERS - 1)
        if not self._counts[slot]:
            path = results.get('img_path', 'an image')
            print_log(
                f'{self.owner}: {path} shows too little stained tissue and stays as it is, as will others like it; '
                'num_unchanged counts them',
                'current',
                logging.WARNING,
            )
        self._counts[slot] += 1

    def total(self) -> int:
        """Images counted so far."""
        return int(self._counts.sum())


class StainTransform(BaseTransform):
    """Base of transforms that leave images without stained tissue alone, and count them.

    Args:
        min_stained: Share of stained pixels, as :func:`~.stain_spaces.stained_share` counts them, below which an image
            stays as it is.

    Raises:
        ValueError: a share outside [0, 1].
    """

    def __init__(self, min_stained: float = 0.01) -> None:
        if not 0 <= min_stained <= 1:
            raise ValueError(f'{type(self).__name__}: min_stained is {min_stained}, expected a share in [0, 1]')
        self.min_stained = min_stained
        self._unchanged = UnchangedCount(type(self).__name__)

    @property
    def num_unchanged(self) -> int:
        """How many images were left as they are, in this process and its loader processes."""
        return self._unchanged.total()

    @abstractmethod
    def change(self, image: np.ndarray, results: dict) -> np.ndarray | None:
        """The changed image, or None if it cannot be changed; images are (H, W, 3) uint8."""

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``, or leave and count it."""
        image = results['img']
        changed = self.change(image, results) if stained_share(image) >= self.min_stained else None
        if changed is None:
            self._unchanged.add(results)
        else:
            results['img'] = changed
        return results


def _read_target(owner: str, target: str) -> np.ndarray:
    if not os.path.isfile(target):
        raise FileNotFoundError(f'{owner}: target {target} does not exist, expected an image to take the stain from')
    return read_image(target)


@TRANSFORMS.register_module()
class MacenkoNormalize(StainTransform):
    """Give the image the stain vectors and the strength of a reference (Macenko et al., ISBI 2009).

    **Required keys:** img

    **Modified keys:** img, unless it shows too little stained tissue

    Args:
        target: Image file to take the stain from; by default the reference of the authors' released code.
        min_stained: See :class:`StainTransform`.

    Raises:
        FileNotFoundError: no such target.
        ValueError: a bad share, or a target in which no stains can be told.
    """

    def __init__(self, target: str | None = None, min_stained: float = 0.01) -> None:
        super().__init__(min_stained)
        self.target = target
        self.stains = REFERENCE if target is None else find_stains(_read_target('MacenkoNormalize', target))
        if self.stains is None:
            raise ValueError(
                f'MacenkoNormalize: target {target} shows too little of two stains, expected stained tissue'
            )

    def change(self, image: np.ndarray, results: dict) -> np.ndarray | None:
        """See :func:`~.macenko.normalise_stains`."""
        return normalise_stains(image, self.stains)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(target={self.target!r}, min_stained={self.min_stained})'


@TRANSFORMS.register_module()
class ReinhardNormalize(StainTransform):
    """Give the image the channel means and standard deviations of a reference (Reinhard et al. 2001).

    **Required keys:** img

    **Modified keys:** img, unless it shows too little stained tissue

    Args:
        mean: Three means to give, in ``space``. Default, with ``std``: those that MPCS (Chhipa et al., WACV 2023)
            normalises BACH to.
        std: Three standard deviations to give.
        target: Image file to take both from, in their place.
        space: One of ``lalphabeta``, as in the paper, ``lab``, ``hsv``, ``hed``.
        min_stained: See :class:`StainTransform`.

    Raises:
        FileNotFoundError: no such target.
        ValueError: an unknown space, a bad share, other than three numbers, or a default mean in another space.
    """

    MEAN, STD = (8.741, -0.1244, 0.0445), (0.6135, 0.1099, 0.0286)

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        target: str | None = None,
        space: str = 'lalphabeta',
        min_stained: float = 0.01,
    ) -> None:
        super().__init__(min_stained)
        if space not in SPACES:
            raise ValueError(f'ReinhardNormalize: space is {space!r}, expected one of {", ".join(SPACES)}')
        if target is not None:
            if mean is not None or std is not None:
                raise ValueError(f'ReinhardNormalize: found target {target!r} and mean or std, expected one of both')
            mean, std = channel_statistics(to_space(_read_target('ReinhardNormalize', target), space))
        elif mean is None and std is None and space == 'lalphabeta':
            mean, std = self.MEAN, self.STD
        if mean is None or std is None or len(mean) != 3 or len(std) != 3 or min(std) < 0:
            raise ValueError(
                f'ReinhardNormalize: mean is {mean} and std {std} in {space}, expected three numbers each, std >= 0, '
                'or a target'
            )
        self.mean, self.std, self.space = np.asarray(mean, float), np.asarray(std, float), space

    def change(self, image: np.ndarray, results: dict) -> np.ndarray | None:
        """See :func:`~.stain_spaces.match_statistics`."""
        return match_statistics(image, self.mean, self.std, self.space)

    def __repr__(self) -> str:
        numbers = f'mean={self.mean.tolist()}, std={self.std.tolist()}'
        return f'{type(self).__name__}({numbers}, space={self.space!r}, min_stained={self.min_stained})'
