"""Nearest neighbours of slides, each the mean of its instances."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .classification import classification_scores


def slide_vectors(bags: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, D) float32 of the instances of each bag, and the classes (n,) int64.

    Args:
        bags: What :class:`~histomm.BagDataset` gives: ``inputs`` (L, D), and ``data_samples`` with ``gt_label``.
    """
    found = [bags[index] for index in range(len(bags))]
    vectors = np.stack([bag['inputs'].mean(0).numpy() for bag in found])
    return vectors, np.array([int(bag['data_samples'].gt_label) for bag in found], np.int64)


def bag_knn_scores(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], k: int = 5
) -> dict[str, float]:
    """Scores of scikit-learn's ``KNeighborsClassifier``: Euclidean distance, and each neighbour counts the same.

    Args:
        train: Vectors (n, D) and classes (n,), at least one of each class.
        test: Likewise.
        k: Neighbours, 1 to n.

    Returns:
        See :func:`~histomm.evaluation.classification.classification_scores`; AUC is that of the share of neighbours.

    Raises:
        ValueError: ``k`` is out of range.
    """
    from sklearn.neighbors import KNeighborsClassifier

    vectors, labels = train
    if not 1 <= k <= len(vectors):
        raise ValueError(f'k is {k}, expected 1 to the {len(vectors)} slides of the training part')
    model = KNeighborsClassifier(k).fit(vectors, labels)
    return classification_scores(test[1], model.predict_proba(test[0]))
