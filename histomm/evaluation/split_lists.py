"""Lists of training, validation and test images, and of draws of a share of the training images, as files."""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histomm.datasets.conversion import DRAWS, FRACTIONS, claim
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.splits import label_fraction, split_parts

PARTS = {'train': 50, 'val': 25, 'test': 25}
"""Shares of the parts, of Ciga et al. 2022."""
SUMMARY = 'summary.csv'


class Sample(NamedTuple):
    """An image with what is known of it."""

    path: str
    """Relative to the data root, with forward slashes."""
    label: str | float
    """Class, or a number to predict."""
    group: str = ''
    """Patient, slide or core; images of one group stay together where the split is by group."""


def draw_lists(
    samples: Sequence[Sample],
    seed: int,
    by_group: bool = False,
    parts: Mapping[str, int] | None = None,
    portions: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Rows of each list: the parts, stratified by class, and ``train_<percent>_<draw>`` for each share and draw.

    With ``portions`` those of shares and draws are replaced by ``train_<n>_each``, n images of each class.

    Within a draw a smaller share lies in a larger one, and each class has one image or more.

    Args:
        samples: All of them; labels are classes, or all numbers, which are not stratified.
        seed: Of the split; draw d of a share has ``seed + d``.
        by_group: Keep the samples of a group together.
        parts: Shares of the parts, the first being the training part; :data:`PARTS` by default.
        portions: Images of each class in further training lists.

    Raises:
        ConversionError: fewer than two parts, a share below 1, too few samples or groups, a class with fewer training
            images than a portion, a path twice, or a sample without group where groups are kept.
    """
    parts = parts or PARTS
    twice = [path for path, count in Counter(sample.path for sample in samples).items() if count > 1]
    if twice:
        raise ConversionError(f'{twice[0]} is there twice; keep one of them')
    bare = [sample.path for sample in samples if by_group and not sample.group]
    if bare:
        raise ConversionError(f'{bare[0]} has no group, expected one of every image; split by image')
    labels = np.array([sample.label for sample in samples])
    if labels.dtype.kind not in 'f':
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    groups = [sample.group for sample in samples] if by_group else None
    if len(parts) < 2 or min(parts.values()) < 1:
        raise ConversionError(f'the shares of the parts are {dict(parts)}, expected two or more, each of 1 or more')
    try:
        rows = dict(zip(parts, split_parts(labels, list(parts.values()), seed, groups), strict=True))
    except ValueError as error:
        raise ConversionError(f'{len(samples)} images are too few to split: {error}') from error
    first = next(iter(parts))
    for count in portions:
        rows[f'{first}_{count}_each'] = _portion(rows[first], labels, count, seed, samples)
    for percent in () if portions else FRACTIONS:
        for draw in range(DRAWS):
            rows[f'{first}_{percent}_{draw}'] = label_fraction(rows[first], labels, percent / 100, seed + draw)
    return rows


def _portion(rows: np.ndarray, labels: np.ndarray, count: int, seed: int, samples: Sequence[Sample]) -> np.ndarray:
    """``count`` of the rows of each class, sorted; a smaller portion lies in a larger one."""
    if count < 1 or labels.dtype.kind == 'f':
        raise ConversionError(f'a portion is {count} images of each class, expected 1 or more, and classes')
    chosen = []
    for kind in np.unique(labels):
        members = np.random.default_rng((seed, int(kind))).permutation(rows[labels[rows] == kind])
        if len(members) < count:
            label = samples[int(np.flatnonzero(labels == kind)[0])].label
            raise ConversionError(
                f'{label} has {len(members)} training images, expected {count} or more for the portion of {count}; '
                'give smaller portions, or complete the data'
            )
        chosen.append(members[:count])
    return np.sort(np.concatenate(chosen))


def write_lists(
    out: Path,
    samples: Sequence[Sample],
    recipe: Mapping[str, Any],
    seed: int,
    by_group: bool = False,
    parts: Mapping[str, int] | None = None,
    portions: Sequence[int] = (),
) -> None:
    """Draw and write the lists into ``out``, whole or not at all, and say what is in them.

    Each is ``<name>.csv`` with the columns path, label and group. Beside them lie ``summary.csv``, how many images and
    groups each list has, and of which classes, and ``conversion.json``, from what the lists were drawn.

    Args:
        out: New or empty folder, or one that this function made of the same images and options.
        samples: As in :func:`draw_lists`, and so are ``seed``, ``by_group``, ``parts`` and ``portions``.
        recipe: What else the lists depend on, as JSON has it; ``dataset`` names the converter.

    Raises:
        ConversionError: see :func:`draw_lists`; another content of ``out``.
    """
    parts = dict(parts or PARTS)
    rows = draw_lists(samples, seed, by_group, parts, portions)
    digest = hashlib.sha256('\n'.join(f'{s.path}\t{s.label}\t{s.group}' for s in samples).encode()).hexdigest()
    made_of = dict(images=len(samples), sha256_of_images=digest, seed=seed, by_group=by_group, parts=parts)
    if portions:
        made_of['portions'] = list(portions)
    partial = claim(out, dict(version=1, **recipe, **made_of))
    if partial is None:
        print(f'{out} holds these lists already')
        return
    for name, chosen in rows.items():
        write_table(partial / f'{name}.csv', Sample._fields, [samples[row] for row in chosen.tolist()])
    numbers = any(isinstance(sample.label, float) for sample in samples)
    classes = [] if numbers else sorted({str(sample.label) for sample in samples})
    table = [(name, *_count([samples[row] for row in chosen.tolist()], classes)) for name, chosen in rows.items()]
    write_table(partial / SUMMARY, ('list', 'images', 'groups', *classes), table)
    partial.replace(out)
    for name, images, groups, *counts in table[: len(parts)]:
        found = [f'{count} {label}' for label, count in zip(classes, counts, strict=True)]
        kept = f' of {groups} groups' if groups else ''
        print(f'{out / name}.csv: {images} images{kept}{": " if found else ""}{", ".join(found)}')
        absent = [label for label, count in zip(classes, counts, strict=True) if not count]
        if absent:
            print(f'note: {name} has no image of {", ".join(absent)}; draw with another --seed')
    shared = _shared_groups(samples, [rows[name] for name in parts])
    if shared:
        print(f'note: {shared} groups are in more than one part, as the split is by image')


def _count(samples: Sequence[Sample], classes: Sequence[str]) -> tuple[int, ...]:
    labels = Counter(str(sample.label) for sample in samples)
    groups = {sample.group for sample in samples if sample.group}
    return len(samples), len(groups), *(labels[name] for name in classes)


def _shared_groups(samples: Sequence[Sample], parts: Sequence[np.ndarray]) -> int:
    found = Counter(name for part in parts for name in {samples[row].group for row in part.tolist()} - {''})
    return sum(count > 1 for count in found.values())


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with a header."""
    with open(path, 'w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(header)
        table.writerows(rows)
