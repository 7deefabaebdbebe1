"""The table of slides, and the folds that cut it into training, validation and test."""

import csv
import io
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from histomm.atomic_file import write_atomic
from histomm.datasets.patients import PatientOverlapError, some, tcga_participant
from histomm.wsi.feature_file import slide_stem

PARTS = ('train', 'val', 'test')
"""Columns of a fold."""

_NAMES = {'slide': ('slide', 'slide_id'), 'patient': ('patient', 'case_id')}
"""Columns as histomm has them, and as CLAM has them."""


class SlideRow(NamedTuple):
    """A slide with what is known of it."""

    slide: str
    """Name without the suffix of a slide file."""
    patient: str
    label: str | None
    time: float | None
    """Until the event, or until the patient was last seen, in any unit."""
    event: int | None
    """1 if the event was seen, 0 if not."""


def read_slide_table(path: str | Path, survival: bool = False) -> list[SlideRow]:
    """Read a CSV with a header: ``slide``, ``patient``, and ``label``, or ``time`` and ``event``.

    CLAM's names ``slide_id`` and ``case_id`` will do. Without a column of patients, a patient is the TCGA participant
    that the slide's name tells, else the slide itself.

    Args:
        path: The table.
        survival: Read ``time`` and ``event`` in place of ``label``.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a missing column, an empty or impossible value, a slide twice, or no slides.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'table of slides {path} does not exist, expected a CSV slide,patient,label; write it, or correct the path'
        )
    wanted = ('time', 'event') if survival else ('label',)
    with open(path, encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file)
        columns = {name: next((c for c in known if c in (reader.fieldnames or ())), None)
                   for name, known in {**_NAMES, **{name: (name,) for name in wanted}}.items()}  # fmt: skip
        missing = [name for name, column in columns.items() if column is None and name != 'patient']
        if missing:
            raise ValueError(f'{path} has the columns {reader.fieldnames}, expected {missing[0]} among them; add it')
        rows = [_row(row, columns, path) for row in reader]
    twice = [slide for slide, count in Counter(row.slide for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f'{path}: {twice[0]} is there twice; keep one of the rows')
    if not rows:
        raise ValueError(f'{path} has no slides, expected a row for each')
    return rows


def _row(row: Mapping[str, str], columns: Mapping[str, str | None], path: str | Path) -> SlideRow:
    values = {name: (row[column] or '').strip() for name, column in columns.items() if column}
    slide = slide_stem(values['slide'])
    empty = [name for name, value in values.items() if not value]
    if empty:
        raise ValueError(f'{path}: slide {slide!r} has no {empty[0]}; add it, or leave the row out')
    patient = values.get('patient') or tcga_participant(slide) or slide
    if 'time' not in values:
        return SlideRow(slide, patient, values['label'], None, None)
    time = _number(values['time'])
    if not time > 0:
        raise ValueError(f'{path}: slide {slide} has time={values["time"]!r}, expected a number above 0; correct it')
    if values['event'] not in ('0', '1', '0.0', '1.0'):
        raise ValueError(f'{path}: slide {slide} has event={values["event"]!r}, expected 0 or 1; correct it')
    return SlideRow(slide, patient, None, time, int(float(values['event'])))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def read_fold(path: str | Path) -> dict[str, list[str]]:
    """Slides of each of :data:`PARTS`, from a CSV with a column for each, such as ``splits_0.csv`` of CLAM and HIPT.

    Columns may be of different lengths; names may have the suffix of a slide file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a missing column, an empty part, or a slide twice.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'fold {path} does not exist, expected a CSV train,val,test; draw folds with tools/split_slides.py'
        )
    with open(path, encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file)
        missing = set(PARTS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f'{path} has the columns {reader.fieldnames}, expected train, val and test')
        rows = list(reader)
    fold = {part: [slide_stem(row[part].strip()) for row in rows if (row[part] or '').strip()] for part in PARTS}
    for part, slides in fold.items():
        if not slides:
            raise ValueError(f'{path} has no slide in {part}, expected one or more')
    twice = [slide for slide, count in Counter(name for part in PARTS for name in fold[part]).items() if count > 1]
    if twice:
        raise ValueError(f'{path}: {twice[0]} is there twice; keep it in one part')
    return fold


def write_fold(path: str | Path, fold: Mapping[str, Sequence[str]]) -> None:
    """Write a fold as :func:`read_fold` reads it, with the numbers of the lines in a first column, as CLAM has it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(('', *PARTS))
    lines = itertools.zip_longest(*(fold[part] for part in PARTS), fillvalue='')
    table.writerows((number, *line) for number, line in enumerate(lines))
    write_atomic(text.getvalue().encode(), path)


def check_patients(fold: Mapping[str, Iterable[str]], patients: Mapping[str, str], source: str | Path) -> None:
    """Assert that the slides of a patient are in one part.

    Args:
        fold: Slides of each part.
        patients: Patient of each slide; slides that are not in it do not count.
        source: What to call the fold.

    Raises:
        PatientOverlapError: slides of one patient are in several parts.
    """
    parts: dict[str, set[str]] = {}
    for part, slides in fold.items():
        for slide in slides:
            if slide in patients:
                parts.setdefault(patients[slide], set()).add(part)
    shared = [patient for patient, found in parts.items() if len(found) > 1]
    if shared:
        raise PatientOverlapError(
            f'{source}: {len(shared)} of {len(parts)} patients have slides in several parts, such as {some(shared)}, '
            "expected one part for each; draw folds with tools/split_slides.py, or set patient_overlap='warn'"
        )


def check_classes(labels: Sequence[str], classes: Sequence[str], source: str) -> None:
    """Assert that every class is there, and no other.

    Args:
        labels: Of the bags.
        classes: All that there should be.
        source: What to call the bags.

    Raises:
        ValueError: one is missing or unknown.
    """
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise ValueError(f'{source} has the label {unknown[0]!r}, expected one of {tuple(classes)}; set classes')
    absent = [name for name in classes if name not in set(labels)]
    if absent:
        raise ValueError(
            f'{source} has no slide of {absent[0]}, expected some of each of {tuple(classes)}; draw other folds'
        )
