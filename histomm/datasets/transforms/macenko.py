"""The two stains of an image and how much of each, by Macenko et al. (ISBI 2009).

Symbols: n pixels, V (3, 2) the optical density of R, G and B in one unit of haematoxylin and of eosin, unit columns.
"""

from typing import NamedTuple

import cv2
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

_SHADES = -np.log((np.arange(256) + 1) / UNSTAINED).astype(np.float32)
"""Optical density of a grey level, against light of level 240; one is added since black has no logarithm."""

_PALEST = int((_SHADES >= DENSITY).sum()) - 1
"""The palest level of a channel that counts as stained."""


def find_stains(image: np.ndarray) -> Stains | None:
    """The two stains of an image, or None where it shows too little of them to tell.

    The densities of stained pixels are laid into the plane of their two largest principal components; the stains are
    the directions at the first and the 99th percentile of the angle.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    densities = _SHADES[image.reshape(-1, 3)]
    stained = densities[image.max(axis=2).ravel() <= _PALEST]
    if len(stained) < _FEWEST:
        return None
    plane = np.linalg.eigh(np.cov(stained.T, dtype=np.float64))[1][:, 1:]
    plane = plane * np.where(stained.mean(axis=0) @ plane < 0, -1, 1)  # directions, not their opposites
    x, y = plane.T.astype(np.float32) @ stained.T
    angles = np.percentile(np.arctan2(y, x), [_PERCENT, 100 - _PERCENT])
    ends = (plane @ np.array([np.cos(angles), np.sin(angles)])).T
    matrix = np.stack(sorted(ends, key=lambda end: -end[0]), axis=1)  # haematoxylin absorbs more red than eosin
    if np.linalg.cond(matrix) > 1e4:
        return None
    amounts = np.linalg.pinv(matrix).astype(np.float32) @ densities.T
    strongest = np.percentile(amounts, _STRONGEST, axis=1)
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
    # amounts of the two stains that come closest to a pixel's density, scaled, as density of the target's stains
    change = target.matrix @ np.diag(target.strongest / own.strongest) @ np.linalg.pinv(own.matrix)
    levels = UNSTAINED * cv2.exp(cv2.transform(_SHADES[image], -change))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
