"""Scores of classification and regression from predictions, and which of them are defined when a class is missing.

A class that is in neither truth nor prediction has no F1, and does not count in averages; one that is predicted without
being there counts with 0. Recall and AUC are those of the classes in the truth; an AUC needs a sample of another class
besides.
"""

import numpy as np


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C) int64, rows true, columns predicted.

    Args:
        truth: (n,) integers in [0, C).
        predicted: Likewise.
        num_classes: C.

    Raises:
        ValueError: lengths differ, or a class is out of range.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f'truth has shape {truth.shape}, predictions {predicted.shape}, expected one (n,) for both')
    for name, values in (('truth', truth), ('predictions', predicted)):
        if len(values) and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f'{name} go from {values.min()} to {values.max()}, expected 0 to {num_classes - 1}')
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """(C,) 2·TP / (2·TP + FP + FN) of each class; NaN for a class in neither truth nor prediction."""
    right = np.diagonal(confusion)
    return _divide(2 * right, confusion.sum(axis=0) + confusion.sum(axis=1))


def confusion_scores(confusion: np.ndarray) -> dict[str, float]:
    """Scores from 0 to 1 of a confusion matrix; NaN without samples.

    Returns:
        ``macro_f1``: mean of the F1 of the classes; ``weighted_f1``: weighted by their number in the truth;
        ``accuracy``: share that is right; ``balanced_accuracy``: mean recall of the classes in the truth;
        ``macro_precision``: mean precision of the classes in truth or prediction, 0 for one that is never predicted.
    """
    right, support = np.diagonal(confusion), confusion.sum(axis=1)
    named = confusion.sum(axis=0)
    f1 = f1_per_class(confusion)
    return {
        'macro_f1': _mean(f1),
        'weighted_f1': float(_divide(np.nansum(f1 * support), support.sum())),
        'accuracy': float(_divide(right.sum(), support.sum())),
        'balanced_accuracy': _mean(_divide(right, support)),
        'macro_precision': _mean(_divide(right, np.maximum(named, 1))[(named > 0) | (support > 0)]),
    }


def binary_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        positive: (n,) bool.
        scores: (n,).

    Returns:
        A number in [0, 1]; NaN without positives or without negatives.
    """
    from scipy.stats import rankdata

    positive = np.asarray(positive, bool)
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return float('nan')
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - hits * (hits + 1) / 2) / (hits * misses))


def macro_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over classes of the AUC of a class against all others; for two classes that of class 1.

    Args:
        truth: (n,) classes.
        scores: (n, C), the higher the likelier.

    Returns:
        A number in [0, 1]; classes without samples, or without samples of others, do not count; NaN if none does.
    """
    truth, scores = np.asarray(truth), np.asarray(scores)
    if scores.ndim != 2 or len(scores) != len(truth):
        raise ValueError(f'scores have shape {scores.shape}, expected ({len(truth)}, C)')
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return _mean(np.array([binary_auc(truth == number, scores[:, number]) for number in classes]))


def classification_scores(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """:func:`confusion_scores` of the likeliest classes, and ``auc``, see :func:`macro_auc`.

    Args:
        truth: (n,) classes.
        scores: (n, C), the higher the likelier; of equal scores the lower class is predicted.
    """
    confusion = confusion_matrix(truth, np.asarray(scores).argmax(axis=1), np.shape(scores)[1])
    return {**confusion_scores(confusion), 'auc': macro_auc(truth, scores)}


def mean_absolute_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of \\|truth − predicted\\|, in the unit of the values; NaN without samples."""
    return _mean(np.abs(np.asarray(truth, np.float64) - np.asarray(predicted, np.float64)))


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float('nan')


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
