"""What nuclei are looked for in: images, slides and regions of slides, read alike."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from histomm.datasets.transforms import read_image
from histomm.datasets.transforms.loading import EXTENSIONS
from histomm.wsi.reader import Slide, open_slide
from histomm.wsi.slide_files import SUFFIXES
from histomm.wsi.tissue import ClamTissue

from .tiled_confidence import Box, ReadBox

_OVERVIEW = 2048  # px, longer side of the picture that tissue is looked for in
_AROUND = 2  # px of that picture by which tissue is grown, so that nuclei at its rim are not cut


@dataclass(frozen=True)
class NucleiSource:
    """An image, a slide or a region of a slide at the resolution to work at.

    Attributes:
        path: The file.
        size: (width, height) in pixels.
        read: Reads boxes of it.
        picture: Gives it as uint8 RGB with a longer side of so many pixels, or as it is where that is smaller.
        has_tissue: Whether a box has any.
        scale: Level-0 pixels per pixel, along x and y.
        offset: Level-0 x and y of its upper left corner.
        is_slide: Whether it may be too large for one picture.
    """

    path: Path
    size: tuple[int, int]
    read: ReadBox
    picture: Callable[[int], np.ndarray]
    has_tissue: Callable[[Box], bool] = lambda box: True
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    is_slide: bool = False


def find_inputs(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and of folders all images and slides in them and below, sorted.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: A folder without images and slides.
    """
    kinds, found = {f'.{suffix}' for suffix in (*EXTENSIONS, *SUFFIXES)}, []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f'{path}: no such file or folder; correct the path')
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.rglob('*') if file.suffix.lower() in kinds and file.name[0] != '.')
        if not files:
            raise ValueError(f'{path}: no image and no slide in it, expected files with a suffix of {sorted(kinds)}')
        found += files
    return found


def open_source(
    path: Path, mpp: float | None = None, slide_mpp: float | None = None, region: Sequence[int] | None = None
) -> NucleiSource:
    """Open an image or a slide.

    PNG, JPEG, BMP and TIFF without further levels are images, unless there is a region; all else are slides.

    Args:
        path: The file.
        mpp: µm per pixel to work at, of slides; None is level 0.
        slide_mpp: µm per level-0 pixel of slides whose file does not say.
        region: x, y, width, height in level-0 pixels of a slide; None is all of it.

    Raises:
        ValueError: A file that is neither, or a region beyond the slide.
    """
    suffix = path.suffix.lower().lstrip('.')
    if region is None and suffix in EXTENSIONS and (not suffix.startswith('tif') or not _has_levels(path)):
        return image_source(path)
    return slide_source(open_slide(path, slide_mpp), mpp, region)


def _has_levels(path: Path) -> bool:
    try:
        with open_slide(path) as slide:
            return len(slide.level_sizes) > 1
    except ValueError:
        return False


def image_source(path: Path) -> NucleiSource:
    """An image, which is read at once."""
    pixels = read_image(str(path))

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        return pixels[y : y + height, x : x + width]

    def picture(side: int) -> np.ndarray:
        zoom = min(1.0, side / max(pixels.shape[:2]))
        return pixels.copy() if zoom == 1 else cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)

    return NucleiSource(path, (pixels.shape[1], pixels.shape[0]), read, picture)


def slide_source(slide: Slide, mpp: float | None = None, region: Sequence[int] | None = None) -> NucleiSource:
    """A slide, or a region of it; see :func:`open_source`."""
    left, top, width, height = region or (0, 0, *slide.size)
    if min(left, top) < 0 or min(width, height) < 1 or left + width > slide.size[0] or top + height > slide.size[1]:
        raise ValueError(
            f'{slide.path}: region of {width}×{height} pixels at ({left}, {top}), expected one within the slide of '
            f'{slide.size[0]}×{slide.size[1]}'
        )
    scale = slide.scale(mpp)
    size = max(1, math.floor(width / scale[0])), max(1, math.floor(height / scale[1]))

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        return slide.read(left + x * scale[0], top + y * scale[1], width, height, mpp)

    def picture(side: int) -> np.ndarray:
        if region is None:
            return slide.thumbnail(side)
        whole = read(0, 0, *size)
        zoom = min(1.0, side / max(size))
        return whole if zoom == 1 else cv2.resize(whole, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)

    has_tissue = (lambda box: True) if region is not None else _tissue(slide, scale)
    return NucleiSource(slide.path, size, read, picture, has_tissue, scale, (left, top), is_slide=True)


def _tissue(slide: Slide, scale: tuple[float, float]) -> Callable[[Box], bool]:
    """Whether boxes of a slide have tissue by the rule of CLAM, found at low resolution."""
    overview = slide.thumbnail(_OVERVIEW)
    mask = np.uint8(ClamTissue().fit(overview).transform(overview))
    mask = cv2.dilate(mask, np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8))
    zoom_x, zoom_y = mask.shape[1] / slide.size[0] * scale[0], mask.shape[0] / slide.size[1] * scale[1]

    def has_tissue(box: Box) -> bool:
        rows = slice(int(box.y * zoom_y), math.ceil((box.y + box.height) * zoom_y))
        columns = slice(int(box.x * zoom_x), math.ceil((box.x + box.width) * zoom_x))
        return bool(mask[rows, columns].any())

    return has_tissue
