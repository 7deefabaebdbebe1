"""Splits into training, validation and test that are stratified by class and keep the images of a patient together."""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from histomm.datasets.patients import tcga_participant


class Split(NamedTuple):
    """Sorted row numbers of the three parts."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_parts(
    labels: np.ndarray, parts: Sequence[int], seed: int = 0, groups: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Cut rows at random into parts of given shares, such as 50, 25 and 25.

    The rows are cut into as many folds as the shares need (4 for 50, 25, 25), and the folds are dealt out. Folds are
    stratified by class, as far as whole groups allow.

    Args:
        labels: (n,) classes, or values, which are not stratified.
        parts: Shares of the parts in any unit, whole numbers above 0.
        seed: Of the draw.
        groups: (n,) names; rows of one name stay together.

    Returns:
        Sorted row numbers of each part; together all rows, none twice.

    Raises:
        ValueError: fewer rows, groups or members of every class than folds.
    """
    if len(parts) < 2 or min(parts) < 1:
        raise ValueError(f'parts are {list(parts)}, expected two or more whole numbers above 0')
    divisor = math.gcd(*parts)
    counts = [part // divisor for part in parts]
    folds = _folds(np.asarray(labels), sum(counts), seed, groups)
    ends = np.cumsum(counts)
    return [np.sort(np.concatenate(folds[end - count : end])) for count, end in zip(counts, ends.tolist(), strict=True)]


def kfold_splits(labels: np.ndarray, folds: int, seed: int = 0, groups: Sequence[str] | None = None) -> Iterator[Split]:
    """Cross-validation: fold i is the test, the next one the validation, the others are for training.

    Args:
        labels: (n,) classes, or values, which are not stratified.
        folds: Number of folds, 3 or more.
        seed: Of the draw.
        groups: (n,) names; rows of one name stay together.
    """
    if folds < 3:
        raise ValueError(f'folds is {folds}, expected 3 or more: one to test, one to validate, the others to train')
    pieces = _folds(np.asarray(labels), folds, seed, groups)
    for test in range(folds):
        val = (test + 1) % folds
        rest = [piece for number, piece in enumerate(pieces) if number not in (test, val)]
        yield Split(np.sort(np.concatenate(rest)), pieces[val], pieces[test])


def label_fraction(rows: np.ndarray, labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """A share of the rows with the classes in proportion, at least one row a class.

    With the same seed, a smaller share lies within a larger one.

    Args:
        rows: Row numbers to choose from.
        labels: (n,) classes of all rows, or values, which are not stratified.
        fraction: In (0, 1].
        seed: Of the draw.

    Returns:
        Chosen row numbers, sorted.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f'fraction is {fraction}, expected a share above 0 and up to 1')
    rows = np.sort(rows)
    kinds = labels[rows] if _is_classes(labels) else np.zeros(len(rows), int)
    chosen = []
    for kind in np.unique(kinds):
        members = np.random.default_rng((seed, int(kind))).permutation(rows[kinds == kind])
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))


def groups_of(names: Sequence[str], rule: str) -> np.ndarray:
    """Group of each image, from its name.

    Args:
        names: Paths or file names.
        rule: 'tcga' for the participant of the barcode, else a regular expression whose first bracket, or whole match,
            is the group.

    Raises:
        ValueError: the rule is no expression, or a name has no group.
    """
    if rule == 'tcga':
        find: Callable[[str], str | None] = tcga_participant
    else:
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise ValueError(f"groups are by {rule!r}, expected 'tcga' or a regular expression ({error})") from error

        def find(name: str) -> str | None:
            match = pattern.search(name)
            return match and match[min(1, pattern.groups)]

    found = [find(str(name)) for name in names]
    without = [name for name, group in zip(names, found, strict=True) if group is None]
    if without:
        raise ValueError(
            f'{len(without)} of {len(found)} names have no group by {rule!r}, such as {without[0]}; correct the rule, '
            'or give groups in a table'
        )
    return np.array(found, dtype=object)


def _folds(labels: np.ndarray, count: int, seed: int, groups: Sequence[str] | None) -> list[np.ndarray]:
    """``count`` disjoint sets of rows of about one size, each sorted."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    available = len(labels) if groups is None else len(set(groups))
    if available < count:
        what = 'rows' if groups is None else 'groups'
        raise ValueError(f'{available} {what} cannot be cut into {count} folds; take fewer folds or rounder shares')
    kinds = {
        (True, False): StratifiedKFold,
        (True, True): StratifiedGroupKFold,
        (False, False): KFold,
        (False, True): GroupKFold,
    }
    classes = _is_classes(labels)
    splitter = kinds[classes, groups is not None](count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The least populated class', UserWarning)
        try:
            return [test for _, test in splitter.split(np.zeros(len(labels)), labels, groups)]
        except ValueError as error:
            raise ValueError(
                f'{len(labels)} rows of {len(np.unique(labels))} classes cannot be cut into {count} folds ({error}); '
                'take fewer folds or rounder shares'
            ) from error


def _is_classes(labels: np.ndarray) -> bool:
    return np.issubdtype(labels.dtype, np.integer)
