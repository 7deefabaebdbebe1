"""Finding slides in a folder, and the resolution of those whose file does not say it."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

SUFFIXES = ('bif', 'czi', 'dcm', 'mrxs', 'ndpi', 'qptiff', 'scn', 'svs', 'svslide', 'tif', 'tiff', 'vms', 'vmu')
"""Suffixes of slide files, in any case."""


def find_slides(root: str | os.PathLike) -> list[Path]:
    """Slides below ``root``, by suffix and through all levels but hidden ones, sorted; ``root`` itself if it is a file.

    Of the DICOM files of one series, which are the levels of a slide, its label and so on, the largest stands for all.

    Raises:
        FileNotFoundError: ``root`` does not exist.
        ValueError: it holds no slide, or DICOM files of which pydicom is needed to tell the slides.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f'{root}: folder of slides not found; correct the path')
    if root.is_file():
        return [root]
    found = [path for path in root.rglob('*') if path.suffix.lower().lstrip('.') in SUFFIXES and path.is_file()]
    shown = [path for path in found if not any(part.startswith('.') for part in path.relative_to(root).parts)]
    found = _without_levels(sorted(shown))
    if not found:
        raise ValueError(f'{root}: no slide in it or below, expected files with a suffix of {", ".join(SUFFIXES)}')
    return found


def _without_levels(paths: list[Path]) -> list[Path]:
    """All paths, of DICOM series with several files in a folder only the largest image."""
    dicom = [path for path in paths if path.suffix.lower() == '.dcm']
    if len({path.parent for path in dicom}) == len(dicom):
        return paths
    largest: dict[tuple[Path, str], tuple[int, Path]] = {}
    for path in dicom:
        series, pixels = _series_and_size(path)
        key = path.parent, series
        largest[key] = max(largest.get(key, (-1, path)), (pixels, path), key=lambda entry: entry[0])
    kept = {path for _, path in largest.values()}
    return [path for path in paths if path in kept or path.suffix.lower() != '.dcm']


def _series_and_size(path: Path) -> tuple[str, int]:
    """Series of a DICOM file and number of pixels of its image."""
    try:
        import pydicom
    except ImportError:
        raise ValueError(
            f'{path.parent}: holds several DICOM files, of which pydicom tells the slides; pip install wsidicom'
        ) from None
    names = ['SeriesInstanceUID', 'TotalPixelMatrixColumns', 'TotalPixelMatrixRows']
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=names)
    except (pydicom.errors.InvalidDicomError, OSError) as error:
        raise ValueError(f'{path}: cannot be read as DICOM ({error}); repair or remove it') from error
    return str(data.get(names[0], path)), int(data.get(names[1], 0)) * int(data.get(names[2], 0))


def read_mpp_table(path: str | os.PathLike) -> dict[str, float]:
    """Read µm per level-0 pixel of slides from a CSV with the columns ``slide`` and ``mpp``.

    ``slide`` is the path of a slide below the slide folder, or its bare file name, see :func:`mpp_of`.

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


def mpp_of(table: Mapping[str, float], slide: str, default: float | None = None) -> float | None:
    """What a table of :func:`read_mpp_table` says of a slide.

    Args:
        table: The table.
        slide: Path of the slide below the slide folder, with forward slashes; a line of this name comes before one of
            the bare file name, which stands for slides of this name in all folders.
        default: What is returned where it says nothing.
    """
    return table.get(slide, table.get(slide.rpartition('/')[2], default))


def _positive(text: str | None, where: str) -> float:
    try:
        value = float(text or '')
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise ValueError(f'{where}: mpp is {text!r}, expected a positive number of µm per pixel')
    return value
