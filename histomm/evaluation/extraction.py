"""Features of folders of images and of tiles of slides: reading in loader processes, computing, writing in parts."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.transforms import UnreadableImageError, read_image
from histomm.evaluation.encoder import Encoder
from histomm.evaluation.feature_store import FeatureWriter
from histomm.registry import TRANSFORMS
from histomm.wsi.reader import SlideCache, mpp_of
from histomm.wsi.tile_table import TileTable


class Source(NamedTuple):
    """What features are computed of, in order."""

    names: list[str]
    """Of images the path below their folder, of tiles the file name of the slide."""
    images: Dataset
    """Gives image i as (3, H, W) uint8 RGB, of one size for all."""
    settings: dict
    """What was read, for the feature file."""
    coords: np.ndarray | None = None
    """(n, 2) int64 for tiles."""
    labels: np.ndarray | None = None
    """(n,) int64."""
    classes: tuple[str, ...] | None = None
    """Names of the classes."""
    places: list[str] | None = None
    """For tiles, all that decides the pixels of each beside the slide."""


class _Images(Dataset):
    """Images through the transforms of an encoder."""

    def __init__(self, steps: Sequence[dict]) -> None:
        with DefaultScope.overwrite_default_scope('histomm'):
            self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    def read(self, index: int) -> tuple[np.ndarray, str]:
        """Image (H, W, 3) uint8 RGB and its name."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Tensor:
        image, name = self.read(index)
        result = self.pipeline(dict(img=image, img_path=name, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
        return torch.from_numpy(np.ascontiguousarray(result['img'].transpose(2, 0, 1)))


class ImageFiles(_Images):
    """Image files.

    Args:
        paths: The files.
        steps: Transforms of the encoder.
    """

    def __init__(self, paths: Sequence[str], steps: Sequence[dict]) -> None:
        super().__init__(steps)
        self.paths = np.array(paths)  # strings in one block are not copied by loader processes

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> tuple[np.ndarray, str]:
        """Image (H, W, 3) uint8 RGB and its path."""
        path = str(self.paths[index])
        return read_image(path), path


class SlideTiles(_Images):
    """Tiles of slides.

    Args:
        root: Folder of the slides.
        tiles: Where they lie.
        steps: Transforms of the encoder.
        mpp: µm per level-0 pixel of slides whose file does not say, see :func:`~histomm.wsi.slide_files.mpp_of`.
    """

    def __init__(self, root: str | Path, tiles: TileTable, steps: Sequence[dict], mpp: dict | None = None) -> None:
        super().__init__(steps)
        self.root, self.mpp = os.fspath(root), mpp or {}
        self.slides, self.numbers = np.unique(tiles.slide.astype(str), return_inverse=True)
        self.places = np.stack((tiles.x, tiles.y, tiles.size), axis=1)
        self.resolution = tiles.mpp
        self.cache = SlideCache()
        missing = [name for name in self.slides if not os.path.exists(os.path.join(self.root, name))]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(self.slides)} slides of the tile table are not below {root}, such as '
                f'{missing[0]}; correct the folder'
            )

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> tuple[np.ndarray, str]:
        """Tile (size, size, 3) uint8 RGB and the name of its slide; ``UnreadableImageError`` where it is damaged."""
        name = str(self.slides[self.numbers[index]])
        x, y, size = (int(value) for value in self.places[index])
        try:
            slide = self.cache.get(os.path.join(self.root, name), mpp_of(self.mpp, name))
            return slide.read(x, y, size, size, float(self.resolution[index])), name
        except ValueError as error:
            raise UnreadableImageError(str(error)) from error


def images_source(
    data: str | Path, steps: Sequence[dict], with_labels: bool = False, root: str = '', exclude: Sequence[str] = ()
) -> Source:
    """Images of a folder, or of a list file (``.txt``, ``.csv``).

    Args:
        data: Folder or list.
        steps: Transforms of the encoder.
        with_labels: Take the classes: the first folder below the root, or as the list says.
        root: Folder to which the paths of a list refer; the folder of the list if empty.
        exclude: Patterns of paths to leave out.
    """
    data = os.fspath(data)
    is_list = os.path.isfile(data)
    if not is_list and not os.path.isdir(data):
        raise FileNotFoundError(f'{data}: no such folder or list of images; correct the path')
    listed = dict(list_file=os.path.abspath(data), data_root=root) if is_list else dict(data_root=data)
    dataset = PatchDataset(with_labels=with_labels, exclude=exclude, **listed)
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    paths = [sample['img_path'] for sample in samples]
    base = root or (os.path.dirname(os.path.abspath(data)) if is_list else data)
    names = [os.path.relpath(path, base).replace(os.sep, '/') for path in paths]
    labels = np.array([sample['gt_label'] for sample in samples], np.int64) if with_labels else None
    classes = dataset.metainfo.get('classes') if with_labels else None
    settings = {'data': 'images', 'number': len(names), 'names': _digest(names)}
    if labels is not None:
        settings['labels'] = _digest([*map(str, labels), *(classes or ())])
    return Source(names, ImageFiles(paths, steps), settings, None, labels, tuple(classes) if classes else None)


