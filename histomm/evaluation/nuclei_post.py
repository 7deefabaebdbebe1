"""From confidences of pixels to clean masks and single nuclei, and the Dice coefficient of masks."""

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

RADII = (3, 1)
"""Of the disks that masks are cleaned with (Boserup & Selvan 2023): each opens, then closes."""


def dice(pred: np.ndarray, truth: np.ndarray) -> float:
    """2·TP / (2·TP + FP + FN) of two masks of one image; 1 if both are empty.

    Args:
        pred: (H, W), anything but 0 is foreground.
        truth: (H, W), likewise.

    Raises:
        ValueError: The shapes differ.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'the prediction has shape {pred.shape}, the truth {truth.shape}; expected the same')
    pred, truth = pred.astype(bool), truth.astype(bool)
    total = np.count_nonzero(pred) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(pred & truth) / total if total else 1.0


def disk(radius: int) -> np.ndarray:
    """(2·radius + 1, 2·radius + 1) uint8: 1 where x² + y² <= radius²."""
    if radius < 1:
        raise ValueError(f'the radius of a disk is {radius}, expected at least 1 pixel')
    steps = np.arange(-radius, radius + 1)
    return (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.uint8)


def clean_mask(mask: np.ndarray, radii: Sequence[int] = RADII) -> np.ndarray:
    """Open and close a mask with the disk of each radius in turn.

    What lies beyond the border counts as background, also when a closing erodes. So what touches the border loses a rim
    there, as in the authors' code.

    Args:
        mask: (H, W), anything but 0 is foreground.
        radii: Of the disks in pixels, (3, 1) by Boserup & Selvan 2023, (2, 1) by Sahasrabudhe et al. 2020; none
            leaves the mask as it is.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: A radius is below 1, or the mask has another number of dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f'the mask has shape {mask.shape}, expected (H, W)')
    cleaned = np.ascontiguousarray(mask.astype(bool), dtype=np.uint8)
    for radius in radii:
        for operation in (cv2.MORPH_ERODE, cv2.MORPH_DILATE, cv2.MORPH_DILATE, cv2.MORPH_ERODE):
            cleaned = cv2.morphologyEx(cleaned, operation, disk(radius), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cleaned.astype(bool)


def split_nuclei(mask: np.ndarray, depth: float = 1.0) -> np.ndarray:
    """Single nuclei of a mask, by a watershed of the distance to the background.

    Seeds are those maxima of the distance that rise by at least ``depth`` above the saddle to a higher one. Each pixel
    of the mask gets a nucleus and each connected piece at least one, however small; pixels that touch by a corner are
    connected. What lies beyond the border counts as background.

    Args:
        mask: (H, W), anything but 0 is foreground.
        depth: In pixels; less of it parts more.

    Returns:
        (H, W) int32, 0 outside of the mask and 1, 2, ... for the nuclei.

    Raises:
        ValueError: ``depth`` is not above 0, or the mask has another number of dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f'the mask has shape {mask.shape}, expected (H, W)')
    if not depth > 0:
        raise ValueError(f'depth is {depth}, expected more than 0 pixels')
    if not np.any(mask):
        return np.zeros(mask.shape, np.int32)
    mask = np.pad(mask.astype(bool), 1)
    relief = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Its last digits depend on the place in the image; squares are whole numbers.
    relief = np.sqrt(np.round(relief.astype(np.float64) ** 2)).astype(np.float32)
    # The floor is above what is outside, so that pieces lower than the depth have a maximum as well.
    floor = np.where(mask, np.maximum(relief - depth, relief[mask].min() / 2), 0)
    seeds = label(local_maxima(reconstruction(floor, relief)))
    return _flood(relief, seeds.astype(np.int32), mask)[1:-1, 1:-1]


def _flood(relief: np.ndarray, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give each pixel of a mask a seed, connected piece by connected piece.

    Where two nuclei are equally near, the order of all seeds of an image decides in ``watershed``. By pieces, what lies
    elsewhere has no say, and a piece is split alike in an image and in a part of it.
    """
    _, pieces, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    of_piece = np.unique(np.stack((pieces[seeds > 0], seeds[seeds > 0])), axis=1)
    found, first, count = np.unique(of_piece[0], return_index=True, return_counts=True)
    seed_of = np.zeros(len(boxes), np.int32)
    seed_of[found] = of_piece[1, first]
    nuclei = seed_of[pieces]
    for piece in found[count > 1]:
        x, y, width, height = boxes[piece, :4]
        part = slice(y, y + height), slice(x, x + width)
        own = pieces[part] == piece
        nuclei[part][own] = watershed(-relief[part], np.where(own, seeds[part], 0), mask=own, connectivity=2)[own]
    return nuclei
