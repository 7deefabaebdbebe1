"""Feature files: one vector a patch, in HDF5 or zarr, written so that a killed extraction goes on where it was.

A file holds ``features`` (n, D) float32, ``names`` (n), and where they exist ``coords`` (n, 2) int64, the top left
corner of a tile in pixels of level 0, ``labels`` (n) and ``classes``. The attribute ``settings`` is the JSON of all
that decides the features, ``provenance`` that of who made them and with what.

While features are computed, finished parts lie in a hidden folder beside the file, each written whole or not at all;
the file itself appears at the end, under its name only when it is complete.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histomm.atomic_file import atomic_folder, remove_partial, remove_partial_of, write_atomic
from histomm.wsi.feature_file import check_path, import_zarr, opened

_ROWS = 65536  # of features copied at a time


class FeatureSet(NamedTuple):
    """The content of a feature file."""

    features: np.ndarray
    """(n, D) float32."""
    names: np.ndarray
    """(n,) of str: path of an image below its folder, or file name of the slide of a tile."""
    coords: np.ndarray | None
    """(n, 2) int64: x, y of the top left corner of a tile in pixels of level 0; ``None`` for images."""
    labels: np.ndarray | None
    """(n,) int64 classes or float64 values; ``None`` without labels."""
    classes: tuple[str, ...] | None
    """Names of the classes, in the order of their numbers."""
    settings: dict
    """All that decides the features: model, weights, preprocessing, data."""
    provenance: dict
    """Versions, commit and checkpoint file."""


class FeatureWriter:
    """Collects the parts of a feature file, and finds those again that an earlier run has finished.

    Args:
        path: The file, with one of :data:`~histomm.wsi.feature_file.SUFFIXES`.
        settings: What decides the features. JSON; a run with others is refused.
        total: Number of rows n.
        rows: Rows of a part; the last may have fewer.

    Raises:
        ValueError: another suffix, or the file or its parts were made with other settings.
    """

    def __init__(self, path: str | Path, settings: dict, total: int, rows: int) -> None:
        self.path = check_path(path)
        self.settings = json.loads(json.dumps(settings))
        self.total, self.rows = total, rows
        self.folder = self.path.with_name(f'.{self.path.name}.parts')
        self.complete = self.path.exists()
        if self.complete:
            _check_same(read_settings(self.path), self.settings, self.path)
        else:
            self._open_parts()

    def _open_parts(self) -> None:
        record = self.folder / 'settings.json'
        wanted = {**self.settings, 'rows of a part': self.rows}
        if record.is_file():
            _check_same(json.loads(record.read_text(encoding='utf-8')), wanted, self.folder)
            remove_partial(self.folder)
        else:
            write_atomic(json.dumps(wanted, ensure_ascii=False, indent=1).encode(), record)

    def spans(self) -> list[tuple[int, int]]:
        """First row and row after the last of every part."""
        return [(start, min(start + self.rows, self.total)) for start in range(0, self.total, self.rows)]

    def missing(self) -> list[tuple[int, int]]:
        """Those of :meth:`spans` that no run has finished."""
        return [] if self.complete else [span for span in self.spans() if not self._part(span[0]).is_file()]

    def write(self, start: int, features: np.ndarray) -> None:
        """Keep the features (rows, D) of the part that begins with row ``start``."""
        if not np.isfinite(features).all():
            row = start + int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise ValueError(
                f'{self.path}: the features of row {row} are not finite, expected numbers; are the weights whole, and '
                'does the model bear the precision?'
            )
        with _bytes_of(np.ascontiguousarray(features, np.float32)) as data:
            write_atomic(data, self._part(start))

    def finish(
        self,
        names: Sequence[str],
        coords: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        classes: Sequence[str] | None = None,
        provenance: dict | None = None,
    ) -> None:
        """Put the parts together, give the file its name and remove the parts.

        Raises:
            RuntimeError: parts are missing.
        """
        if self.complete:
            return
        if self.missing():
            raise RuntimeError(f'{self.path}: {len(self.missing())} of {len(self.spans())} parts are missing')
        columns = dict(names=np.array(names, dtype=object), coords=coords, labels=labels)
        attributes = dict(
            settings=json.dumps(self.settings, ensure_ascii=False),
            provenance=json.dumps(provenance or {}, ensure_ascii=False),
        )
        if classes is not None:
            attributes['classes'] = json.dumps(list(classes), ensure_ascii=False)
        parts = [np.load(self._part(start), mmap_mode='r') for start, _ in self.spans()]
        writer = _write_zarr if self.path.suffix == '.zarr' else _write_hdf5
        writer(self.path, parts, self.total, columns, attributes)
        shutil.rmtree(self.folder)
        self.complete = True

    def _part(self, start: int) -> Path:
        return self.folder / f'{start:012d}.npy'


def read_features(path: str | Path) -> FeatureSet:
    """Read a whole feature file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a feature file.
    """
    with opened(path) as file:
        if 'features' not in file:
            raise ValueError(f'{path} has no data set `features`, found {sorted(file)}; is it a feature file?')
        features = np.asarray(file['features'][:], np.float32)
        names = _strings(file['names'][:]) if 'names' in file else np.array([''] * len(features), dtype=object)
        coords = np.asarray(file['coords'][:]) if 'coords' in file else None
        labels = np.asarray(file['labels'][:]) if 'labels' in file else None
        attributes = dict(file.attrs)
    if features.ndim != 2 or any(part is not None and len(part) != len(features) for part in (names, coords, labels)):
        raise ValueError(f'{path}: features are {features.shape}, expected (n, D) and names, coords, labels of n rows')
    classes = json.loads(attributes['classes']) if 'classes' in attributes else None
    return FeatureSet(
        features,
        names,
        coords,
        labels,
        tuple(classes) if classes is not None else None,
        json.loads(attributes.get('settings', '{}')),
        json.loads(attributes.get('provenance', '{}')),
    )


def join_features(contents: Sequence[FeatureSet]) -> FeatureSet:
    """The rows of several files in their order; settings are those of the first.

    Raises:
        ValueError: the files were made with other weights or preprocessing, or only some have coordinates or labels.
    """
    first = contents[0]
    for content in contents[1:]:
        for name in ('weights', 'preprocessing', 'feature'):
            if content.settings.get(name) != first.settings.get(name):
                raise ValueError(f'feature files differ in {name}; join those of one model only')
        kinds = [[part is not None for part in (one.coords, one.labels)] for one in (first, content)]
        if kinds[0] != kinds[1] or content.classes != first.classes:
            raise ValueError('only some of the feature files have coordinates, labels or these classes; join like ones')

    def joined(field: str) -> np.ndarray | None:
        parts = [getattr(content, field) for content in contents]
        return None if parts[0] is None else np.concatenate(parts)

    return first._replace(**{field: joined(field) for field in ('features', 'names', 'coords', 'labels')})


def read_settings(path: str | Path) -> dict:
    """The settings of a feature file, without its features."""
    with opened(path) as file:
        return json.loads(file.attrs.get('settings', '{}'))


def _write_hdf5(path: Path, parts: list[np.ndarray], total: int, columns: dict, attributes: dict) -> None:
    import h5py

    from histomm.wsi.hdf5_file import atomic_hdf5

    with atomic_hdf5(path) as (file, _):
        width = parts[0].shape[1] if parts else 0
        features = file.create_dataset('features', (total, width), np.float32)
        for start, block in _blocks(parts):
            features[start : start + len(block)] = block
        for name, values in columns.items():
            if values is not None:
                text = h5py.string_dtype() if name == 'names' else None
                file.create_dataset(name, data=values, dtype=text)
        file.attrs.update(attributes)


def _write_zarr(path: Path, parts: list[np.ndarray], total: int, columns: dict, attributes: dict) -> None:
    remove_partial_of(path)
    with atomic_folder(path) as partial:
        group = import_zarr().open_group(str(partial), mode='w', zarr_format=2)
        width = parts[0].shape[1] if parts else 0
        chunks = (max(1, min(total, 4096)), max(1, width))
        features = group.create_array('features', shape=(total, width), dtype='float32', chunks=chunks)
        for start, block in _blocks(parts):
            features[start : start + len(block)] = block
        for name, values in columns.items():
            if values is not None:
                # Text of a fixed width, in the second format, is what all versions of zarr read.
                data = np.array([str(value) for value in values]) if name == 'names' else values
                group.create_array(name, data=data)
        group.attrs.update(attributes)


def _blocks(parts: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for part in parts:
        for first in range(0, len(part), _ROWS):
            block = np.asarray(part[first : first + _ROWS])
            yield start, block
            start += len(block)


@contextmanager
def _bytes_of(array: np.ndarray) -> Iterator[bytes]:
    import io

    with io.BytesIO() as buffer:
        np.save(buffer, array)
        yield buffer.getvalue()


def _strings(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values], dtype=object)


def _check_same(found: dict, wanted: dict, path: Path) -> None:
    """Raise ``ValueError`` naming the first setting that differs."""
    for name in {**wanted, **found}:
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f'{path} was made with {name} = {found.get(name)!r}, this run has {wanted.get(name)!r}; features of '
                'both cannot be mixed: name another file, or remove this one'
            )
