"""What one image says about each channel of a confidence map: with labels the Dice, without them two hints.

Shapes: K channels, H×W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr
from skimage.color import rgb2hed

from .nuclei_post import RADII, clean_mask, dice, split_nuclei
from .overlap_scores import OverlapTerms, overlap_terms


class ChannelScores(NamedTuple):
    """Scores of each channel, of one image or means over images.

    Attributes:
        dice: (K,) of the mask after morphology, with labels; NaN without any.
        dice_raw: (K,) of the mask as it is, with labels; NaN without any.
        entropy: (K,) mean over pixels of −c·log₂c − (1 − c)·log₂(1 − c), in bits, 0 to 1, without labels.
        haematoxylin: (K,) correlation of the mask after morphology with the density of haematoxylin, −1 to 1,
            without labels.
    """

    dice: np.ndarray
    dice_raw: np.ndarray
    entropy: np.ndarray
    haematoxylin: np.ndarray


def channel_scores(
    confidence: np.ndarray,
    image: np.ndarray,
    truth: np.ndarray | None = None,
    threshold: float = 0.5,
    radii: Sequence[int] = RADII,
) -> ChannelScores:
    """Scores of the channels on one image.

    Args:
        confidence: (K, H, W) in [0, 1].
        image: (H, W, 3) uint8 RGB.
        truth: (H, W), anything but 0 is a nucleus; None where there are no labels.
        threshold: Pixels of more confidence are the mask.
        radii: Of the morphology, see :func:`~histomm.evaluation.nuclei_post.clean_mask`.

    Raises:
        ValueError: Shapes disagree, or the confidence holds NaN or leaves [0, 1].
    """
    if confidence.ndim != 3 or image.shape != (*confidence.shape[1:], 3):
        raise ValueError(
            f'the confidence has shape {confidence.shape}, the image {image.shape}; expected (K, H, W) and (H, W, 3)'
        )
    if not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError(f'the confidence lies in {confidence.min()} to {confidence.max()}, expected 0 to 1 and no NaN')
    density = haematoxylin_density(image)
    raw = confidence > threshold
    clean = [clean_mask(mask, radii) for mask in raw]
    missing = [float('nan')] * len(raw)
    return ChannelScores(
        dice=np.array(missing if truth is None else [dice(mask, truth) for mask in clean]),
        dice_raw=np.array(missing if truth is None else [dice(mask, truth) for mask in raw]),
        entropy=np.array([mean_entropy(channel) for channel in confidence]),
        haematoxylin=np.array([correlation(mask, density) for mask in clean]),
    )


def instance_terms(
    confidence: np.ndarray, instances: np.ndarray, threshold: float = 0.5, radii: Sequence[int] = RADII
) -> tuple[OverlapTerms, np.ndarray]:
    """Nuclei of one channel against those of the labels, for AJI and PQ.

    The mask after morphology is split by :func:`~histomm.evaluation.nuclei_post.split_nuclei`.

    Args:
        confidence: (H, W) of one channel.
        instances: (H, W) integers, 0 is background, a number for each nucleus.
        threshold: Pixels of more confidence are the mask.
        radii: Of the morphology.

    Returns:
        What the image adds to :func:`~histomm.evaluation.overlap_scores`, and the nuclei found, (H, W) int32.
    """
    found = split_nuclei(clean_mask(confidence > threshold, radii))
    return overlap_terms(instances, found), found


def haematoxylin_density(image: np.ndarray) -> np.ndarray:
    """(H, W) optical density of haematoxylin by the colour deconvolution of Ruifrok & Johnston 2001, at least 0.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    return rgb2hed(image)[..., 0]


def mean_entropy(confidence: np.ndarray) -> float:
    """Mean binary entropy in bits, 0 to 1, of confidences of any shape."""
    values = confidence.astype(np.float64)
    return float((entr(values) + entr(1 - values)).mean() / np.log(2))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of the pixels of two maps of one shape; 0 where one of them is constant."""
    first, second = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
