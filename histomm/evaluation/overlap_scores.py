"""Aggregated Jaccard index and panoptic quality of instances of one class."""

from typing import NamedTuple

import numpy as np

from .label_overlap import best_partner, label_overlap, summarize


class OverlapTerms(NamedTuple):
    """What an image adds to the scores; terms of several images are summed.

    Attributes:
        intersection: Pixels in the numerator of the AJI.
        union: Pixels in its denominator.
        matches: Pairs of intersection over union above ½.
        iou: Sum of their intersections over union.
        num_gt: Objects of the ground truth.
        num_pred: Predicted objects.
    """

    intersection: float = 0
    union: float = 0
    matches: float = 0
    iou: float = 0
    num_gt: float = 0
    num_pred: float = 0


class OverlapScores(NamedTuple):
    """Scores of one or many images, each in [0, 1].

    Attributes:
        aji: Aggregated Jaccard index.
        pq: Panoptic quality, DQ · SQ.
        dq: Detection quality, the F1 of matches.
        sq: Segmentation quality, the mean intersection over union of matches; 0 without matches.
    """

    aji: float
    pq: float
    dq: float
    sq: float


def aggregated_jaccard(gt: np.ndarray, pred: np.ndarray, empty: str = 'skip') -> float:
    """AJI of Kumar et al. 2017, algorithm 1.

    Each object of the ground truth is joined with the predicted one of highest intersection over union (the lowest
    label among equals), which may serve several. Their intersections, over their unions plus the area of predicted
    objects that serve none; an object of the ground truth that nothing touches adds its area to the unions.

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        empty: If neither map has objects, 'skip' gives NaN and 'perfect' 1. If one has none, the value is 0.
    """
    return overlap_scores([overlap_terms(gt, pred)], empty=empty).aji


def panoptic_quality(gt: np.ndarray, pred: np.ndarray, empty: str = 'skip') -> float:
    """PQ of one class, Kirillov et al. 2019, eq. 1: Σ IoU / (TP + ½ FP + ½ FN).

    Objects match if their intersection over union is above ½, which at most one pair of each object can be.

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        empty: If neither map has objects, 'skip' gives NaN and 'perfect' 1. If one has none, the value is 0.
    """
    return overlap_scores([overlap_terms(gt, pred)], empty=empty).pq


def overlap_terms(gt: np.ndarray, pred: np.ndarray) -> OverlapTerms:
    """Terms of one image: label maps (H, W), 0 is background."""
    overlap = label_overlap(gt, pred)
    union = overlap.gt_area[overlap.gt] + overlap.pred_area[overlap.pred] - overlap.shared
    iou = overlap.shared / union
    best = best_partner(overlap.gt, overlap.pred, iou, len(overlap.gt_area))
    pairs = best[best >= 0]
    unused = np.delete(overlap.pred_area, overlap.pred[pairs])
    matched = 2 * overlap.shared > union
    return OverlapTerms(
        intersection=int(overlap.shared[pairs].sum()),
        union=int(union[pairs].sum() + overlap.gt_area[best < 0].sum() + unused.sum()),
        matches=int(matched.sum()),
        iou=float(iou[matched].sum()),
        num_gt=len(overlap.gt_area),
        num_pred=len(overlap.pred_area),
    )


def overlap_scores(terms: list[OverlapTerms], average: str = 'images', empty: str = 'skip') -> OverlapScores:
    """Scores of many images.

    Args:
        terms: :func:`overlap_terms` of each.
        average: 'images': mean of the scores of the images, as is common for nuclei. 'pooled': sums over all images
            before dividing, as Kirillov et al. define PQ for a data set.
        empty: Images without objects on either side count as segmented perfectly ('perfect') or not at all ('skip');
            it matters for 'images', or where there are no others: then 'skip' gives NaN.

    Raises:
        ValueError: another ``average`` or ``empty``.
    """
    return summarize(terms, OverlapTerms(), _score, average, empty)


def _score(terms: OverlapTerms, empty: str) -> OverlapScores:
    if not terms.num_gt + terms.num_pred:
        return OverlapScores(*[1.0 if empty == 'perfect' else float('nan')] * 4)
    dq = 2 * terms.matches / (terms.num_gt + terms.num_pred)
    sq = terms.iou / max(terms.matches, 1)
    return OverlapScores(terms.intersection / terms.union, dq * sq, dq, sq)
