"""Which objects of two instance label maps cover each other: what all scores of instances are made of."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np

MAX_LABEL = 2**31
"""Labels stay below it, so that a pair of them is one int64."""

AVERAGES = ('images', 'pooled')
EMPTY = ('skip', 'perfect')

Terms = TypeVar('Terms', bound=tuple)
Scores = TypeVar('Scores', bound=tuple)


class Overlap(NamedTuple):
    """Areas and intersections of the n objects of the ground truth and the m of a prediction, in pixels.

    Attributes:
        gt_map: (H, W) labels 0 (background) to n, in the order of the given labels.
        pred_map: (H, W) labels 0 to m.
        gt_area: (n,) of the objects 1 to n.
        pred_area: (m,).
        gt: (p,) index from 0 of the first object of each pair that shares a pixel; ascending.
        pred: (p,) index from 0 of the second; ascending where ``gt`` is equal.
        shared: (p,) pixels that they share, 1 or more.
    """

    gt_map: np.ndarray
    pred_map: np.ndarray
    gt_area: np.ndarray
    pred_area: np.ndarray
    gt: np.ndarray
    pred: np.ndarray
    shared: np.ndarray


def label_overlap(gt: np.ndarray, pred: np.ndarray) -> Overlap:
    """Compare two label maps in one pass over the pixels.

    Args:
        gt: (H, W) integers, 0 is background; any labels below 2³¹, with gaps or not. A boolean map is one object.
        pred: The same.

    Raises:
        ValueError: a map that is not (H, W) integers from 0 to below 2³¹, or maps of different size.
    """
    gt_map, gt_area = _compact(gt, 'ground truth')
    pred_map, pred_area = _compact(pred, 'prediction')
    if gt_map.shape != pred_map.shape:
        raise ValueError(f'ground truth is {gt_map.shape} and prediction {pred_map.shape}, expected the same size')
    both = (gt_map > 0) & (pred_map > 0)
    pair, shared = np.unique((gt_map[both] - 1) * np.int64(len(pred_area)) + (pred_map[both] - 1), return_counts=True)
    gt_index, pred_index = np.divmod(pair, max(len(pred_area), 1))
    return Overlap(gt_map, pred_map, gt_area, pred_area, gt_index, pred_index, shared)


def _compact(labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The map with labels 0 to n without gaps as int32, and the area of each label from 1."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in 'biu':
        raise ValueError(f'{name} is {labels.dtype} of shape {labels.shape}, expected a label map (H, W) of integers')
    ids = np.unique(labels)
    if ids.size and not 0 <= int(ids[0]) <= int(ids[-1]) < MAX_LABEL:
        raise ValueError(f'{name} has labels from {ids[0]} to {ids[-1]}, expected 0 to {MAX_LABEL - 1}')
    ids = ids[ids > 0].astype(np.int64)
    if ids.size and ids[-1] == ids.size:
        compact = labels.astype(np.int32)
    else:
        compact = np.searchsorted(ids, labels, side='right').astype(np.int32)
    return compact, np.bincount(compact.ravel(), minlength=ids.size + 1)[1:]


def best_partner(objects: np.ndarray, partners: np.ndarray, value: np.ndarray, num: int) -> np.ndarray:
    """Index of the pair with the highest value for each object; of equal ones that with the lowest partner.

    Args:
        objects: (p,) the object of each pair, in [0, num).
        partners: (p,) its partner.
        value: (p,) what counts.
        num: Number of objects.

    Returns:
        (num,) index into the pairs, -1 for an object in none.
    """
    order = np.lexsort((partners, -value, objects))
    found, first = np.unique(objects[order], return_index=True)
    best = np.full(num, -1)
    best[found] = order[first]
    return best


def total(zero: Terms, terms: Iterable[Terms]) -> Terms:
    """Sum of terms, field by field, in the given order; ``zero`` if there are none."""
    return type(zero)(*(sum(column) for column in zip(zero, *terms, strict=True)))


def summarize(
    terms: list[Terms], zero: Terms, score: Callable[[Terms, str], Scores], average: str, empty: str
) -> Scores:
    """Score of many images.

    Args:
        terms: One an image.
        zero: Terms of an image without objects on either side.
        score: From terms and ``empty``.
        average: 'images': the mean of the scores of the images. 'pooled': the score of the summed terms, as if all
            images were one.
        empty: 'skip': images without objects on either side are left out; NaN if there are no others. 'perfect': they
            count as segmented perfectly.

    Raises:
        ValueError: another ``average`` or ``empty``.
    """
    check_choices(average, empty)
    if average == 'pooled':
        return score(total(zero, terms), empty)
    counted = [score(term, empty) for term in terms if empty == 'perfect' or term != zero]
    nothing = score(zero, empty)
    return type(nothing)(*np.mean(counted, axis=0).tolist()) if counted else nothing


def check_choices(average: str, empty: str) -> None:
    """Raise a ``ValueError`` for an unknown way to average or to treat empty images."""
    for name, found, known in (('average', average, AVERAGES), ('empty', empty, EMPTY)):
        if found not in known:
            raise ValueError(f'{name} is {found!r}, expected {" or ".join(map(repr, known))}')
