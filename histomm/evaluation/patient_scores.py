"""Accuracy by image and by patient, and the vote of an image's patches."""

from collections.abc import Sequence

import numpy as np


def image_level_accuracy(correct: np.ndarray) -> float:
    """Share of images that are right, from 0 to 1; NaN without images.

    Args:
        correct: (n,) bool.
    """
    correct = np.asarray(correct, bool)
    return float(correct.mean()) if len(correct) else float('nan')


def patient_level_accuracy(correct: np.ndarray, patients: Sequence[str]) -> float:
    """Mean over patients of the share of their images that are right, from 0 to 1; NaN without images.

    Spanhol et al., "A dataset for breast cancer histopathological image classification" (2016): each patient counts the
    same, whatever the number of images.

    Args:
        correct: (n,) bool.
        patients: (n,) names.

    Raises:
        ValueError: lengths differ.
    """
    correct = np.asarray(correct, bool)
    if len(correct) != len(patients):
        raise ValueError(f'{len(correct)} images have {len(patients)} patients, expected one for each')
    if not len(correct):
        return float('nan')
    _, rows = np.unique(np.asarray(patients, str), return_inverse=True)
    return float((np.bincount(rows, correct) / np.bincount(rows)).mean())


def majority_vote(votes: np.ndarray) -> int:
    """Class that most patches of an image are taken for; of classes with as many votes the lowest. Every patch counts.

    Args:
        votes: (n,) classes, n ≥ 1.

    Raises:
        ValueError: no votes, or a class below 0.
    """
    votes = np.asarray(votes)
    if votes.ndim != 1 or not len(votes) or votes.min() < 0:
        raise ValueError(f'votes have shape {votes.shape}, expected (n,) classes from 0 on, n at least 1')
    return int(np.bincount(votes).argmax())
