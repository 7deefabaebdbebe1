"""Finding slides in a folder, and the resolution of those whose file does not say it."""

import csv
import os
from pathlib import Path

SUFFIXES = ('bif', 'czi', 'dcm', 'mrxs', 'ndpi', 'qptiff', 'scn', 'svs', 'svslide', 'tif', 'tiff', 'vms', 'vmu')
"""Suffixes of slide files, in any case."""


def find_slides(root: str | os.PathLike) -> list[Path]:
    """Slides below ``root``, by suffix and through all levels, sorted; ``root`` itself if it is a file.

    Raises:
        FileNotFoundError: ``root`` does not exist.
        ValueError: it holds no slide.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f'{root}: folder of slides not found; correct the path')
    if root.is_file():
        return [root]
    found = [path for path in root.rglob('*') if path.suffix.lower().lstrip('.') in SUFFIXES and path.is_file()]
    found = sorted(path for path in found if not path.name.startswith('.'))
    if not found:
        raise ValueError(f'{root}: no slide in it or below, expected files with a suffix of {", ".join(SUFFIXES)}')
    return found


def read_mpp_table(path: str | os.PathLike) -> dict[str, float]:
    """Read µm per level-0 pixel of slides from a CSV with the columns ``slide`` (file name) and ``mpp``.

    Raises:
        ValueError: a column is missing, a slide is named twice, or an mpp is not a positive number.
    """
    table: dict[str, float] = {}
    with open(path, encoding='utf-8-sig', newline='') as file:
        rows = csv.DictReader(file)
        missing = {'slide', 'mpp'} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f'{path}: columns {rows.fieldnames}, expected slide,mpp; add {", ".join(sorted(missing))}')
        for row in rows:
            name = (row['slide'] or '').strip()
            if name in table:
                raise ValueError(f'{path}: line {rows.line_num} names {name} again; keep one line a slide')
            table[name] = _positive(row['mpp'], f'{path}: line {rows.line_num}')
    return table


def _positive(text: str | None, where: str) -> float:
    try:
        value = float(text or '')
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise ValueError(f'{where}: mpp is {text!r}, expected a positive number of µm per pixel')
    return value
