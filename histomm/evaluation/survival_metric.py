"""The concordance index as a metric of mmengine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .bootstrap import bootstrap_intervals


def concordance_index(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's c, by scikit-survival: in how many comparable pairs the one of higher risk met the event earlier.

    Args:
        time: (n,) until the event, or until last seen.
        event: (n,) 1 if the event was seen.
        risk: (n,); equal risks count a half.

    Returns:
        A number in [0, 1]; NaN if no pair can be compared.

    Raises:
        ModuleNotFoundError: scikit-survival is not installed.
    """
    try:
        from sksurv.exceptions import NoComparablePairException
        from sksurv.metrics import concordance_index_censored
    except ImportError as error:
        raise ModuleNotFoundError(
            'the concordance index needs scikit-survival, which is not installed; run `pip install scikit-survival`',
            name='sksurv',
        ) from error
    if not np.any(event):
        return float('nan')
    try:
        with np.errstate(invalid='ignore'):  # pairs of equal times are comparable, but none of them concordant or not
            return float(concordance_index_censored(np.asarray(event, bool), time, risk)[0])
    except NoComparablePairException:
        return float('nan')


@METRICS.register_module()
class SurvivalMetric(BaseMetric):
    """``survival/c_index``, see :func:`concordance_index`, of what :class:`~histomm.BagSurvival` predicts.

    Args:
        bootstrap: Samples of the bootstrap for the 95 % interval ``c_index_low`` and ``c_index_high``, over patients; 0
            for none.
        seed: Of the bootstrap.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names of the scores.
        collect_dir: See mmengine's ``BaseMetric``.
    """

    default_prefix = 'survival'

    def __init__(
        self,
        bootstrap: int = 0,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if bootstrap < 0:
            raise ValueError(f'SurvivalMetric: bootstrap is {bootstrap}, expected 0 or a number of samples')
        self.bootstrap, self.seed = bootstrap, seed

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add a batch of samples with ``gt_time``, ``gt_event`` and ``pred_score``, each (1,)."""
        for sample in data_samples:
            missing = [key for key in ('gt_time', 'gt_event', 'pred_score') if key not in sample]
            if missing:
                raise ValueError(f'SurvivalMetric: a data sample has no {missing[0]}, found {list(sample)}')
            values = [float(sample[key][0]) for key in ('gt_time', 'gt_event', 'pred_score')]
            self.results.append((str(sample.get('patient', len(self.results))), *values))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name."""
        patients = [row[0] for row in results]
        arrays = [np.array([row[column] for row in results]) for column in (1, 2, 3)]
        found = {'c_index': concordance_index(*arrays)}
        if self.bootstrap:
            borders = bootstrap_intervals(
                lambda *rows: {'c_index': concordance_index(*rows)}, arrays, patients, self.bootstrap, seed=self.seed
            )
            found |= {f'c_index_{side}': value for side, value in borders['c_index']._asdict().items()}
        return found
