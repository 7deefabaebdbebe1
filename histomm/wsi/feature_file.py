"""Opening feature files, HDF5 or zarr, and reading the bag of a slide from one.

Features stand in the data set ``features`` (n, D), as histomm and CLAM have it, or ``feats``, as STAMP has it; where
the tiles lie in ``coords`` (n, 2).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .slide_files import SUFFIXES as SLIDE_SUFFIXES

SUFFIXES = ('.h5', '.hdf5', '.zarr')
"""What feature files may end in: HDF5, or a zarr folder."""

KEYS = ('features', 'feats')
"""Names of the data set that holds the features, the first that is there."""


def check_path(path: str | Path) -> Path:
    """The path, if it has one of :data:`SUFFIXES`; raises ``ValueError`` otherwise."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path} has the suffix {path.suffix!r}, expected one of {", ".join(SUFFIXES)}')
    return path


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The file, to be read like a dict of arrays with the attributes ``attrs``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or no HDF5.
        ModuleNotFoundError: zarr is needed and not installed.
    """
    path = check_path(path)
    if not path.exists():
        raise FileNotFoundError(f'feature file {path} does not exist; write it with tools/extract_features.py')
    if path.suffix == '.zarr':
        yield import_zarr().open_group(str(path), mode='r')
        return
    import h5py

    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise ValueError(f'{path} cannot be read as HDF5 ({error}); is it a feature file, and complete?') from error
    with file:
        yield file


def import_zarr() -> Any:
    """The module zarr, or ``ModuleNotFoundError`` that says what to install."""
    try:
        import zarr
    except ImportError as error:
        raise ModuleNotFoundError(
            'feature files that end in .zarr need zarr, which is not installed; run `pip install zarr`, or write .h5',
            name='zarr',
        ) from error
    return zarr


def slide_stem(name: str) -> str:
    """Name of a slide without the suffix of a slide file; barcodes have dots of their own, which stay."""
    stem, dot, suffix = name.rpartition('.')
    return stem if dot and stem and suffix.lower() in SLIDE_SUFFIXES else name


def find_bag(root: Path, slide: str) -> Path | None:
    """Feature file of a slide: ``SLIDE.h5``, or ``SLIDE/features.h5``, with any of :data:`SUFFIXES`.

    Args:
        root: Folder of the feature files.
        slide: Name of the slide, with or without the suffix of its file.

    Returns:
        The file; ``None`` if there is none.

    Raises:
        ValueError: there are several.
    """
    stem = slide_stem(slide)
    places = [root / f'{stem}{suffix}' for suffix in SUFFIXES]
    places += [root / stem / f'features{suffix}' for suffix in SUFFIXES]
    found = [path for path in places if path.exists()]
    if len(found) > 1:
        raise ValueError(f'{found[0]} and {found[1]} are both of slide {slide}; keep one of them')
    return found[0] if found else None


def bag_shape(path: str | Path) -> tuple[int, int]:
    """Instances n and width D of the features of a file, without reading them.

    Raises:
        ValueError: no features, or none of the shape (n, D).
    """
    with opened(path) as file:
        return _shape(file, path)


def read_bag(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (n, D) float32 and coordinates (n, 2) of a file; ``None`` for coordinates that it does not have.

    Raises:
        ValueError: no features, other shapes, no instance, or numbers that are not finite.
    """
    with opened(path) as file:
        count, _ = _shape(file, path)
        features = np.asarray(file[_key(file, path)][:], np.float32)
        coords = np.asarray(file['coords'][:]) if 'coords' in file else None
    if not count:
        raise ValueError(f'{path} has no instance, expected one or more; leave the slide out of the table')
    if coords is not None and coords.shape != (count, 2):
        raise ValueError(f'{path}: coords are {coords.shape}, expected ({count}, 2) as there are {count} features')
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(
            f'{path}: {int((~finite).sum())} of {count} features are not finite, first that of row '
            f'{int(finite.argmin())}; expected numbers, extract them anew'
        )
    return features, coords


def _key(file: Any, path: str | Path) -> str:
    for key in KEYS:
        if key in file:
            return key
    raise ValueError(f'{path} has no data set {" or ".join(KEYS)}, found {sorted(file)}; is it a feature file?')


def _shape(file: Any, path: str | Path) -> tuple[int, int]:
    shape = tuple(file[_key(file, path)].shape)
    if len(shape) != 2:
        raise ValueError(f'{path}: features are {shape}, expected (n, D)')
    return shape
