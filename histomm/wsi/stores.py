"""Where the pixels of tiles go: a folder of images, an HDF5 file, or shards of WebDataset; each whole or absent.

A store holds the tiles of one slide:

``jpg``, ``png``: ``<slide>/<x>_<y>.jpg``, x and y in level-0 px.
``hdf5``: ``<slide>.h5`` with ``tiles`` (n, size, size, 3) uint8 RGB, ``coords`` (n, 2) int64 level-0 px as (x, y), and
the settings as JSON in the attribute ``settings``.
``webdataset``: ``<slide>/000000.tar``, …, with ``<slide>/<x>_<y>.jpg`` and its ``.json`` (slide, x, y, size, mpp,
foreground).
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from histomm.atomic_file import atomic_folder, remove_partial_of
from histomm.wsi.hdf5_file import atomic_hdf5

KINDS = ('jpg', 'png', 'hdf5', 'webdataset')
"""What tiles can be stored as."""

Add = Callable[[int, int, float, np.ndarray], None]
"""Adds a tile: x, y in level-0 px, share of foreground, uint8 RGB (size, size, 3)."""


def store_path(folder: str | Path, slide: str, kind: str) -> Path:
    """File or folder of the tiles of a slide."""
    return Path(folder) / (f'{slide}.h5' if kind == 'hdf5' else slide)


@contextmanager
def open_store(
    folder: str | Path, slide: str, kind: str, settings: dict[str, Any], quality: int = 90, shard_size: int = 10_000
) -> Iterator[Add]:
    """Store the tiles of a slide; they are there once the block ends without error, and replace older ones.

    Equal tiles give equal bytes.

    Args:
        folder: Of all slides.
        slide: Name of the slide, with forward slashes.
        kind: One of :data:`KINDS`.
        settings: What the tiles were made with; has ``size`` and ``mpp``.
        quality: Of JPEG, 1..100; ``png`` and ``hdf5`` lose nothing.
        shard_size: Most tiles in a shard.

    Raises:
        ValueError: ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f'tiles cannot be stored as {kind!r}, expected one of {", ".join(KINDS)}')
    path = store_path(folder, slide, kind)
    if kind == 'hdf5':
        with atomic_hdf5(path) as (file, check):
            yield _add_to_hdf5(file, check, slide, settings)
        return
    remove_partial_of(path)
    with atomic_folder(path) as partial:
        if kind == 'webdataset':
            with _Shards(partial, slide, settings, quality, shard_size) as shards:
                yield shards.add
        else:
            yield _add_to_folder(partial, kind, quality)


def encode(tile: np.ndarray, kind: str, quality: int) -> bytes:
    """Bytes of uint8 RGB (h, w, 3) as 'jpg' or 'png'."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == 'jpg' else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    return cv2.imencode(f'.{kind}', tile[..., ::-1], options)[1].tobytes()


def decode(data: bytes) -> np.ndarray:
    """uint8 RGB (h, w, 3) of the bytes of an image; ``ValueError`` where they are none."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('a stored tile is no image that can be decoded; make the store anew')
    return np.ascontiguousarray(image[..., ::-1])


def _add_to_folder(folder: Path, kind: str, quality: int) -> Add:
    def add(x: int, y: int, foreground: float, tile: np.ndarray) -> None:
        (folder / f'{x}_{y}.{kind}').write_bytes(encode(tile, kind, quality))

    return add


def _add_to_hdf5(file: h5py.File, check: Callable[[], None], slide: str, settings: dict[str, Any]) -> Add:
    size = settings['size']
    file.attrs['slide'], file.attrs['settings'] = slide, json.dumps(settings, sort_keys=True)
    shapes = dict(shape=(0, size, size, 3), maxshape=(None, size, size, 3), chunks=(1, size, size, 3))
    tiles = file.create_dataset('tiles', **shapes, dtype=np.uint8, compression='gzip', compression_opts=1)
    coords = file.create_dataset('coords', shape=(0, 2), maxshape=(None, 2), chunks=(1024, 2), dtype=np.int64)

    def add(x: int, y: int, foreground: float, tile: np.ndarray) -> None:
        count = len(tiles)
        tiles.resize(count + 1, axis=0)
        coords.resize(count + 1, axis=0)
        tiles[count], coords[count] = tile, (x, y)
        check()

    return add


class _Shards(ExitStack):
    """Tar files of at most ``size`` tiles; owners and times are left out, so that equal tiles give equal bytes."""

    def __init__(self, folder: Path, slide: str, settings: dict[str, Any], quality: int, size: int) -> None:
        super().__init__()
        self.folder, self.slide, self.quality, self.size = folder, slide, quality, size
        self.common = {name: settings[name] for name in ('size', 'mpp')}
        self.count = 0

    def add(self, x: int, y: int, foreground: float, tile: np.ndarray) -> None:
        if self.count % self.size == 0:
            self.close()
            self.tar = self.enter_context(tarfile.TarFile(self.folder / f'{self.count // self.size:06d}.tar', 'w'))
        self.count += 1
        facts = dict(slide=self.slide, x=x, y=y, **self.common, foreground=foreground)
        self._add(f'{self.slide}/{x}_{y}.jpg', encode(tile, 'jpg', self.quality))
        self._add(f'{self.slide}/{x}_{y}.json', json.dumps(facts).encode())

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))


def read_store(path: str | Path) -> Iterator[tuple[int, int, np.ndarray]]:
    """Tiles of a store of one slide as (x, y, uint8 RGB), whatever its kind; images of a folder come sorted by name.

    Raises:
        FileNotFoundError: there is no such store.
        ValueError: a folder holds neither images nor shards.
    """
    path = Path(path)
    if path.is_file():
        with h5py.File(path) as file:
            for (x, y), tile in zip(file['coords'], file['tiles'], strict=True):
                yield int(x), int(y), tile
        return
    if not path.is_dir():
        raise FileNotFoundError(f'{path}: no tiles of a slide there; correct the path')
    images = sorted(entry for entry in path.iterdir() if entry.suffix in ('.jpg', '.png'))
    shards = sorted(path.glob('*.tar'))
    if not images and not shards:
        raise ValueError(f'{path} holds no tiles, expected <x>_<y>.jpg, <x>_<y>.png or shards (.tar)')
    for image in images:
        yield *_place(image.stem), decode(image.read_bytes())
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None and member.name.endswith('.jpg'):
                    yield *_place(Path(member.name).stem), decode(content.read())


def _place(name: str) -> tuple[int, int]:
    x, y = name.split('_')
    return int(x), int(y)
