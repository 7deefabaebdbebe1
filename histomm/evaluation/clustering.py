"""Clusters of features by mini-batch k-means, and how many of them to take (Ciga et al. 2022)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_ROWS = 8192  # compared with all centres at a time


class Clusters(NamedTuple):
    """A partition of n rows."""

    centres: np.ndarray
    """(k, D) float32."""
    labels: np.ndarray
    """(n,) int64, the nearest centre of each row."""
    distances: np.ndarray
    """(n,) float64, squared distance to it."""


def kmeans(features: np.ndarray, k: int, seed: int = 0, batch_size: int = 4096, max_iter: int = 100) -> Clusters:
    """Mini-batch k-means (Sculley 2010), started by k-means++.

    Args:
        features: (n, D).
        k: Number of clusters, 1 to n.
        seed: Of start and batches.
        batch_size: Rows of a batch.
        max_iter: Passes over the rows at most; it stops before where the centres rest.

    Raises:
        ValueError: ``k`` is out of range.
    """
    from sklearn.cluster import MiniBatchKMeans

    if not 1 <= k <= len(features):
        raise ValueError(f'k is {k}, expected 1 to the {len(features)} rows of the features')
    model = MiniBatchKMeans(k, random_state=seed, batch_size=max(batch_size, k), max_iter=max_iter, n_init=3)
    centres = model.fit(np.ascontiguousarray(features, np.float32)).cluster_centers_.astype(np.float32)
    return Clusters(centres, *nearest_centre(features, centres))


def nearest_centre(features: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre (n,) of each row, the lowest of equal ones, and the squared distance (n,) to it, in float64."""
    centres = centres.astype(np.float64)
    squares = (centres**2).sum(axis=1)
    labels, distances = [], []
    for start in range(0, len(features), _ROWS):
        rows = features[start : start + _ROWS].astype(np.float64)
        scores = squares - 2 * rows @ centres.T
        nearest = scores.argmin(axis=1)
        labels.append(nearest)
        distances.append(((rows - centres[nearest]) ** 2).sum(axis=1))
    return np.concatenate(labels), np.concatenate(distances)


def explained_variance(features: np.ndarray, distances: np.ndarray) -> float:
    """1 − SSE/SST: SSE is the sum of the squared distances to the centres, SST that to the mean of all rows.

    At most 1; 1 too where all rows are equal and lie in their centres.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    total = sum(
        float(((features[start : start + _ROWS] - mean) ** 2).sum()) for start in range(0, len(features), _ROWS)
    )
    error = float(distances.sum())
    if total == 0:
        return 1.0 if error == 0 else float('-inf')
    return 1 - error / total


def elbow(ks: Sequence[int], variances: Sequence[float]) -> int:
    """The k where the curve is farthest above the chord between its ends, both axes scaled to 0 to 1.

    Args:
        ks: Numbers of clusters, increasing, 3 or more.
        variances: Explained variance of each.

    Returns:
        One of ``ks``; of equally far ones the smallest, and so the first of a curve that is nowhere above its chord.

    Raises:
        ValueError: fewer than three, not increasing, or of other lengths.
    """
    x, y = np.asarray(ks, np.float64), np.asarray(variances, np.float64)
    if len(x) != len(y) or len(x) < 3 or (np.diff(x) <= 0).any():
        raise ValueError(f'ks are {list(ks)} with {len(y)} variances, expected three or more, increasing, one each')
    rise = y[-1] - y[0]
    if rise == 0:
        return int(ks[0])
    above = (y - y[0]) / rise - (x - x[0]) / (x[-1] - x[0])
    return int(ks[int((above * np.sign(rise)).argmax())])


def nearest_rows(clusters: Clusters, count: int = 3) -> list[np.ndarray]:
    """Rows of each cluster that are nearest to its centre, the nearest first; fewer where it has fewer, maybe none."""
    order = np.lexsort((clusters.distances, clusters.labels))
    counts = np.bincount(clusters.labels, minlength=len(clusters.centres))
    return [members[:count] for members in np.split(order, np.cumsum(counts)[:-1])]
