"""Scores of classification and regression as metrics of mmengine, for the configs of mmpretrain."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .bootstrap import bootstrap_intervals
from .classification import classification_scores, mean_absolute_error
from .splits import groups_of


class _PatchMetric(BaseMetric):
    """Collects truth and prediction of every sample; scores with an interval where one is wanted.

    Args:
        bootstrap: Samples of the bootstrap for the 95 % intervals ``NAME_low`` and ``NAME_high``; 0 for none.
        groups: What images are drawn together, by their path: 'tcga' or a regular expression, see
            :func:`~histomm.evaluation.splits.groups_of`. Without it images are drawn one by one.
        seed: Of the bootstrap.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names of the scores.
        collect_dir: See mmengine's ``BaseMetric``.
    """

    def __init__(
        self,
        bootstrap: int = 0,
        groups: str | None = None,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if bootstrap < 0:
            raise ValueError(f'{type(self).__name__}: bootstrap is {bootstrap}, expected 0 or a number of samples')
        self.bootstrap, self.groups, self.seed = bootstrap, groups, seed

    def _collect(self, sample: dict, truth: str, predicted: str) -> None:
        path = sample.get('img_path', '')
        for key in (truth, predicted):
            if key not in sample:
                raise ValueError(f'{type(self).__name__}: {path or "a data sample"} has no {key}, found {list(sample)}')
        values = [np.asarray(sample[key].cpu(), np.float64) for key in (truth, predicted)]
        self.results.append((path, *values))

    def _scores(
        self, results: list, truth: np.ndarray, predicted: np.ndarray, score: Callable[..., dict]
    ) -> dict[str, float]:
        found = score(truth, predicted)
        if not self.bootstrap:
            return found
        groups = groups_of([path for path, _, _ in results], self.groups) if self.groups else None
        borders = bootstrap_intervals(score, (truth, predicted), groups, self.bootstrap, seed=self.seed)
        intervals = {f'{name}_{side}': value for name in borders for side, value in borders[name]._asdict().items()}
        return {**found, **intervals}


@METRICS.register_module()
class ClassificationMetric(_PatchMetric):
    """Macro-F1, weighted F1, accuracy, balanced accuracy and AUC, from 0 to 1, of mmpretrain's classifiers.

    Gives ``classification/macro_f1`` and so on, see :mod:`histomm.evaluation.classification` for what counts where a
    class is missing. Arguments: ``bootstrap``, ``groups`` and ``seed`` for 95 % intervals, and those of ``BaseMetric``.
    """

    default_prefix = 'classification'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add a batch of mmpretrain's samples, as dicts with ``gt_label`` (1,) and ``pred_score`` (C,)."""
        for sample in data_samples:
            self._collect(sample, 'gt_label', 'pred_score')

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name."""
        truth = np.array([int(label[0]) for _, label, _ in results])
        return self._scores(results, truth, np.stack([score for _, _, score in results]), classification_scores)


@METRICS.register_module()
class RegressionMetric(_PatchMetric):
    """Mean absolute error of values, ``regression/l1`` in their unit.

    Arguments: ``bootstrap``, ``groups`` and ``seed`` for 95 % intervals, and those of ``BaseMetric``.
    """

    default_prefix = 'regression'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add a batch of mmpretrain's samples, as dicts with ``gt_score`` (1,) and ``pred_score`` (1,)."""
        for sample in data_samples:
            self._collect(sample, 'gt_score', 'pred_score')

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name."""
        truth, predicted = (np.array([float(row[column][0]) for row in results]) for column in (1, 2))
        return self._scores(results, truth, predicted, lambda *values: {'l1': mean_absolute_error(*values)})