def tiles_source(root: str | Path, tiles: TileTable, steps: Sequence[dict], mpp: dict | None = None) -> Source:
    """Tiles of slides below a folder; arguments as for :class:`SlideTiles`."""
    if not len(tiles):
        raise ValueError('the tile table has no tiles, expected one or more; make it with other tissue settings')
    coords = np.stack((tiles.x, tiles.y), axis=1).astype(np.int64)
    names = [str(name) for name in tiles.slide]
    given = {name: mpp_of(mpp or {}, name) for name in set(names)}
    columns = (names, coords.tolist(), tiles.size.tolist(), tiles.mpp.tolist())
    places = [f'{name} {x} {y} {size} {side} {given[name]}' for name, (x, y), size, side in zip(*columns, strict=True)]
    settings = {'data': 'tiles', 'number': len(names), 'names': _digest(places), 'tiling': tiles.settings}
    return Source(names, SlideTiles(root, tiles, steps, mpp), settings, coords, places=places)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


class Loading(NamedTuple):
    """How images are read and computed; nothing here but ``dtype`` and ``batch_size`` touches the features."""

    batch_size: int = 64
    num_workers: int = 2
    device: torch.device = torch.device('cpu')
    dtype: torch.dtype | None = None
    """Precision of autocast; ``None`` for float32."""
    rows: int = 4096
    """Features of a part; a killed run loses at most those of one part."""


def extract(encoder: Encoder, source: Source, path: str | Path, loading: Loading, provenance: dict) -> dict[str, Any]:
    """Compute the features of a source and write them; what an earlier run has finished is kept.

    The batches are the same whatever run computes them, so that an interrupted and resumed extraction gives the bytes
    of an uninterrupted one.

    Returns:
        ``total`` rows, and how many of them are ``new``.

    Raises:
        ValueError: the file or its parts were made with other settings, images differ in size, or one is unreadable.
    """
    precision = str(loading.dtype or torch.float32).removeprefix('torch.')
    settings = {**encoder.settings, **source.settings, 'precision': precision, 'batch_size': loading.batch_size}
    rows = max(1, loading.rows // loading.batch_size) * loading.batch_size
    writer = FeatureWriter(path, settings, len(source.names), rows)
    missing = writer.missing()
    if missing:
        encoder = encoder.to(loading.device)
        for span, features in zip(missing, _parts(encoder, source, missing, loading), strict=True):
            writer.write(span[0], features)
            print_log(f'{path}: {span[1]:,} of {len(source.names):,} features', 'current')
    writer.finish(source.names, source.coords, source.labels, source.classes, provenance)
    return {'total': len(source.names), 'new': sum(end - start for start, end in missing)}


def _parts(encoder: Encoder, source: Source, spans: Sequence[tuple[int, int]], loading: Loading):
    """Features (rows, D) of each span; one set of loader processes reads all of them."""
    batches = [
        list(range(first, min(first + loading.batch_size, end)))
        for start, end in spans
        for first in range(start, end, loading.batch_size)
    ]
    loader = DataLoader(
        source.images,
        batch_sampler=batches,
        num_workers=loading.num_workers,
        collate_fn=_stack,
        pin_memory=loading.device.type == 'cuda',
        worker_init_fn=one_thread if loading.num_workers else None,
    )
    computed = iter(loader)
    for start, end in spans:
        parts = []
        for _ in range(start, end, loading.batch_size):
            images = next(computed).to(loading.device, non_blocking=True)
            parts.append(encoder(images, loading.dtype).cpu().numpy())
        yield np.concatenate(parts)


def _stack(images: list[Tensor]) -> Tensor:
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f'images of the shapes {sorted(shapes)} in one batch, expected one; bring them to one size')
    return torch.stack(images)


def one_thread(worker: int) -> None:
    """Keep a process of a loader to one thread; there are as many processes as there shall be threads."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def subset(source: Source, rows: np.ndarray) -> Source:
    """The rows ``rows`` of a source, such as those of one slide."""
    names = [source.names[row] for row in rows]
    coords = None if source.coords is None else source.coords[rows]
    places = None if source.places is None else [source.places[row] for row in rows]
    settings = {**source.settings, 'number': len(rows), 'names': _digest(places or names)}
    labels = None if source.labels is None else source.labels[rows]
    images = Subset(source.images, [int(row) for row in rows])
    return Source(names, images, settings, coords, labels, source.classes, places)
