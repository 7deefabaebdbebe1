"""Which images are most alike by their features."""

import numpy as np
import torch
from torch.nn.functional import normalize


def retrieve(
    features: np.ndarray, queries: np.ndarray, k: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of highest cosine similarity to each query row, the most similar first.

    Args:
        features: (n, D).
        queries: (Q,) row numbers.
        k: Rows for each query.
        groups: (n,) names; rows of the query's own group are left out, such as other patches of its patient. Without
            groups the query itself is.

    Returns:
        Row numbers (Q, k) and similarities (Q, k); where fewer rows are left, −1 and NaN.

    Raises:
        ValueError: ``k`` is less than 1, or a query is no row.
    """
    if k < 1 or (len(queries) and not (queries.min() >= 0 and queries.max() < len(features))):
        raise ValueError(f'k is {k} and queries are {queries}, expected 1 or more, and rows below {len(features)}')
    unit = normalize(torch.from_numpy(np.ascontiguousarray(features, np.float32)), dim=1)
    own = np.arange(len(features)) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    rows, found = np.full((len(queries), k), -1), np.full((len(queries), k), np.nan, np.float32)
    for number, query in enumerate(queries):
        others = np.flatnonzero(own != own[query])
        similarity = (unit[torch.from_numpy(others)] @ unit[query]).numpy()
        order = np.argsort(-similarity, kind='stable')[:k]
        rows[number, : len(order)], found[number, : len(order)] = others[order], similarity[order]
    return rows, found


def precision_at(labels: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> float:
    """Share of the retrieved rows that have the class of their query; NaN if nothing was retrieved."""
    there = rows >= 0
    right = (labels[np.where(there, rows, 0)] == labels[queries][:, None]) & there
    return float(right.sum() / there.sum()) if there.any() else float('nan')
