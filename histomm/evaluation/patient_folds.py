"""Five folds of the patients of BreakHis, stratified by subtype, as a table and as lists (Chhipa et al. 2023).

A table has a row for each patient's folder. Fold k tests on the patients of fold k, validates on those of fold k + 1 (0
after 4) and trains on the others: test_20, val_20 and train_60. The patients of each fold are cut into two halves; half
0 of the validation is val_10, and half 1 joins the training as train_70.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histomm.datasets.breakhis import BreakHisName, parse_folder, parse_name
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.splits import kfold_splits, split_parts

FOLDS = 5
PARTS = ('train_60', 'val_20', 'test_20', 'train_70', 'val_10')
PATIENTS = ('patient', 'case')
"""What stays together: year, number and letters of the slide, or year and number alone."""


class FoldRow(NamedTuple):
    """Where the images of a patient's folder go."""

    folder: str
    """Such as ``SOB_M_DC_14-13412``."""
    subtype: str
    """Key of :data:`~histomm.datasets.breakhis.SUBTYPES`."""
    fold: int
    """Fold that tests on it, 0 to 4."""
    half: int
    """Half of the fold, 0 or 1."""


def draw_folds(folders: Iterable[str], group_by: str = 'patient', seed: int = 0) -> list[FoldRow]:
    """Deal patients out to folds, and those of each fold to two halves, stratified by subtype.

    A patient with folders of several subtypes, such as 14-13412, counts for the one with the fewest patients.

    Args:
        folders: Names of patients' folders.
        group_by: One of :data:`PATIENTS`.
        seed: Of the draw.

    Returns:
        Rows in order of subtype and folder.

    Raises:
        ConversionError: a name that is no patient's folder, or fewer than five patients of every subtype.
    """
    found = {name: parse_folder(name) for name in sorted(set(folders))}
    subtypes = defaultdict(set)
    for name in found.values():
        subtypes[name.subtype].add(getattr(name, group_by))
    strata: dict[str, str] = {}
    for name in sorted(found.values(), key=lambda name: (len(subtypes[name.subtype]), name.subtype)):
        strata.setdefault(getattr(name, group_by), name.subtype)
    patients = sorted(strata)
    labels = np.unique([strata[patient] for patient in patients], return_inverse=True)[1].astype(np.int64)
    places: dict[str, tuple[int, int]] = {}
    try:
        for fold, split in enumerate(kfold_splits(labels, FOLDS, seed)):
            for half, rows in enumerate(split_parts(labels[split.test], (1, 1), seed)):
                places |= {patients[row]: (fold, half) for row in split.test[rows].tolist()}
    except ValueError as error:
        raise ConversionError(
            f'{len(patients)} patients are too few for {FOLDS} folds stratified by subtype, expected {FOLDS} or more '
            'of a subtype, and two of a subtype in each fold; give more of the data set, or a table of folds'
        ) from error
    rows = [FoldRow(folder, name.subtype, *places[getattr(name, group_by)]) for folder, name in found.items()]
    return sorted(rows, key=lambda row: (row.subtype, row.folder))


def read_folds(path: Path, group_by: str = 'patient') -> list[FoldRow]:
    """Read and check a table with the columns folder, subtype, fold and half.

    Raises:
        ConversionError: another header, a bad value, or what :func:`check_folds` refuses.
    """
    with open(path, newline='') as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != FoldRow._fields:
            found = ', '.join(table.fieldnames or ['none'])
            raise ConversionError(f'{path} has the columns {found}, expected {", ".join(FoldRow._fields)}; correct it')
        lines = list(table)
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            subtype = parse_folder(line['folder']).subtype
        except ConversionError as error:
            raise ConversionError(f'{path}, line {number}: {error}') from error
        if line['subtype'] != subtype or line['fold'] not in tuple('01234') or line['half'] not in tuple('01'):
            raise ConversionError(
                f'{path}, line {number}: found {",".join(str(value) for value in line.values())}, expected the subtype '
                f'{subtype} of the folder, a fold from 0 to {FOLDS - 1} and a half of 0 or 1; correct it'
            )
        rows.append(FoldRow(line['folder'], subtype, int(line['fold']), int(line['half'])))
    check_folds(rows, str(path), group_by)
    return rows


