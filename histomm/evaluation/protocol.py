"""Protocols of judging features: which rows train, validate and test, how often, and what is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from histomm.evaluation.bootstrap import bootstrap_intervals
from histomm.evaluation.classification import (
    classification_scores,
    confusion_matrix,
    f1_per_class,
    mean_absolute_error,
)
from histomm.evaluation.probes import Prediction, Rows, knn_probe, linear_probe
from histomm.evaluation.splits import Split, kfold_splits, label_fraction, split_parts

PROBES = {'knn': knn_probe, 'linear': linear_probe}
"""Probes by name."""


@dataclass(frozen=True)
class Labelled:
    """Features with labels, and the groups that stay together.

    Attributes:
        features: (n, D) float32.
        labels: (n,) int64 classes, or float64 values.
        classes: Names of the classes; empty for values.
        groups: (n,) names, or ``None``.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    groups: np.ndarray | None = None

    def rows(self, index: np.ndarray) -> Rows:
        """Features and labels of some rows."""
        return Rows(self.features[index], self.labels[index])


@dataclass(frozen=True)
class Protocol:
    """How features are judged.

    Attributes:
        probes: Names in :data:`PROBES`.
        fractions: Shares of the training labels that are used, in (0, 1].
        draws: Draws of each share below 1.
        folds: Folds of cross-validation; 0 for one split by ``parts``.
        parts: Shares of training, validation and test; the test's is not used if there are data of its own.
        bootstrap: Samples for the 95 % intervals; 0 for none.
        seed: Of all draws.
    """

    probes: tuple[str, ...] = ('knn', 'linear')
    fractions: tuple[float, ...] = (1.0,)
    draws: int = 5
    folds: int = 0
    parts: tuple[int, int, int] = (50, 25, 25)
    bootstrap: int = 1000
    seed: int = 0


@dataclass
class Run:
    """One probe on one split.

    Attributes:
        probe: Name of the probe.
        fraction: Share of the training labels.
        draw: Number of the draw of that share.
        fold: Number of the fold; 0 without folds.
        sizes: Rows that trained, validated and tested.
        chosen: What was chosen on the validation rows, and its score there.
        scores: On the test rows.
        intervals: 95 % intervals of the scores by name.
        per_class: F1 of each class by name; ``None`` where it has none.
    """

    probe: str
    fraction: float
    draw: int
    fold: int
    sizes: dict[str, int]
    chosen: dict[str, float]
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_class: dict[str, float] = field(default_factory=dict)


def splits_of(data: Labelled, protocol: Protocol, own_test: bool) -> list[Split]:
    """The splits of a protocol; with test data of their own, test rows are empty."""
    if protocol.folds:
        if own_test:
            raise ValueError(f'folds is {protocol.folds} and there are test data; choose one of the two')
        return list(kfold_splits(data.labels, protocol.folds, protocol.seed, data.groups))
    parts = protocol.parts[:2] if own_test else protocol.parts
    pieces = split_parts(data.labels, parts, protocol.seed, data.groups)
    return [Split(*pieces, np.empty(0, np.int64)) if own_test else Split(*pieces)]


def evaluate(data: Labelled, protocol: Protocol, test: Labelled | None = None) -> list[Run]:
    """Every probe on every split, share and draw.

    Args:
        data: Rows to train and validate, and to test where there is no ``test``.
        protocol: How.
        test: Rows of other images to test.

    Raises:
        ValueError: features of other widths, other classes, groups on both sides, or an unusable protocol.
    """
    if test is not None:
        _check_test(data, test)
    runs = []
    for fold, split in enumerate(splits_of(data, protocol, test is not None)):
        tested = test if test is not None else data
        index = np.arange(len(test.labels)) if test is not None else split.test
        for fraction in protocol.fractions:
            for draw in range(protocol.draws if fraction < 1 else 1):
                train = label_fraction(split.train, data.labels, fraction, protocol.seed + draw)
                for name in protocol.probes:
                    prediction = PROBES[name](
                        data.rows(train), data.rows(split.val), tested.features[index], len(data.classes)
                    )
                    sizes = dict(train=len(train), val=len(split.val), test=len(index))
                    run = Run(name, fraction, draw, fold, sizes, prediction.chosen, {})
                    runs.append(_scored(run, prediction, tested, index, protocol))
    return runs


def summarise(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Mean and standard deviation (with n − 1) of every score over draws and folds, by probe and share."""
    rows = []
    for probe, fraction in dict.fromkeys((run.probe, run.fraction) for run in runs):
        group = [run for run in runs if (run.probe, run.fraction) == (probe, fraction)]
        scores = {}
        for name in group[0].scores:
            values = np.array([run.scores[name] for run in group])
            values = values[~np.isnan(values)]
            spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            mean = float(values.mean()) if len(values) else float('nan')
            scores[name] = {'mean': mean, 'std': spread, 'runs': len(values)}
        rows.append({'probe': probe, 'fraction': fraction, 'scores': scores})
    return rows


def _scored(run: Run, prediction: Prediction, data: Labelled, index: np.ndarray, protocol: Protocol) -> Run:
    truth, values = data.labels[index], prediction.values
    scores = classification_scores if data.classes else _regression_scores
    run.scores = scores(truth, values)
    if data.classes:
        f1 = f1_per_class(confusion_matrix(truth, values.argmax(axis=1), len(data.classes)))
        run.per_class = dict(zip(data.classes, map(float, f1), strict=True))
    if protocol.bootstrap:
        groups = data.groups[index] if data.groups is not None else None
        borders = bootstrap_intervals(scores, (truth, values), groups, protocol.bootstrap, seed=protocol.seed)
        run.intervals = {name: tuple(interval) for name, interval in borders.items()}
    return run


def _regression_scores(truth: np.ndarray, values: np.ndarray) -> dict[str, float]:
    return {'l1': mean_absolute_error(truth, values)}


def _check_test(data: Labelled, test: Labelled) -> None:
    if data.features.shape[1] != test.features.shape[1]:
        raise ValueError(
            f'the features to train on have {data.features.shape[1]} numbers, those to test on '
            f'{test.features.shape[1]}; extract both with one model'
        )
    if data.classes != test.classes:
        raise ValueError(f'classes are {data.classes} to train and {test.classes} to test, expected the same')
    if data.groups is not None and test.groups is not None:
        shared = set(data.groups) & set(test.groups)
        if shared:
            raise ValueError(
                f'{len(shared)} groups are in the data to train on and to test on, such as {sorted(shared)[0]}; leave '
                'them out of one of the two'
            )
