"""The scores of the GlaS challenge: object F1, object Dice and object Hausdorff distance.

After Sirinukunwattana et al. 2017, "Gland segmentation in colon histology images: the GlaS challenge contest", section
on evaluation, and the evaluation page of the challenge. G are the objects of the ground truth, S the segmented ones.
S*(G) is the segmented object that shares most pixels with G, G*(S) the other way round; of equal ones the lowest label,
as in the challenge's program.

The challenge sums over the objects of all images (``average='pooled'``); many papers give the mean of the scores of the
images (``average='images'``). Both come from the same terms of each image.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import find_objects

from .label_overlap import Overlap, best_partner, label_overlap, summarize


class GlandTerms(NamedTuple):
    """What an image adds to the scores; terms of several images are summed. Areas are in pixels.

    Attributes:
        true_positives: Objects of the ground truth that are found.
        num_gt: Objects of the ground truth.
        num_pred: Segmented objects.
        gt_area: Σ|G|.
        gt_dice: Σ|G| · Dice(G, S*(G)).
        gt_hausdorff: Σ|G| · H(G, S*(G)).
        pred_area: Σ|S|.
        pred_dice: Σ|S| · Dice(G*(S), S).
        pred_hausdorff: Σ|S| · H(G*(S), S).
    """

    true_positives: float = 0
    num_gt: float = 0
    num_pred: float = 0
    gt_area: float = 0
    gt_dice: float = 0
    gt_hausdorff: float = 0
    pred_area: float = 0
    pred_dice: float = 0
    pred_hausdorff: float = 0


class GlandScores(NamedTuple):
    """Scores of one or many images.

    Attributes:
        object_f1: In [0, 1].
        precision: Share of segmented objects that are true positives; 0 if there are none.
        recall: Share of objects of the ground truth that are found; 0 if there are none.
        object_dice: In [0, 1].
        object_hausdorff: Pixels, 0 is best.
    """

    object_f1: float
    precision: float
    recall: float
    object_dice: float
    object_hausdorff: float


def object_f1(gt: np.ndarray, pred: np.ndarray, empty: str = 'skip') -> float:
    """F1 of detection, 2TP / (2TP + FP + FN).

    A segmented object S is a true positive if it covers at least half of G*(S); every other one is a false positive,
    and false negatives are the objects of the ground truth less the true positives. An object of the ground truth is
    found once: of two segmented ones that cover exactly half of it each, one is a false positive. (The challenge's
    program asks for more than half, its text for at least half.)

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        empty: If neither map has objects, 'skip' gives NaN and 'perfect' 1. If one has none, F1 is 0.
    """
    return gland_scores([gland_terms(gt, pred, with_hausdorff=False)], empty=empty).object_f1


def object_dice(gt: np.ndarray, pred: np.ndarray, empty: str = 'skip') -> float:
    """Dice of objects, ½ [Σ γ Dice(G, S*(G)) + Σ σ Dice(G*(S), S)] with γ = |G| / Σ|G| and σ = |S| / Σ|S|.

    The Dice of an object without partner is 0.

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        empty: If neither map has objects, 'skip' gives NaN and 'perfect' 1. If one has none, the value is 0.
    """
    return gland_scores([gland_terms(gt, pred, with_hausdorff=False)], empty=empty).object_dice


def object_hausdorff(gt: np.ndarray, pred: np.ndarray, empty: str = 'skip') -> float:
    """Hausdorff distance of objects in pixels, ½ [Σ γ H(G, S*(G)) + Σ σ H(G*(S), S)], weighted as the object Dice.

    H is the Hausdorff distance of the two sets of pixels, holes excluded, between centres. An object that shares no
    pixel with the other map is compared with that object of it whose Hausdorff distance is smallest. If the other map
    has no objects, where the challenge defines nothing, the diagonal √(H² + W²) of the image is taken.

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        empty: If neither map has objects, 'skip' gives NaN and 'perfect' 0. If one has none, the value is the diagonal.
    """
    return gland_scores([gland_terms(gt, pred)], empty=empty).object_hausdorff


def gland_terms(gt: np.ndarray, pred: np.ndarray, with_hausdorff: bool = True) -> GlandTerms:
    """Terms of one image.

    Args:
        gt: (H, W) labels, 0 is background.
        pred: (H, W) labels.
        with_hausdorff: Leave the distances out, as NaN, if not.
    """
    overlap = label_overlap(gt, pred)
    gt_best = best_partner(overlap.gt, overlap.pred, overlap.shared, len(overlap.gt_area))
    pred_best = best_partner(overlap.pred, overlap.gt, overlap.shared, len(overlap.pred_area))
    pairs = pred_best[pred_best >= 0]
    found = overlap.gt[pairs][2 * overlap.shared[pairs] >= overlap.gt_area[overlap.gt[pairs]]]
    dice = 2 * overlap.shared / (overlap.gt_area[overlap.gt] + overlap.pred_area[overlap.pred])
    if with_hausdorff:
        gt_distance, pred_distance = _hausdorff_distances(overlap, gt_best, pred_best)
    else:
        gt_distance, pred_distance = np.full(len(gt_best), np.nan), np.full(len(pred_best), np.nan)
    return GlandTerms(
        true_positives=len(np.unique(found)),
        num_gt=len(gt_best),
        num_pred=len(pred_best),
        gt_area=int(overlap.gt_area.sum()),
        gt_dice=_weighted(overlap.gt_area, dice, gt_best),
        gt_hausdorff=float(overlap.gt_area @ gt_distance),
        pred_area=int(overlap.pred_area.sum()),
        pred_dice=_weighted(overlap.pred_area, dice, pred_best),
        pred_hausdorff=float(overlap.pred_area @ pred_distance),
    )


def gland_scores(terms: list[GlandTerms], average: str = 'pooled', empty: str = 'skip') -> GlandScores:
    """Scores of many images.

    Args:
        terms: :func:`gland_terms` of each.
        average: 'pooled': objects of all images together, each weighted by its share of all area, as the challenge
            defines it. 'images': mean of the scores of the images.
        empty: Images without objects on either side count as segmented perfectly ('perfect') or not at all ('skip');
            it matters for 'images', or where there are no others: then 'skip' gives NaN.

    Raises:
        ValueError: another ``average`` or ``empty``.
    """
    return summarize(terms, GlandTerms(), _score, average, empty)


def hausdorff_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Hausdorff distance of two sets of pixels: the farthest that a pixel of one is from the nearest of the other.

    Args:
        a: Boolean (H, W) with a pixel or more.
        b: The same.

    Returns:
        Pixels, between centres; 0 for equal sets.

    Raises:
        ValueError: an empty mask, or masks of different size.
    """
    if a.shape != b.shape or not a.any() or not b.any():
        raise ValueError(
            f'masks of {a.shape} and {b.shape} with {np.count_nonzero(a)} and {np.count_nonzero(b)} pixels, '
            'expected the same size and a pixel or more'
        )
    return max(_directed(a, b), _directed(b, a))


