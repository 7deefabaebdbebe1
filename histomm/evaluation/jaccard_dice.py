"""Jaccard and Dice of semantic segmentation, pooled over all pixels or averaged over batches."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from histomm.registry import METRICS


def class_areas(prediction: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """Pixels of each class, where the truth is not ignored.

    Args:
        prediction: Class of each pixel, integers of any shape, 0 to ``num_classes - 1``.
        truth: The same shape; classes, or ``ignore_index``.
        num_classes: Number of classes C.
        ignore_index: What marks pixels that do not count.

    Returns:
        (3, C) int64: pixels that are right, that are predicted, and that are of the class in truth.

    Raises:
        ValueError: shapes that differ, or a value that is no class.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f'the prediction has shape {tuple(prediction.shape)}, the truth {tuple(truth.shape)}; expected the same'
        )
    truth = truth.to(prediction.device)
    counted = truth != ignore_index
    prediction, truth = prediction[counted].long(), truth[counted].long()
    for name, values in (('prediction', prediction), ('truth', truth)):
        wrong = values[(values < 0) | (values >= num_classes)]
        if len(wrong):
            raise ValueError(
                f'the {name} holds the class {wrong[0].item()}, expected 0 to {num_classes - 1}'
                f'{f" or {ignore_index}, ignored" if name == "truth" else ""}; check num_classes and the label maps'
            )
    parts = (truth[prediction == truth], prediction, truth)
    return np.stack([torch.bincount(part, minlength=num_classes).cpu().numpy() for part in parts])


def micro_scores(areas: np.ndarray) -> tuple[float, float]:
    """Jaccard and Dice of all pixels, whatever their class; NaN where no pixel counts.

    With T right ones of N pixels, Jaccard = T / (2N - T), since each wrong pixel is in two unions, and Dice = T / N,
    which is the accuracy.

    Args:
        areas: (3, C) of :func:`class_areas`, or their sum over images.
    """
    right, _, total = areas.sum(axis=1).tolist()
    if total == 0:
        return float('nan'), float('nan')
    return right / (2 * total - right), right / total


def per_class_scores(areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jaccard (C,) and Dice (C,) of each class; NaN for a class that is neither predicted nor true anywhere.

    Args:
        areas: (3, C) of :func:`class_areas`, or their sum over images.
    """
    right, predicted, true = areas.astype(float)
    both = np.where(predicted + true > 0, predicted + true, np.nan)
    return right / (both - right), 2 * right / both


@METRICS.register_module()
class JaccardDiceMetric(BaseMetric):
    """Jaccard index and Dice coefficient of semantic segmentation, between 0 and 1.

    - ``jaccard_micro``, ``dice_micro``: of all pixels of all images together, :func:`micro_scores`;
    - ``jaccard_macro``, ``dice_macro``: the mean over classes of the scores of each class over all images. A class that
      is neither predicted nor true in any pixel has no score: it is left out of the mean, and named in the log;
    - ``jaccard_batch_mean``, ``dice_batch_mean``: with ``batch_mean``, the mean over batches of the micro scores of
      each, as some published figures are made. They depend on the batch size and on the order of the images. The index
      is a convex function of the accuracy, so that over batches of equally many pixels ``jaccard_batch_mean`` is never
      below ``jaccard_micro``. Batches in which no pixel counts are left out.

    Pixels of which the truth is ``ignore_index`` count nowhere. A table of the classes is logged. Where no pixel counts
    at all the scores are NaN, with a warning.

    Args:
        ignore_index: What marks pixels that do not count.
        batch_mean: Give the scores averaged over batches as well.
        collect_device: Where results of several processes are gathered, 'cpu' or 'gpu'.
        prefix: Put before the names of the scores.

    Raises:
        ValueError: a class out of range, named with its image, or a data set without class names.
    """

    default_prefix = ''  # none, and no warning about it

    def __init__(
        self,
        ignore_index: int = 255,
        batch_mean: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index = ignore_index
        self.batch_mean = batch_mean
        self._batches = 0

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, from the data set."""
        classes = (self.dataset_meta or {}).get('classes')
        if not classes:
            raise ValueError('JaccardDiceMetric: the data set has no classes in its metainfo; name them there')
        return classes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each image of a batch.

        Args:
            data_batch: Not used.
            data_samples: With ``pred_sem_seg`` and ``gt_sem_seg``, each with ``data`` (1, H, W).
        """
        self._batches += 1
        for sample in data_samples:
            prediction, truth = sample['pred_sem_seg']['data'], sample['gt_sem_seg']['data']
            try:
                areas = class_areas(prediction, truth, len(self.classes), self.ignore_index)
            except ValueError as error:
                raise ValueError(f'{sample.get("img_path", "an image")}: {error}') from error
            # One entry an image, as the repeated images at the end are cut off when processes gather.
            self.results.append(((get_rank(), self._batches), areas))

    def compute_metrics(self, results: list[tuple[tuple[int, int], np.ndarray]]) -> dict[str, float]:
        """Scores of all images, see the class."""
        total = sum(areas for _, areas in results)
        jaccard, dice = per_class_scores(total)
        self._log_classes(total, jaccard, dice)
        scores = {}
        scores['jaccard_micro'], scores['dice_micro'] = micro_scores(total)
        present = ~np.isnan(jaccard)
        scores['jaccard_macro'] = float(jaccard[present].mean()) if present.any() else float('nan')
        scores['dice_macro'] = float(dice[present].mean()) if present.any() else float('nan')
        if self.batch_mean:
            scores['jaccard_batch_mean'], scores['dice_batch_mean'] = _batch_means(results)
        return scores

    def _log_classes(self, total: np.ndarray, jaccard: np.ndarray, dice: np.ndarray) -> None:
        width = max(5, *map(len, self.classes))
        lines = [f'{"class":{width}}  jaccard    dice    true pixels  predicted']
        for name, j, d, true, predicted in zip(self.classes, jaccard, dice, total[2], total[1], strict=True):
            shown = ('      -       -' if np.isnan(j) else f'{j:7.4f} {d:7.4f}').rjust(15)
            lines.append(f'{name:{width}}  {shown} {true:14d} {predicted:10d}')
        absent = [name for name, j in zip(self.classes, jaccard, strict=True) if np.isnan(j)]
        if absent:
            lines.append(f'left out of the macro scores, as neither true nor predicted: {", ".join(absent)}')
        print_log('\n'.join(lines), logger='current')
        if len(absent) == len(self.classes):
            print_log(
                'JaccardDiceMetric: no pixel has a class, so that the scores are NaN; check the label maps',
                logger='current',
                level=logging.WARNING,
            )


def _batch_means(results: list[tuple[tuple[int, int], np.ndarray]]) -> tuple[float, float]:
    """Means over batches of micro Jaccard and Dice."""
    batches: dict[tuple[int, int], Any] = defaultdict(int)
    for batch, areas in results:
        batches[batch] = batches[batch] + areas
    scores = [micro_scores(areas) for areas in batches.values() if areas.sum()]
    if not scores:
        return float('nan'), float('nan')
    jaccard, dice = np.mean(scores, axis=0).tolist()
    return jaccard, dice
