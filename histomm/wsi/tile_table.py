"""The table of tiles: one row a tile, where it lies on which slide, written as parquet."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histomm.atomic_file import atomic_path

SETTINGS = b'histomm.settings'
"""Key of the settings in the metadata of the file, JSON in UTF-8."""

_SCHEMA = pa.schema(
    [
        ('slide', pa.dictionary(pa.int32(), pa.string())),
        ('x', pa.int64()),
        ('y', pa.int64()),
        ('size', pa.int32()),
        ('mpp', pa.float64()),
        ('foreground', pa.float32()),
    ]
)


@dataclass(frozen=True)
class TileTable:
    """Tiles of slides, n rows; a row is a square of ``size`` px at ``mpp``, its top left corner at level-0 px (x, y).

    Attributes:
        slide: (n,) str objects, file name of the slide relative to the slide folder, with forward slashes.
        x: (n,) int64, left border in level-0 px.
        y: (n,) int64, top border in level-0 px.
        size: (n,) int32, side in px at ``mpp``.
        mpp: (n,) float64, resolution of the tile in µm per px.
        foreground: (n,) float32, share of the tile that is tissue, 0..1.
        settings: What the table was made with, as JSON has it.
    """

    slide: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    mpp: np.ndarray
    foreground: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _SCHEMA.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f'the columns of a tile table have different lengths, {lengths}, expected the same')

    def __len__(self) -> int:
        return len(self.x)

    @property
    def slides(self) -> list[str]:
        """Names of the slides that have tiles, sorted."""
        return sorted(set(self.slide.tolist()))

    def select(self, rows: np.ndarray) -> 'TileTable':
        """The rows of an index or a boolean array, with the same settings."""
        return TileTable(**{name: getattr(self, name)[rows] for name in _SCHEMA.names}, settings=self.settings)

    def by_slide(self) -> Iterator[tuple[str, 'TileTable']]:
        """Each slide that has tiles, by name, with its rows in their order."""
        order = np.argsort(self.slide, kind='stable')
        names, starts = np.unique(self.slide[order], return_index=True)
        for name, start, end in zip(names, starts, [*starts[1:], len(order)], strict=False):
            yield str(name), self.select(order[start:end])


def tiles_of_slide(
    slide: str, xy: np.ndarray, size: int, mpp: float, foreground: np.ndarray, settings: dict | None = None
) -> TileTable:
    """Table of the tiles of one slide.

    Args:
        slide: Its name.
        xy: (n, 2), top left corners in level-0 px.
        size: Side in px at ``mpp``.
        mpp: µm per px.
        foreground: (n,), 0..1.
        settings: What they were made with.
    """
    count = len(xy)
    return TileTable(
        slide=np.full(count, slide, dtype=object),
        x=np.asarray(xy[:, 0], np.int64),
        y=np.asarray(xy[:, 1], np.int64),
        size=np.full(count, size, np.int32),
        mpp=np.full(count, mpp, np.float64),
        foreground=np.asarray(foreground, np.float32),
        settings=settings or {},
    )


def concat_tiles(tables: Sequence[TileTable], settings: dict[str, Any]) -> TileTable:
    """The rows of all tables in their order, under new settings; no tables give no rows."""
    empty = tiles_of_slide('', np.empty((0, 2)), 0, 0.0, np.empty(0))
    columns = {name: np.concatenate([getattr(table, name) for table in (empty, *tables)]) for name in _SCHEMA.names}
    return TileTable(**columns, settings=settings)


def write_tiles(path: str | Path, tiles: TileTable) -> None:
    """Write a table as parquet, whole or not at all; the settings go into the metadata of the file as JSON.

    Equal tables give equal bytes.
    """
    names = pa.array(tiles.slide, pa.string()).dictionary_encode()
    arrays = [names, *(pa.array(getattr(tiles, name), _SCHEMA.field(name).type) for name in _SCHEMA.names[1:])]
    schema = _SCHEMA.with_metadata({SETTINGS: json.dumps(tiles.settings, sort_keys=True).encode()})
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), partial)


def read_tiles(path: str | Path) -> TileTable:
    """Read a table of :func:`write_tiles`, or any parquet file with its columns; further columns are left alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no parquet file, or columns are missing or of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'tile table {path} does not exist; correct the path or make it with tile_slides.py')
    try:
        schema = pq.read_schema(path)
        missing = [name for name in _SCHEMA.names if name not in schema.names]
        if missing:
            raise ValueError(f'tile table {path} has no column {", ".join(missing)}, found {", ".join(schema.names)}')
        table = pq.read_table(path, columns=_SCHEMA.names)
        names = table['slide'].cast(pa.string()).combine_chunks().dictionary_encode()
        columns = {name: table[name].cast(_SCHEMA.field(name).type).to_numpy() for name in _SCHEMA.names[1:]}
    except pa.ArrowException as error:
        raise ValueError(f'{path} is no readable tile table ({error}); make it anew with tile_slides.py') from error
    settings = json.loads((schema.metadata or {}).get(SETTINGS, b'{}'))
    slide = np.array(names.dictionary.to_pylist(), dtype=object)[names.indices.to_numpy()]
    return TileTable(slide=slide, **columns, settings=settings)
