"""The same drawn pictures in all forms that histomm's data sets read: files, HDF5, WebDataset, slides."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from slides import draw_slide

from histomm.datasets import NeighbourhoodSampler, PatchDataset, SeededSampler, SlideTileDataset, StoredTileDataset
from histomm.wsi.reader import open_slide
from histomm.wsi.stores import KINDS, encode, open_store
from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles

SIDE, LARGE = 256, 1024
SHIFT = 100  # of the grid of pictures: it seldom is that of the slide's own tiles
QUALITY = 90  # of JPEG
NEIGHBOURHOOD = 1024  # level-0 pixels

Pipeline = Sequence[dict]


class Form(NamedTuple):
    """A form of the pictures.

    Attributes:
        name: In tables.
        folder: Below the folder of all forms.
        shuffled: Whether samples come in random order.
        make: From the root and a pipeline to the data set.
        reduced: Whether ``LoadPatch`` may decode at reduced scale.
        large: Whether these are the large pictures.
    """

    name: str
    folder: str
    shuffled: bool
    make: Callable[[Path, Pipeline], PatchDataset]
    reduced: bool = False
    large: bool = False

    def dataset(self, root: Path, pipeline: Pipeline) -> PatchDataset:
        """The data set with a pipeline that begins with ``LoadPatch``."""
        steps = [dict(pipeline[0], reduce=True), *pipeline[1:]] if self.reduced else list(pipeline)
        return self.make(root, steps)

    def sampler(self, dataset: PatchDataset, infinite: bool = False) -> SeededSampler:
        """Order of the samples; slides that are not read at random are read by neighbourhoods."""
        if isinstance(dataset, SlideTileDataset) and not self.shuffled:
            return NeighbourhoodSampler(dataset, NEIGHBOURHOOD, seed=0, infinite=infinite)
        return SeededSampler(dataset, shuffle=self.shuffled, seed=0, infinite=infinite)

    def bytes_of_each(self, root: Path, count: int) -> float:
        """On disk, for one of ``count`` pictures."""
        return sum(path.stat().st_size for path in (root / self.folder).rglob('*') if path.is_file()) / count


def _files(folder: str) -> Callable[[Path, Pipeline], PatchDataset]:
    return lambda root, pipeline: PatchDataset(str(root / folder), pipeline=pipeline)


def _stored(folder: str) -> Callable[[Path, Pipeline], PatchDataset]:
    return lambda root, pipeline: StoredTileDataset(str(root / folder), pipeline=pipeline)


def _slides(root: Path, pipeline: Pipeline) -> PatchDataset:
    return SlideTileDataset(str(root / 'slides'), str(root / 'tiles.parquet'), pipeline=pipeline)


FORMS = [
    Form('TIFF files', 'tif', True, _files('tif')),
    Form('PNG files', 'png', True, _files('png')),
    Form('JPEG files', 'jpg', True, _files('jpg')),
    Form('HDF5', 'hdf5', True, _stored('hdf5')),
    Form('WebDataset', 'webdataset', True, _stored('webdataset')),
    Form('slides at random', 'slides', True, _slides),
    Form('slides by neighbourhoods', 'slides', False, _slides),
    Form('large JPEG files', 'large', True, _files('large'), large=True),
    Form('large JPEG files at reduced scale', 'large', True, _files('large'), reduced=True, large=True),
]
BASE = FORMS[0].name


def corners_of(size: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of the pictures of a slide."""
    width, height = size
    return [(x, y) for y in range(SHIFT, height - side + 1, side) for x in range(SHIFT, width - side + 1, side)]


def lay_out(root: Path, side: int, large: int = LARGE) -> dict[bool, int]:
    """Draw a slide of ``side`` pixels and write its pictures in all forms.

    Returns:
        dict: number of pictures, of the large ones under True.
    """
    if side < SHIFT + large:
        raise ValueError(f'--side is {side}, expected at least {SHIFT + large} for a picture of {large}')
    for name in ('slides', 'tif', 'large'):
        (root / name).mkdir(parents=True)
    slide = open_slide(draw_slide(root / 'slides' / 'drawn.tif', side))
    corners, large_corners = corners_of(slide.size, SIDE), corners_of(slide.size, large)
    places = np.array(corners)
    tiles = tiles_of_slide('drawn.tif', places, SIDE, slide.mpp, np.ones(len(places)))
    write_tiles(root / 'tiles.parquet', concat_tiles([tiles], {}))
    pictures = {corner: np.ascontiguousarray(slide.read(*corner, SIDE, SIDE)) for corner in corners}
    for (x, y), picture in pictures.items():
        Image.fromarray(picture).save(root / 'tif' / f'{x}_{y}.tif')
    for kind in KINDS:
        with open_store(root / kind, 'drawn', kind, dict(size=SIDE, mpp=slide.mpp), QUALITY) as add:
            for (x, y), picture in pictures.items():
                add(x, y, 1.0, picture)
    for x, y in large_corners:
        data = encode(slide.read(x, y, large, large), 'jpg', QUALITY)
        (root / 'large' / f'{x}_{y}.jpg').write_bytes(data)
    return {False: len(corners), True: len(large_corners)}
