"""The index of a store of tokens: which region lies in which row of which shard, and what is known of the shards."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histomm.atomic_file import atomic_path

INDEX, SETTINGS = 'index.parquet', 'settings.json'
"""Names in the folder of a store."""

_KEY = b'histomm.tokens'
_SCHEMA = pa.schema(
    [
        ('slide', pa.dictionary(pa.int32(), pa.string())),
        ('x', pa.int64()),
        ('y', pa.int64()),
        ('width', pa.float64()),
        ('height', pa.float64()),
        ('shard', pa.int32()),
        ('row', pa.int32()),
    ]
)


@dataclass(frozen=True)
class Index:
    """The rows of an index, with the settings of the store and what is known of its shards.

    Attributes:
        columns: Name to (N,) values; those of ``slide`` are numbers of ``names``.
        names: Of the slides, each once.
        settings: What the tokens were made with.
        shards: ``rows`` and ``checksum`` of each shard, see :func:`fingerprint`.
    """

    columns: dict[str, np.ndarray]
    names: list[str]
    settings: dict[str, Any]
    shards: list[dict[str, int]]

    def __len__(self) -> int:
        return len(self.columns['x'])


def empty_index(settings: dict[str, Any]) -> Index:
    """An index without regions."""
    return Index({name: np.empty(0, np.int64) for name in _SCHEMA.names}, [], settings, [])


def settings_digest(settings: dict[str, Any]) -> str:
    """SHA-256 of settings as JSON: equal for tokens that can be mixed."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def shard_path(root: Path, number: int) -> Path:
    """File of a shard."""
    return root / f'shard_{number:04d}.npy'


def fingerprint(shard: np.ndarray) -> int:
    """CRC-32 of the first and the last region of a shard: what tells shards of one shape apart at little cost."""
    return zlib.crc32(shard[-1].tobytes(), zlib.crc32(shard[0].tobytes()))


def grown(index: Index, chosen: list[tuple[str, np.ndarray, np.ndarray]], shard: dict[str, int]) -> Index:
    """The index with the slides of one more shard.

    Args:
        index: Of the shards so far.
        chosen: Name, corners (n, 2) and span (2,) of each slide in the shard, in order.
        shard: Its ``rows`` and ``checksum``.
    """
    counts = [len(coords) for _, coords, _ in chosen]
    coords, spans = np.concatenate([part[1] for part in chosen]), np.repeat([part[2] for part in chosen], counts, 0)
    new = dict(
        slide=np.repeat(len(index.names) + np.arange(len(chosen)), counts),
        x=coords[:, 0],
        y=coords[:, 1],
        width=spans[:, 0],
        height=spans[:, 1],
        shard=np.full(shard['rows'], len(index.shards)),
        row=np.arange(shard['rows']),
    )
    columns = {name: np.concatenate([index.columns[name], values]) for name, values in new.items()}
    return Index(columns, [*index.names, *(slide for slide, _, _ in chosen)], index.settings, [*index.shards, shard])


def write_index(root: Path, index: Index) -> None:
    """Write the index of a folder, whole or not at all."""
    names = pa.DictionaryArray.from_arrays(pa.array(index.columns['slide'], pa.int32()), pa.array(index.names))
    arrays = [names, *(pa.array(index.columns[name], _SCHEMA.field(name).type) for name in _SCHEMA.names[1:])]
    content = dict(settings=index.settings, digest=settings_digest(index.settings), shards=index.shards)
    schema = _SCHEMA.with_metadata({_KEY: json.dumps(content, sort_keys=True).encode()})
    with atomic_path(root / INDEX) as partial:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), partial)


def read_index(root: Path) -> Index:
    """The index of a store, seen to be whole and of the folder's settings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of other settings than the folder.
    """
    path = root / INDEX
    if not path.is_file():
        begun = (root / '.parts').is_dir()
        what = 'its extraction has not ended; the same command goes on' if begun else 'correct the path'
        raise FileNotFoundError(f'{path} does not exist; make it with tools/wsi/extract_region_tokens.py, or {what}')
    try:
        table = pq.read_table(path)
        content = json.loads((table.schema.metadata or {})[_KEY])
        settings, shards = content['settings'], content['shards']
        names = table['slide'].cast(pa.string()).combine_chunks().dictionary_encode()
        columns = {name: table[name].cast(_SCHEMA.field(name).type).to_numpy() for name in _SCHEMA.names[1:]}
        whole = {'dim', 'grid', 'dtype'} <= set(settings) and all({'rows', 'checksum'} <= set(one) for one in shards)
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise ValueError(f'{path} is no readable index of tokens ({error}); copy it anew') from error
    columns['slide'] = names.indices.to_numpy()
    rows = np.array([one['rows'] for one in shards] if whole else [], np.int64)
    shard, row = columns['shard'], columns['row']
    if not whole or (len(row) and (shard.max() >= len(rows) or min(shard.min(), row.min()) < 0)):
        raise ValueError(f'{path} is no whole index of tokens: it names shards or rows that it does not describe')
    if (row >= rows[shard]).any() or len(row) != rows.sum():
        raise ValueError(f'{path} names {len(row)} regions, expected the {rows.sum()} of its shards; copy it anew')
    stated = root / SETTINGS
    if stated.is_file() and json.loads(stated.read_text()) != settings:
        raise ValueError(
            f'{path} is the index of tokens with other settings than those of {stated}; they are not of one store: '
            'copy both anew'
        )
    return Index(columns, names.dictionary.to_pylist(), settings, shards)
