"""The two stains of an image and how much of each, by Macenko et al. (ISBI 2009).

Symbols: n pixels, V (3, 2) the optical density of R, G and B in one unit of haematoxylin and of eosin, unit columns.
"""

from typing import NamedTuple

import numpy as np

from histomm.datasets.transforms.stain_spaces import DENSITY, UNSTAINED

_PERCENT = 1
_STRONGEST = 99
_FEWEST = 30


class Stains(NamedTuple):
    """What :func:`find_stains` finds."""

    matrix: np.ndarray
    """V (3, 2), haematoxylin first."""
    strongest: np.ndarray
    """(2,) amount of each stain that 99% of the pixels do not exceed."""


REFERENCE = Stains(np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]]), np.array([1.9705, 1.0308]))
"""Stains of the reference image of the authors' released code, which most implementations normalise to."""

_SHADES = -np.log((np.arange(256) + 1) / UNSTAINED)
"""Optical density of a grey level, against light of level 240; one is added since black has no logarithm."""


def find_stains(image: np.ndarray) -> Stains | None:
    """The two stains of an image, or None where it shows too little of them to tell.

    The densities of stained pixels are laid into the plane of their two largest principal components; the stains are
    the directions at the first and the 99th percentile of the angle.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    densities = _SHADES[image.reshape(-1, 3)]
    stained = densities[(densities >= DENSITY).all(axis=1)]
    if len(stained) < _FEWEST:
        return None
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    plane = plane * np.where(stained.mean(axis=0) @ plane < 0, -1, 1)  # directions, not their opposites
    in_plane = stained @ plane
    angles = np.percentile(np.arctan2(in_plane[:, 1], in_plane[:, 0]), [_PERCENT, 100 - _PERCENT])
    ends = (plane @ np.array([np.cos(angles), np.sin(angles)])).T
    matrix = np.stack(sorted(ends, key=lambda end: -end[0]), axis=1)  # haematoxylin absorbs more red than eosin
    if np.linalg.cond(matrix) > 1e4:
        return None
    strongest = np.percentile(_amounts(densities, matrix), _STRONGEST, axis=0)
    return Stains(matrix, strongest) if (strongest > 1e-3).all() else None


def normalise_stains(image: np.ndarray, target: Stains) -> np.ndarray | None:
    """The image as if it had the stains of ``target``, with the same strongest amounts; None if it has none to tell.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: Stains to give it.
    """
    own = find_stains(image)
    if own is None:
        return None
    amounts = _amounts(_SHADES[image.reshape(-1, 3)], own.matrix) * (target.strongest / own.strongest)
    levels = UNSTAINED * np.exp(-(amounts @ target.matrix.T))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(image.shape)


def _amounts(densities: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 2) amounts of both stains whose densities come closest to (n, 3) densities."""
    return densities @ np.linalg.pinv(matrix).T