def check_folds(rows: Sequence[FoldRow], source: str, group_by: str = 'patient') -> None:
    """Raise where a patient or folder is in two places.

    Args:
        rows: Of a table.
        source: Name of the table, for the message.
        group_by: One of :data:`PATIENTS`.

    Raises:
        ConversionError: naming patient and folds.
    """
    twice = [folder for folder, count in Counter(row.folder for row in rows).items() if count > 1]
    if twice:
        raise ConversionError(f'{source} names {twice[0]} twice; keep one of the rows')
    first: dict[str, FoldRow] = {}
    for row in rows:
        patient = getattr(parse_folder(row.folder), group_by)
        other = first.setdefault(patient, row)
        for what in ('fold', 'half'):
            one, two = getattr(other, what), getattr(row, what)
            if one != two:
                where = '' if what == 'fold' else f' of fold {row.fold}'
                raise ConversionError(
                    f'{source}: patient {patient} is in {what} {one} ({other.folder}) and in {what} {two} '
                    f'({row.folder}){where}, expected one {what} for a patient; correct the table'
                )


def check_lists(lists: Mapping[str, Iterable[str]], group_by: str = 'patient') -> dict[str, int]:
    """Raise where two lists of images share a patient.

    Args:
        lists: Name of a list to the paths in it.
        group_by: One of :data:`PATIENTS`.

    Returns:
        Patients of each list.

    Raises:
        ConversionError: naming patient, images and lists; or a name that is none of BreakHis.
    """
    first: dict[str, tuple[str, str]] = {}
    for source, paths in lists.items():
        for path in paths:
            patient = getattr(parse_name(Path(path).name), group_by)
            other, image = first.setdefault(patient, (source, path))
            if other != source:
                raise ConversionError(
                    f'patient {patient} is in {other} ({image}) and in {source} ({path}), expected one list for a '
                    'patient; take the images out of one of them'
                )
    return {source: sum(found == source for found, _ in first.values()) for source in lists}


def parts_of_fold(rows: Iterable[FoldRow], fold: int) -> dict[str, set[str]]:
    """Folders of each of :data:`PARTS` in a fold."""
    parts: dict[str, set[str]] = {name: set() for name in PARTS}
    for row in rows:
        if row.fold == fold:
            names = ('test_20',)
        elif row.fold == (fold + 1) % FOLDS:
            names = ('val_20', 'train_70' if row.half else 'val_10')
        else:
            names = ('train_60', 'train_70')
        for name in names:
            parts[name].add(row.folder)
    return parts


def fold_lists(images: Mapping[str, BreakHisName], rows: Sequence[FoldRow], source: str) -> dict[str, list[str]]:
    """Images of each list: ``fold0/train_60``, and ``fold0/train_60_40X`` for each magnification that is in it.

    Args:
        images: Path to what its name says.
        rows: Of a table.
        source: Name of the table, for the message.

    Raises:
        ConversionError: an image of a folder that the table does not have, or a list without images.
    """
    known = {row.folder for row in rows}
    strange = [path for path, name in images.items() if name.folder not in known]
    if strange:
        folder = images[strange[0]].folder
        raise ConversionError(
            f'{source} has no row for {folder}, of which {strange[0]} is ({len(strange)} images of folders without a '
            'row); add it, or draw folds of these images without a table'
        )
    lists: dict[str, list[str]] = {}
    for fold in range(FOLDS):
        for part, folders in parts_of_fold(rows, fold).items():
            paths = [path for path, name in images.items() if name.folder in folders]
            lists[f'fold{fold}/{part}'] = paths
            for number in sorted({images[path].magnification for path in paths}):
                at = [path for path in paths if images[path].magnification == number]
                lists[f'fold{fold}/{part}_{number}X'] = at
    empty = [name for name, paths in lists.items() if not paths]
    if empty:
        raise ConversionError(
            f'{len(empty)} lists would have no image, such as {empty[0]}; give more of the data set, or a table of '
            'folds of these images'
        )
    return lists
