"""Reading whole slides of every kind at any resolution."""

import math
import os
import warnings
from collections import OrderedDict
from pathlib import Path
from types import TracebackType

import numpy as np

from histomm.wsi.backends import Backend, open_backend
from histomm.wsi.backends.base import RegionError
from histomm.wsi.colour_profile import IccToSrgb
from histomm.wsi.resampling import resample, span_in_pixels
from histomm.wsi.slide_files import find_slides, mpp_of, read_mpp_table

__all__ = ['Slide', 'SlideCache', 'find_slides', 'mpp_of', 'open_slide', 'read_mpp_table']

MPP_RANGE = (0.05, 20.0)
"""µm per level-0 pixel that are believed: from 100× oil immersion to a film scanner. What lies beyond is the resolution
of a print (72 dpi are 353 µm) or a slip of units."""

_SAME_LEVEL = 1.005  # pyramids round their sizes: a level named 4 is at 4.002; so much coarser still counts as 4
_MAX_PIXELS = 2**25  # of a level, read at once: 100 MB; larger regions are read and resampled in parts
_FILLED = 256  # px: a part that cannot be decoded is narrowed down to squares of this side before it becomes white
_abandoned: list[Backend] = []  # handles of a parent process: closing them here could wait for a lock of its threads

Box = tuple[int, int, int, int]


def open_slide(
    path: str | os.PathLike,
    mpp: float | None = None,
    icc: bool = False,
    border: str = 'white',
    broken: str = 'error',
) -> 'Slide':
    """Open a slide: whatever OpenSlide reads, plain TIFF, or DICOM, told by content and not by suffix.

    Args:
        path: Slide file; for DICOM also the folder of its files.
        mpp: µm per level-0 pixel, used where the file does not say or says something absurd.
        icc: Convert colours to sRGB by the ICC profile of the file, where it has one.
        border: Regions beyond the border are 'white', or an 'error'.
        broken: Pixels that cannot be decoded are an 'error', or 'white', for pictures of a damaged slide.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no slide that can be read, or an argument is bad; the message names the file.
    """
    return Slide(path, mpp=mpp, icc=icc, border=border, broken=broken)