def _directed(source: np.ndarray, target: np.ndarray) -> float:
    to_target = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV gives float32; the squares are whole numbers.
    return float(np.sqrt(np.rint(np.float64(to_target[source].max()) ** 2)))


def _score(terms: GlandTerms, empty: str) -> GlandScores:
    if not terms.num_gt + terms.num_pred:
        return GlandScores(1.0, 1.0, 1.0, 1.0, 0.0) if empty == 'perfect' else GlandScores(*[float('nan')] * 5)
    precision = terms.true_positives / max(terms.num_pred, 1)
    recall = terms.true_positives / max(terms.num_gt, 1)
    f1 = 2 * terms.true_positives / (terms.num_gt + terms.num_pred)
    dice = (terms.gt_dice / max(terms.gt_area, 1) + terms.pred_dice / max(terms.pred_area, 1)) / 2
    # A side without objects has no distance; the other one is the value then.
    sides = [(terms.gt_hausdorff, terms.gt_area), (terms.pred_hausdorff, terms.pred_area)]
    distances = [distance / area for distance, area in sides if area]
    return GlandScores(f1, precision, recall, dice, sum(distances) / len(distances))


def _weighted(area: np.ndarray, value: np.ndarray, best: np.ndarray) -> float:
    """Σ area · value of the best pair, over the objects that have one."""
    return float(area[best >= 0] @ value[best[best >= 0]])


def _hausdorff_distances(overlap: Overlap, gt_best: np.ndarray, pred_best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """H of each object of both sides and its partner: (n,), (m,)."""
    gt_boxes, pred_boxes = _boxes(overlap.gt_map), _boxes(overlap.pred_map)
    diagonal = float(np.hypot(*overlap.gt_map.shape))

    @cache
    def distance(i: int, j: int) -> float:
        low = np.minimum(gt_boxes[i], pred_boxes[j])[:2]
        high = np.maximum(gt_boxes[i], pred_boxes[j])[2:]
        window = tuple(slice(*edge) for edge in zip(low, high, strict=True))
        return hausdorff_distance(overlap.gt_map[window] == i + 1, overlap.pred_map[window] == j + 1)

    gt_distance = [
        distance(i, int(overlap.pred[pair]))
        if pair >= 0
        else _nearest(gt_boxes[i], pred_boxes, lambda j, i=i: distance(i, j), diagonal)
        for i, pair in enumerate(gt_best)
    ]
    pred_distance = [
        distance(int(overlap.gt[pair]), j)
        if pair >= 0
        else _nearest(pred_boxes[j], gt_boxes, lambda i, j=j: distance(i, j), diagonal)
        for j, pair in enumerate(pred_best)
    ]
    return np.array(gt_distance), np.array(pred_distance)


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Top, left, bottom and right of each label, the last two exclusive: (n, 4)."""
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in find_objects(labels)]
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _nearest(box: np.ndarray, others: np.ndarray, distance: Callable[[int], float], nothing: float) -> float:
    """Smallest distance to any of the others; ``nothing`` without others.

    Two sets are at least as far apart as the edges of their boxes, which spares most of the distances.
    """
    bounds = np.abs(others - box).max(axis=1)
    smallest = np.inf
    for index in np.argsort(bounds).tolist():
        if bounds[index] >= smallest:
            break
        smallest = min(smallest, distance(index))
    return smallest if len(others) else nothing
