"""The simplest segmentation of nuclei: everything darker than one threshold, which is fitted on training images."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0, 1, 100)
"""Candidates of Boserup & Selvan, NLDL 2023."""

_LUMA = np.array([0.299, 0.587, 0.114])  # of R, G and B, Recommendation ITU-R BT.601


class FittedThreshold(NamedTuple):
    """The best of the candidates.

    Attributes:
        threshold: Pixels darker than it are nuclei; the lowest among equals.
        train_dice: Mean Dice of the images it was fitted on.
        curve: (T,) mean Dice of each candidate.
    """

    threshold: float
    train_dice: float
    curve: np.ndarray


def luminance(image: np.ndarray, rescale: float = 0.05) -> np.ndarray:
    """Grey levels (1 − ε)·L/255 + ε with L = 0.299·R + 0.587·G + 0.114·B, not rounded.

    Args:
        image: (H, W, 3) uint8 RGB.
        rescale: ε, as the models have it.

    Returns:
        (H, W) float64 in [ε, 1].

    Raises:
        ValueError: Another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'the image has shape {image.shape} and type {image.dtype}, expected (H, W, 3) of uint8')
    return (1 - rescale) * (image @ _LUMA) / 255 + rescale


def dice_by_threshold(grey: np.ndarray, truth: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Dice of the masks ``grey < t``, of all thresholds at once; 1 where mask and truth are empty.

    Args:
        grey: (H, W) grey levels.
        truth: (H, W), anything but 0 is foreground.
        thresholds: (T,) in rising order.

    Returns:
        (T,) in [0, 1].

    Raises:
        ValueError: The shapes differ.
    """
    if grey.shape != truth.shape:
        raise ValueError(f'the image has shape {grey.shape}, the truth {truth.shape}; expected the same')
    first = np.searchsorted(thresholds, grey.ravel(), side='right')  # the first threshold that is above the pixel
    inside = truth.ravel() != 0
    below = np.bincount(first, minlength=len(thresholds) + 1)[:-1].cumsum()
    hits = np.bincount(first[inside], minlength=len(thresholds) + 1)[:-1].cumsum()
    total = below + np.count_nonzero(inside)
    return np.divide(2 * hits, total, out=np.ones(len(thresholds)), where=total > 0)


def fit_threshold(
    images: Iterable[tuple[np.ndarray, np.ndarray]], thresholds: np.ndarray = THRESHOLDS
) -> FittedThreshold:
    """The threshold with the highest mean Dice over training images, without morphology.

    Args:
        images: Grey levels (H, W) and truth (H, W) of each.
        thresholds: (T,) in rising order.

    Raises:
        ValueError: There is no image, or the shapes of one differ.
    """
    curves = [dice_by_threshold(grey, truth, thresholds) for grey, truth in images]
    if not curves:
        raise ValueError('found no image to fit a threshold on, expected one at least')
    curve = np.mean(curves, axis=0)
    best = int(np.argmax(curve))
    return FittedThreshold(float(thresholds[best]), float(curve[best]), curve)
