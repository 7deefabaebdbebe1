"""BreastPathQ (SPIE 2019): patches with their cellularity."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

from .label_maps import ConversionError
from .nuclei_conversion import list_files

PARTS = {'train': 'train_labels.csv', 'validation': 'val_labels.csv'}
"""Folders of images and the tables of their labels; both parts are split anew."""
PUBLISHED = {'train': 2394, 'validation': 185}


class RatedPatch(NamedTuple):
    """A patch with its label."""

    path: str
    """Relative to the data root."""
    cellularity: float
    """Percent of the area that malignant cells cover, 0 to 100."""
    slide: str


def find_patches(data: Path) -> list[RatedPatch]:
    """Patches of both parts, in the order of the tables; says where their number is not the published one.

    The data root holds ``train``, ``train_labels.csv`` and so on, or one folder ``datasets`` with them.

    Raises:
        ConversionError: missing folders, tables or columns, a row without image, an image without row, one twice, or a
            label that is no number from 0 to 1.
    """
    root = data / 'datasets' if (data / 'datasets').is_dir() else data
    patches: list[RatedPatch] = []
    for part, table in PARTS.items():
        rows = read_table(root / table)
        images = list_files(root / part, ('.tif', '.tiff', '.png'))
        lonely = sorted(rows.keys() - images.keys())
        if lonely:
            raise ConversionError(
                f'{root / table}: {len(lonely)} rows such as {lonely[0]} have no image in {root / part}'
            )
        lonely = sorted(images.keys() - rows.keys())
        if lonely:
            raise ConversionError(f'{len(lonely)} images such as {images[lonely[0]]} have no row in {root / table}')
        if len(rows) != PUBLISHED[part]:
            print(f'note: {part} has {len(rows)} images, the published set has {PUBLISHED[part]}')
        patches += [
            RatedPatch(images[name].relative_to(data).as_posix(), round(100 * value, 6), slide)
            for name, (slide, value) in rows.items()
        ]
    return patches


def read_table(path: Path) -> dict[str, tuple[str, float]]:
    """Name of each image, ``<slide>_<rid>``, to its slide and its label from 0 to 1.

    Raises:
        ConversionError: no such file, no columns slide, rid and y, a row twice, or a label out of range.
    """
    if not path.is_file():
        raise ConversionError(f'{path} is missing, expected a table with the columns slide, rid and y; add it')
    rows: dict[str, tuple[str, float]] = {}
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        if not {'slide', 'rid', 'y'} <= set(reader.fieldnames or ()):
            raise ConversionError(f'{path} has the columns {reader.fieldnames}, expected slide, rid and y')
        for row in reader:
            name = f'{row["slide"]}_{row["rid"]}'
            try:
                value = float(row['y'] or 'nan')
            except ValueError:
                value = math.nan
            if not 0 <= value <= 1:
                raise ConversionError(f'{path}: {name} has y={row["y"]!r}, expected a number from 0 to 1; correct it')
            if name in rows:
                raise ConversionError(f'{path}: {name} is there twice; keep one of the rows')
            rows[name] = row['slide'], value
    return rows
