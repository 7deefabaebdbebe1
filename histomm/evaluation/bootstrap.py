"""Bootstrap intervals, of images or of whole patients."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Borders of an interval."""

    low: float
    high: float


def bootstrap_intervals(
    scores: Callable[..., dict[str, float]],
    arrays: Sequence[np.ndarray],
    groups: Sequence[str] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap (Efron 1979): the middle ``level`` of each score over samples drawn with replacement.

    Args:
        scores: Takes rows of each of ``arrays`` and gives numbers by name; NaN where one is not defined, which is left
            out.
        arrays: Each with n rows, n ≥ 1.
        groups: (n,) names. Whole groups are drawn, as many as there are: images of one patient are not independent.
        draws: Number of samples.
        level: Share that an interval holds, in (0, 1).
        seed: Of the draws.

    Returns:
        Borders by name; both NaN if a score is defined for no sample.

    Raises:
        ValueError: no rows, lengths that differ, or an argument out of range.
    """
    lengths = {len(array) for array in arrays} | ({len(groups)} if groups is not None else set())
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f'arrays and groups have {sorted(lengths)} rows, expected one number above 0')
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f'draws is {draws} and level {level}, expected 1 or more and a share between 0 and 1')
    (count,) = lengths
    rng = np.random.default_rng(seed)
    members = _members(groups) if groups is not None else None
    found = []
    for _ in range(draws):
        rows = _draw(rng, count, members)
        found.append(scores(*(array[rows] for array in arrays)))
    return {name: _middle(np.array([values[name] for values in found]), level) for name in found[0]}


def bootstrap_interval(
    statistic: Callable[..., float], arrays: Sequence[np.ndarray], groups: Sequence[str] | None = None, **options: float
) -> Interval:
    """The interval of one number, see :func:`bootstrap_intervals`, which has the options too."""
    return bootstrap_intervals(lambda *rows: {'': statistic(*rows)}, arrays, groups, **options)['']


def _middle(values: np.ndarray, level: float) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float('nan'), float('nan'))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _members(groups: Sequence[str]) -> list[np.ndarray]:
    """Rows of each group."""
    _, numbers = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    order = np.argsort(numbers, kind='stable')
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def _draw(rng: np.random.Generator, count: int, members: list[np.ndarray] | None) -> np.ndarray:
    """Row numbers of a sample with replacement."""
    if members is None:
        return rng.integers(count, size=count)
    return np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
