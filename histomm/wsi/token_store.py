"""Tokens of regions: one grid of vectors a region, in memory-mapped shards with an index.

A folder holds::

    settings.json      what all its tokens were made with
    index.parquet      a row a region: slide, x, y, width, height (level-0 px), shard, row; settings and shards as JSON
    shard_0000.npy     (n, H·W, D) float16 or float32: tokens of a region row by row
    .parts/<slide>     tokens of slides that no shard holds yet

A slide is there with all its regions or not at all. The index is written last, so whoever reads it finds the shards
that it names; a store can grow, by further shards and a new index.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from histomm.atomic_file import atomic_path, remove_partial, remove_partial_of, write_atomic
from histomm.wsi.locks import file_lock
from histomm.wsi.token_index import (
    INDEX,
    SETTINGS,
    Index,
    empty_index,
    fingerprint,
    grown,
    read_index,
    settings_digest,
    shard_path,
    write_index,
)

DTYPES = ('float16', 'float32')
"""Types that tokens can have."""


class TokenStore:
    """Tokens of regions, read at random from memory-mapped shards.

    It can be pickled and survives a fork: the shards are mapped anew in the process that reads them.

    Args:
        root: Folder that ``tools/wsi/extract_region_tokens.py`` wrote.

    Attributes:
        root: The folder.
        slides: Names of the slides, sorted; paths below the slide folder.
        region_slides: (N,) int64, number of the slide of each region, not descending: a slide's regions follow each
            other.
        coords: (N, 2) int64, upper left corners (x, y) in level-0 pixels.
        spans: (N, 2) float64, width and height of the regions in level-0 pixels.
        dim: D, numbers of a token.
        grid: (H, W), rows and columns of tokens of a region.
        dtype: Of the tokens.
        settings: What they were made with.
        digest: SHA-256 of the settings.

    Raises:
        FileNotFoundError: there is no index, or a shard that it names is missing.
        ValueError: the index is damaged, or not that of these shards.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        index = read_index(self.root)
        columns, settings = index.columns, index.settings
        self.slides = sorted(index.names)
        place = {name: number for number, name in enumerate(self.slides)}
        numbers = np.array([place[name] for name in index.names], np.int64)[columns['slide']]
        order = np.argsort(numbers, kind='stable')
        self.region_slides = numbers[order]
        self.coords = np.stack([columns['x'], columns['y']], axis=1)[order]
        self.spans = np.stack([columns['width'], columns['height']], axis=1)[order]
        self.settings, self.digest = settings, settings_digest(settings)
        self.dim, self.grid = int(settings['dim']), (int(settings['grid'][0]), int(settings['grid'][1]))
        self.dtype = np.dtype(settings['dtype'])
        self._shard, self._row = columns['shard'][order], columns['row'][order]
        self._known = index.shards
        self._maps: list[np.ndarray] = []
        self._mapped()

    def __len__(self) -> int:
        """Number of regions N."""
        return len(self.coords)

    def tokens(self, index: int) -> np.ndarray:
        """Tokens (H, W, D) of a region, a view into its shard that cannot be written to."""
        return self._mapped()[self._shard[index]][self._row[index]].reshape(*self.grid, self.dim)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Tokens (n, D, H, W) of regions in the stored type; copies, laid out in memory as (n, H, W, D)."""
        indices = np.asarray(indices, np.int64).reshape(-1)
        maps = self._mapped()
        result = np.empty((len(indices), self.grid[0] * self.grid[1], self.dim), self.dtype)
        for place, (shard, row) in enumerate(
            zip(self._shard[indices].tolist(), self._row[indices].tolist(), strict=True)
        ):
            result[place] = maps[shard][row]
        return result.transpose(0, 2, 1).reshape(len(indices), self.dim, *self.grid)

    def check(self, dim: int | None = None, digest: str = '') -> None:
        """See that the tokens are those that are wanted.

        Args:
            dim: Numbers of a token; ``None`` for any.
            digest: SHA-256 of the settings; empty for any.

        Raises:
            ValueError: they are others.
        """
        if dim is not None and self.dim != dim:
            raise ValueError(
                f'{self.root}: tokens have {self.dim} numbers, expected {dim}; extract them with the encoder that '
                'the model was made for, or change the channels of the model'
            )
        if digest and self.digest != digest:
            raise ValueError(
                f'{self.root}: tokens have the digest {self.digest}, expected {digest}: another encoder, normalisation '
                'or patch size made them; name the folder of those that are wanted'
            )

    def _mapped(self) -> list[np.ndarray]:
        """The shards, each compared with what the index knows of it when it is mapped."""
        if not self._maps:
            self._maps = [self._map(number, known) for number, known in enumerate(self._known)]
        return self._maps

    def _map(self, number: int, known: dict[str, int]) -> np.ndarray:
        path = shard_path(self.root, number)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} does not exist, though {INDEX} names it; copy it anew, or extract the tokens into a new folder'
            )
        try:
            shard = np.load(path, mmap_mode='r')
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f'{path} is no whole shard of tokens ({error}); copy it anew') from error
        wanted = known['rows'], self.grid[0] * self.grid[1], self.dim
        if shard.shape != wanted or shard.dtype != self.dtype:
            raise ValueError(
                f'{path} holds {shard.dtype} of shape {shard.shape}, expected {self.dtype} of {wanted} as in {INDEX}; '
                'they are not of one store: copy both anew'
            )
        if fingerprint(shard) != known['checksum']:
            raise ValueError(
                f'{path} holds other tokens than those that {INDEX} was written for; they are not of one store: copy '
                'both anew'
            )
        return np.asarray(shard)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_maps': []}


class TokenStoreWriter:
    """Collects the tokens of slides, and goes on with those that an earlier run has finished.

    Several processes may write slides into one folder, each another; :meth:`finish` is called by whoever ends.

    Args:
        root: Folder of the store: new, empty, or made with the same settings.
        dim: D, numbers of a token.
        grid: (H, W), rows and columns of tokens of a region.
        dtype: One of :data:`DTYPES`.
        settings: What decides the tokens, JSON: encoder, normalisation, sizes.
        shard_bytes: About the size of a shard. A slide lies in one shard, whatever its size.

    Raises:
        ValueError: another type, or the folder holds tokens of other settings, or other files.
    """

    def __init__(
        self,
        root: str | Path,
        dim: int,
        grid: tuple[int, int] = (16, 16),
        dtype: str = 'float16',
        settings: dict[str, Any] | None = None,
        shard_bytes: int = 2**30,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'tokens cannot be stored as {dtype!r}, expected one of {", ".join(DTYPES)}')
        self.root, self.dim, self.grid, self.dtype = Path(root), dim, grid, np.dtype(dtype)
        own = dict(dim=dim, grid=list(grid), dtype=dtype)
        self.settings: dict[str, Any] = json.loads(json.dumps({**(settings or {}), **own}))
        self.shard_bytes = shard_bytes
        self._claim()
        self._stored: set[str] = set()
        self._read: tuple[int, int] | None = None
        self._indexed()

    def _claim(self) -> None:
        """Give the folder to the settings, or see that it has them already."""
        path = self.root / SETTINGS
        visible = [item for item in self.root.iterdir() if item.name[0] != '.'] if self.root.is_dir() else []
        if (self.root.exists() and not self.root.is_dir()) or (visible and not path.is_file()):
            raise ValueError(f'{self.root} holds other files or is a file; choose a new or empty folder')
        with file_lock(self._lock(SETTINGS), patience=10):
            if not path.is_file():
                write_atomic(json.dumps(self.settings, indent=1, sort_keys=True).encode(), path)
                return
        found = json.loads(path.read_text())
        for name in sorted({*self.settings, *found}):
            if found.get(name) != self.settings.get(name):
                raise ValueError(
                    f'{self.root} was made with {name} = {found.get(name)!r}, this run has '
                    f'{self.settings.get(name)!r}; tokens of both cannot be mixed: choose another folder'
                )

    def _has_index(self) -> bool:
        return (self.root / INDEX).is_file()

    def _indexed(self) -> set[str]:
        """Slides in the index, which is read again if another run has written it since."""
        if self._has_index():
            status = (self.root / INDEX).stat()
            written = status.st_mtime_ns, status.st_ino
            if written != self._read:
                self._stored, self._read = set(read_index(self.root).names), written
        return self._stored

    def _lock(self, name: str) -> Path:
        return self.root / '.locks' / f'{name}.lock'

    def lock_path(self, slide: str) -> Path:
        """File to lock while a slide's tokens are made."""
        return self._lock(f'slides/{slide}')

    def index_lock(self) -> AbstractContextManager[None]:
        """Hold while what all runs on the folder share is written."""
        return file_lock(self._lock(INDEX), patience=600)

    def has(self, slide: str) -> bool:
        """Whether the tokens of a slide are there, by this run or another."""
        # who moves a part into a shard writes the index before the part goes: looked for in this order it is not missed
        return slide in self._stored or self._part(slide).is_file() or slide in self._indexed()

    def _part(self, slide: str) -> Path:
        return self.root / '.parts' / f'{slide}.npz'

    def write(self, slide: str, coords: np.ndarray, tokens: np.ndarray, span: tuple[float, float]) -> None:
        """Keep all regions of a slide.

        Args:
            slide: Its name.
            coords: (n, 2), upper left corners (x, y) in level-0 pixels.
            tokens: (n, H·W, D).
            span: Width and height of a region in level-0 pixels.

        Raises:
            ValueError: no regions, another shape, or numbers that are not finite in the stored type.
        """
        wanted = len(coords), self.grid[0] * self.grid[1], self.dim
        if tokens.shape != wanted or not len(coords):
            raise ValueError(f'{slide}: tokens of shape {tokens.shape}, expected {wanted} with at least one region')
        with np.errstate(over='ignore'):
            tokens = np.ascontiguousarray(tokens, self.dtype)
        if not np.isfinite(tokens).all():
            raise ValueError(
                f'{slide}: tokens are not finite as {self.dtype}, expected numbers; are the weights whole, and does '
                'the type bear them?'
            )
        path = self._part(slide)
        remove_partial_of(path)
        with atomic_path(path) as partial, open(partial, 'wb') as file:
            np.savez(file, tokens=tokens, coords=np.asarray(coords, np.int64), span=np.asarray(span, np.float64))

    def finish(self) -> int:
        """Move the slides written so far into shards and write the index; the number of regions in it.

        Raises:
            LockedError: another run has been at it for ten minutes.
            ValueError: no slide was ever written.
        """
        with self.index_lock():
            remove_partial(self.root)
            index = read_index(self.root) if self._has_index() else empty_index(self.settings)
            stored = set(index.names)
            parts = {self._slide_of(path): path for path in sorted((self.root / '.parts').rglob('*.npz'))}
            waiting = [(slide, path) for slide, path in sorted(parts.items()) if slide not in stored]
            while waiting:
                index, waiting = self._pack(index, waiting)
            if not len(index):
                raise ValueError(f'{self.root} holds no tokens of any slide; nothing to index')
            for path in parts.values():
                path.unlink(missing_ok=True)
            return len(index)

    def _slide_of(self, path: Path) -> str:
        return path.relative_to(self.root / '.parts').as_posix().removesuffix('.npz')

    def _pack(self, index: Index, waiting: list[tuple[str, Path]]) -> tuple[Index, list[tuple[str, Path]]]:
        """Write the next shard and the index that names it; the slides that are left."""
        region = self.grid[0] * self.grid[1] * self.dim * self.dtype.itemsize
        chosen: list[tuple[str, np.ndarray, np.ndarray]] = []
        rows = 0
        for slide, path in waiting:
            with np.load(path) as part:
                coords, span = part['coords'], part['span']
            if chosen and (rows + len(coords)) * region > self.shard_bytes:
                break
            chosen.append((slide, coords, span))
            rows += len(coords)
        number = len(index.shards)
        with atomic_path(shard_path(self.root, number)) as partial:
            with open(partial, 'wb') as file:
                shape = rows, self.grid[0] * self.grid[1], self.dim
                descr = np.lib.format.dtype_to_descr(self.dtype)
                np.lib.format.write_array_header_1_0(file, dict(descr=descr, fortran_order=False, shape=shape))
                for _, path in waiting[: len(chosen)]:
                    with np.load(path) as part:
                        part['tokens'].tofile(file)
            checksum = fingerprint(np.load(partial, mmap_mode='r'))
        larger = grown(index, chosen, dict(rows=rows, checksum=checksum))
        write_index(self.root, larger)
        return larger, waiting[len(chosen) :]
