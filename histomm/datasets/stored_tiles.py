"""Tiles in HDF5 files and shards of WebDataset, read at random like files."""

import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import h5py
import numpy as np

from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.patch_sources import extension, scan_folder
from histomm.datasets.transforms.loading import EXTENSIONS, UnreadableImageError, decode_image
from histomm.registry import DATASETS

STORES = ('h5', 'hdf5', 'tar')
"""Extensions of files that hold tiles."""

_MAX_OPEN = 16


@DATASETS.register_module()
class StoredTileDataset(PatchDataset):
    """Tiles in few large files, in place of a :class:`PatchDataset` of the same tiles as files.

    Takes what ``tools/wsi/tile_slides.py`` writes with ``--store hdf5`` or ``webdataset``, other HDF5 files with a data
    set ``tiles`` of shape (n, h, w, 3) uint8 RGB, and other tar files with images in them. The places of all tiles are
    found at the start, so that samples come in any order and as often as a sampler wants.

    Each sample has ``img``, (h, w, 3) uint8 RGB, ``img_path``, the file, ``tile``, name or number of the tile in it,
    and ``sample_idx``; ``LoadPatch`` in the pipeline leaves the pixels as they are.

    Args:
        data_root: Folder or list of folders, read through all levels.
        exclude: Patterns of files to leave out; see :class:`PatchDataset`.
        exclude_patients: Files of TCGA participants to leave out; see :class:`PatchDataset`.
        patient_overlap: See :class:`PatchDataset`.
        unreadable: What to do with a tile that cannot be read: 'raise', or 'skip'; see :class:`PatchDataset`.
        indices: Use only these tiles, or the first so many.
        pipeline: Transforms.
        test_mode: As in mmengine.
        lazy_init: As in mmengine.
        max_refetch: How many replacements may be unreadable in a row.

    Raises:
        FileNotFoundError: a folder or a list of participants is missing.
        PatientOverlapError: ``patient_overlap`` is 'raise' and a file is of a participant to leave out.
        ValueError: no file of tiles, or one that holds none.
    """

    def __init__(
        self,
        data_root: str | Sequence[str],
        exclude: Sequence[str] = (),
        exclude_patients: str | Sequence[str] = (),
        patient_overlap: str = 'exclude',
        unreadable: str = 'raise',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 100,
    ) -> None:
        self._open = _OpenFiles()
        super().__init__(
            data_root=data_root,
            exclude=exclude,
            exclude_patients=exclude_patients,
            patient_overlap=patient_overlap,
            unreadable=unreadable,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def load_data_list(self) -> list[dict]:
        """Find all tiles; called once by ``full_init``."""
        found = [(root, path) for root in self.roots for path in scan_folder(root, STORES)]
        stores = self._without_patients([(os.path.join(root, path), None) for root, path in self._kept(found)])
        return [tile for store, _ in stores for tile in _tiles_of(store)]

    def _sample(self, idx: int) -> dict | None:
        return self.pipeline({**self.get_data_info(idx), 'img': self._read(idx)})

    def _read(self, idx: int) -> np.ndarray:
        info = self.get_data_info(idx)
        store, place = info['img_path'], info['place']
        try:
            if not isinstance(place, tuple):
                return self._open.hdf5(store)['tiles'][place]
            with open(store, 'rb') as file:
                file.seek(place[0])
                data = file.read(place[1])
        except OSError as error:
            raise UnreadableImageError(
                f'{store}: tile {info["tile"]} cannot be read ({error}); make it anew'
            ) from error
        return decode_image(data, f'{store}: tile {info["tile"]}')

    def why_unreadable(self, idx: int) -> str | None:
        """Why a tile cannot be read, or ``None``."""
        try:
            self._read(idx)
        except UnreadableImageError as error:
            return f'is not readable at {self.get_data_info(idx)["tile"]} ({error})'
        return None


class _OpenFiles:
    """HDF5 files that this process used last, kept open; arrives empty in another process."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._pid = os.getpid()

    def hdf5(self, path: str) -> h5py.File:
        """The open file."""
        if self._pid != os.getpid():
            self.__init__()
        if path not in self._files:
            self._files[path] = h5py.File(path)
        self._files.move_to_end(path)
        while len(self._files) > _MAX_OPEN:
            self._files.popitem(last=False)[1].close()
        return self._files[path]

    def __getstate__(self) -> dict:
        return {'_files': OrderedDict(), '_pid': self._pid}


def _tiles_of(store: str) -> list[dict]:
    """Samples of a file: its path and the place of the tile in it, a row, or an offset and a size in bytes."""
    try:
        found = list(_in_tar(store) if extension(store) == 'tar' else _in_hdf5(store))
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ValueError(
            f'StoredTileDataset: {store} is no file of tiles ({error}); make it anew or exclude it'
        ) from error
    if not found:
        raise ValueError(f'StoredTileDataset: {store} holds no tiles; make it anew or exclude it')
    return [dict(img_path=store, tile=name, place=place) for name, place in found]


def _in_hdf5(store: str) -> Iterator[tuple[str, int]]:
    with h5py.File(store) as file:
        tiles = file['tiles']
        if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
            raise ValueError(
                f'StoredTileDataset: tiles in {store} are {tiles.dtype} of the shape {tiles.shape}, expected uint8 of '
                '(n, height, width, 3); store them as RGB'
            )
        yield from ((str(row), row) for row in range(len(tiles)))


def _in_tar(store: str) -> Iterator[tuple[str, tuple[int, int]]]:
    with tarfile.open(store, 'r:') as tar:
        for member in tar:
            if member.isfile() and extension(member.name) in EXTENSIONS:
                yield member.name, (member.offset_data, member.size)