class Slide:
    """A slide, read by level-0 position at any resolution.

    It can be pickled and survives a fork: the file is opened anew in the process that reads it. A closed slide opens
    again when it is read. Several threads may not read at a time. Arguments and errors are those of
    :func:`open_slide`.

    Attributes:
        path: The file.
        size: (width, height) of level 0 in pixels.
        level_sizes: (width, height) of each level in its pixels, the finest first.
        level_downsamples: Level-0 pixels per pixel of each level.
        backend: Name of the library that reads the file.
        interpolates: Whether the pixels of a place may depend on where the region begins that is read.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        mpp: float | None = None,
        icc: bool = False,
        border: str = 'white',
        broken: str = 'error',
    ) -> None:
        self.path = Path(path)
        for name, value in (('border', border), ('broken', broken)):
            if value not in ('white', 'error'):
                raise ValueError(f"{self.path}: {name} is {value!r}, expected 'white' or 'error'")
        self._icc, self._border, self._broken = icc, border, broken
        self._handle: Backend | None = None
        self._to_srgb: IccToSrgb | None = None
        self._pid = 0
        handle = self._open()
        self.backend, self.interpolates = handle.kind, handle.interpolates
        self.level_sizes, self.level_downsamples = handle.level_sizes, handle.level_downsamples
        self.size = self.level_sizes[0]
        self._found_mpp = handle.mpp
        self._mpp = self._choose_mpp(mpp)

    def _choose_mpp(self, given: float | None) -> tuple[float, float] | None:
        """µm per level-0 pixel along x and y: the file's if it is credible, else ``given``."""
        low, high = MPP_RANGE
        if given is not None and not low <= given <= high:
            raise ValueError(f'{self.path}: mpp is {given}, expected {low} to {high} µm per pixel; correct it')
        found = self._found_mpp
        if found is None or not all(low <= side <= high for side in found):
            return None if given is None else (given, given)
        mean = math.sqrt(found[0] * found[1])
        if given is not None and not 0.95 < given / mean < 1.05:
            warnings.warn(f'{self.path}: the file says {mean:.4g} µm per pixel, {given} is not used', stacklevel=4)
        return found

    @property
    def mpp_xy(self) -> tuple[float, float]:
        """µm per level-0 pixel along x and y.

        Raises:
            ValueError: neither the file nor the caller knows it.
        """
        if self._mpp is None:
            said = 'has no pixel size'
            if self._found_mpp is not None:
                said = f'says {self._found_mpp[0]:.4g} µm per pixel, expected {MPP_RANGE[0]} to {MPP_RANGE[1]}'
            raise ValueError(f'{self.path}: the file {said}; give mpp, or a CSV with the columns slide,mpp')
        return self._mpp

    @property
    def mpp(self) -> float:
        """µm per level-0 pixel; of pixels that are not square, the side of the square of the same area.

        Raises:
            ValueError: neither the file nor the caller knows it.
        """
        return math.sqrt(self.mpp_xy[0] * self.mpp_xy[1])

    def read(self, x: float, y: float, width: int, height: int, mpp: float | None = None) -> np.ndarray:
        """Read a region.

        It comes from the coarsest level that is as fine as ``mpp``, and is resampled by area from there; a resolution
        finer than level 0 is interpolated. Registration is to half a pixel of that level.

        Args:
            x: Left border in level-0 pixels.
            y: Upper border in level-0 pixels.
            width: Width in pixels of the result.
            height: Height in pixels of the result.
            mpp: µm per pixel of the result, square; ``None`` for level 0 as it is stored.

        Returns:
            (height, width, 3) uint8 RGB. What lies beyond the border is white.

        Raises:
            ValueError: pixels cannot be decoded, the resolution is not known, a size is not positive, or the region
                crosses the border and ``border`` is 'error'.
        """
        scale_x, scale_y = self.scale(mpp)
        if width < 1 or height < 1:
            raise ValueError(f'{self.path}: region of {width}×{height} pixels, expected at least 1×1')
        return self._read(float(x), float(y), int(width), int(height), scale_x, scale_y)

    def thumbnail(self, max_side: int = 1024) -> np.ndarray:
        """The whole slide as uint8 RGB, its longer side ``max_side`` pixels, or level 0 where that is smaller."""
        scale = max(1.0, max(self.size) / max_side)
        width, height = (max(1, round(side / scale)) for side in self.size)
        return self._read(0, 0, width, height, self.size[0] / width, self.size[1] / height)

    def scale(self, mpp: float | None) -> tuple[float, float]:
        """Level-0 pixels per pixel at ``mpp``, along x and y."""
        if mpp is None:
            return 1.0, 1.0
        if not mpp > 0:
            raise ValueError(f'{self.path}: mpp of the region is {mpp}, expected a positive number')
        mpp_x, mpp_y = self.mpp_xy
        return mpp / mpp_x, mpp / mpp_y

    def locate(self, x: float, y: float, width: int, height: int, mpp: float | None = None) -> tuple[int, Box]:
        """Where :meth:`read` finds its pixels: the level, and (x1, y1, x2, y2) there, perhaps beyond the border."""
        return self._locate(float(x), float(y), int(width), int(height), *self.scale(mpp))

    def read_level(self, level: int, box: Box) -> np.ndarray:
        """Pixels of ``level`` in (x1, y1, x2, y2), uint8 RGB, white beyond the border (or an error)."""
        x1, y1, x2, y2 = box
        width, height = self.level_sizes[level]
        inner = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if inner != box and self._border == 'error':
            raise ValueError(
                f'{self.path}: region {box} of level {level} crosses the border of {width}×{height} pixels'
            )
        if inner == box:
            return self._decode(level, box)
        canvas = np.full((y2 - y1, x2 - x1, 3), 255, np.uint8)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            canvas[inner[1] - y1 : inner[3] - y1, inner[0] - x1 : inner[2] - x1] = self._decode(level, inner)
        return canvas

    def close(self) -> None:
        """Release the file; reading opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            if self._pid == os.getpid():
                handle.close()
            else:
                _abandoned.append(handle)

    def _read(self, x: float, y: float, width: int, height: int, scale_x: float, scale_y: float) -> np.ndarray:
        level, box = self._locate(x, y, width, height, scale_x, scale_y)
        if (box[2] - box[0]) * (box[3] - box[1]) > _MAX_PIXELS and max(width, height) > 1:
            return self._read_halves(x, y, width, height, scale_x, scale_y)
        return resample(self.read_level(level, box), width, height)

    def _read_halves(self, x: float, y: float, width: int, height: int, scale_x: float, scale_y: float) -> np.ndarray:
        """Read a region that is too large at once as two; rounding the shared border alike leaves no seam."""
        result = np.empty((height, width, 3), np.uint8)
        if height >= width:
            half = height // 2
            result[:half] = self._read(x, y, width, half, scale_x, scale_y)
            result[half:] = self._read(x, y + half * scale_y, width, height - half, scale_x, scale_y)
        else:
            half = width // 2
            result[:, :half] = self._read(x, y, half, height, scale_x, scale_y)
            result[:, half:] = self._read(x + half * scale_x, y, width - half, height, scale_x, scale_y)
        return result

    def _locate(self, x: float, y: float, width: int, height: int, scale_x: float, scale_y: float) -> tuple[int, Box]:
        finest = min(scale_x, scale_y) * _SAME_LEVEL
        level = max(i for i, down in enumerate(self.level_downsamples) if i == 0 or down <= finest)
        down = self.level_downsamples[level]
        x1, x2 = span_in_pixels(x / down, width, scale_x / down)
        y1, y2 = span_in_pixels(y / down, height, scale_y / down)
        return level, (x1, y1, x2, y2)

    def _decode(self, level: int, box: Box) -> np.ndarray:
        x1, y1, x2, y2 = box
        handle = self._open()
        try:
            image = handle.read_level(level, x1, y1, x2 - x1, y2 - y1)
        except RegionError as error:
            self.close()  # a handle stays broken after an error
            if self._broken == 'white':
                return self._fill(level, box)
            raise ValueError(
                f'{self.path}: region x {x1} to {x2}, y {y1} to {y2} of level {level} cannot be read ({error}); '
                'copy the slide anew or leave it out'
            ) from error
        return self._to_srgb(image) if self._to_srgb is not None else image

    def _fill(self, level: int, box: Box) -> np.ndarray:
        """A region that cannot be decoded as a whole: its parts that can be, and white."""
        x1, y1, x2, y2 = box
        if max(x2 - x1, y2 - y1) <= _FILLED:
            return np.full((y2 - y1, x2 - x1, 3), 255, np.uint8)
        if x2 - x1 >= y2 - y1:
            middle = (x1 + x2) // 2
            return np.hstack([self._decode(level, part) for part in ((x1, y1, middle, y2), (middle, y1, x2, y2))])
        middle = (y1 + y2) // 2
        return np.vstack([self._decode(level, part) for part in ((x1, y1, x2, middle), (x1, middle, x2, y2))])

    def _open(self) -> Backend:
        """The handle of this process."""
        if self._handle is None or self._pid != os.getpid():
            self.close()
            self._handle, self._pid = open_backend(self.path), os.getpid()
            profile = self._handle.icc_profile if self._icc else None
            self._to_srgb = IccToSrgb(profile) if profile else None
        return self._handle

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handle': None, '_to_srgb': None}

    def __enter__(self) -> 'Slide':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'Slide({str(self.path)!r}, size={self.size}, levels={len(self.level_sizes)})'


class SlideCache:
    """The slides used last, kept open.

    Safe after a fork and in spawned workers: slides open their file anew in the process that reads them, and a pickled
    cache arrives empty. Not for several threads.

    Args:
        max_open: How many slides may be open; the one not used for longest is closed.
        icc: As for :func:`open_slide`.
        border: As for :func:`open_slide`.
    """

    def __init__(self, max_open: int = 16, icc: bool = False, border: str = 'white') -> None:
        if max_open < 1:
            raise ValueError(f'SlideCache: max_open is {max_open}, expected at least 1')
        self.max_open, self._icc, self._border = max_open, icc, border
        self._slides: OrderedDict[tuple[str, float | None], Slide] = OrderedDict()

    def get(self, path: str | os.PathLike, mpp: float | None = None) -> Slide:
        """The slide of ``path``, open; ``mpp`` as for :func:`open_slide`."""
        key = os.fspath(path), mpp
        if key in self._slides:
            self._slides.move_to_end(key)
            return self._slides[key]
        slide = open_slide(path, mpp, self._icc, self._border)
        while len(self._slides) >= self.max_open:
            self._slides.popitem(last=False)[1].close()
        self._slides[key] = slide
        return slide

    def __len__(self) -> int:
        """How many slides are open."""
        return len(self._slides)

    def close(self) -> None:
        """Close all slides."""
        while self._slides:
            self._slides.popitem()[1].close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_slides': OrderedDict()}
