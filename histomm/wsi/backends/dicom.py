"""DICOM slides that OpenSlide refuses: through wsidicom, or frame by frame where the metadata are incomplete."""

import io
import math
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histomm.wsi.backends.base import RegionError, SlideFormatError

_INSTALL = 'wsidicom, which might read it, is not installed; pip install wsidicom'
_CACHED_FRAMES = 64
_PILLOW_READS = (b'\xff\xd8', b'\xff\x4f\xff\x51', b'\0\0\0\x0cjP')  # JPEG, JPEG 2000
_SEAMS = 12  # pairs of neighbouring frames that tell their order
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, RuntimeError)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does."""
    with open(path, 'rb') as file:
        return file.read(132)[128:] == b'DICM'


class DicomBackend:
    """A DICOM slide that wsidicom opens, a file or a folder; see :class:`~histomm.wsi.backends.base.Backend`.

    Raises:
        SlideFormatError: wsidicom refuses it or is not installed.
    """

    kind = 'wsidicom'
    interpolates = False

    def __init__(self, path: Path) -> None:
        try:
            from wsidicom import WsiDicom, errors
        except ImportError:
            raise SlideFormatError(_INSTALL) from None
        own = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
        self._errors: tuple[type[Exception], ...] = (*own, *_DECODE_ERRORS)  # they have no base of their own
        try:
            self._slide = WsiDicom.open(path)
        except self._errors as error:
            raise SlideFormatError(f'wsidicom refuses it ({error or type(error).__name__})') from error
        self._levels = sorted(self._slide.levels, key=lambda level: level.level)
        self.level_sizes = tuple((level.size.width, level.size.height) for level in self._levels)
        width, height = self.level_sizes[0]
        self.level_downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_sizes)
        spacing = self._levels[0].mpp
        self.mpp: tuple[float, float] | None = (spacing.width, spacing.height) if spacing is not None else None

    @property
    def icc_profile(self) -> bytes | None:
        """Bytes of the ICC profile, or ``None``."""
        for path in self._levels[0].datasets[0].get('OpticalPathSequence', ()):
            if 'ICCProfile' in path:
                return bytes(path.ICCProfile)
        return None

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level as (height, width, 3) uint8 RGB."""
        try:
            image = self._slide.read_region((x, y), self._levels[level].level, (width, height))
        except self._errors as error:
            raise RegionError(str(error) or type(error).__name__) from error
        return np.asarray(image.convert('RGB'))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


class FramesBackend:
    """A DICOM file of one level whose frames cover the slide but do not say where they lie.

    Without ``ImageType`` or the positions of frames, readers that rely on them refuse a file. Its frames are whole
    tiles in a grid all the same: row by row, as the standard has it, or column by column, as some converters write
    them. Which one is told from the seams: neighbouring frames continue each other.

    Raises:
        SlideFormatError: the frames do not cover the slide exactly once, or cannot be decoded.
    """

    kind = 'pydicom'
    interpolates = False

    def __init__(self, path: Path) -> None:
        try:
            import pydicom
        except ImportError:
            raise SlideFormatError('pydicom, which might read it, is not installed; pip install wsidicom') from None
        try:
            self._data: Any = pydicom.dcmread(path)
            size = int(self._data.TotalPixelMatrixColumns), int(self._data.TotalPixelMatrixRows)
            self._tile = int(self._data.Columns), int(self._data.Rows)
            count = int(self._data.NumberOfFrames)
        except (pydicom.errors.InvalidDicomError, AttributeError, *_DECODE_ERRORS) as error:
            raise SlideFormatError(f'pydicom finds no frames of a slide ({error})') from error
        self._columns, self._rows = (math.ceil(side / tile) for side, tile in zip(size, self._tile, strict=True))
        if self._columns * self._rows != count or 'PerFrameFunctionalGroupsSequence' in self._data:
            raise SlideFormatError(
                f'it has {count} frames of {self._tile[0]}×{self._tile[1]} pixels, expected '
                f'{self._columns * self._rows} without positions, to cover {size[0]}×{size[1]} pixels'
            )
        self.level_sizes, self.level_downsamples = (size,), (1.0,)
        self.mpp = _pixel_spacing(self._data)
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        try:
            self._by_column = self._seam(True) < self._seam(False)
        except RegionError as error:
            raise SlideFormatError(str(error)) from error

    @property
    def icc_profile(self) -> None:
        """No profile: it would stand in the metadata that are missing."""
        return None

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels as (height, width, 3) uint8 RGB; ``level`` is 0."""
        wide, high = self._tile
        canvas = np.empty((height, width, 3), np.uint8)
        for row in range(y // high, (y + height - 1) // high + 1):
            for column in range(x // wide, (x + width - 1) // wide + 1):
                left, top = column * wide - x, row * high - y
                part = self._frame(self._number(column, row, self._by_column))[max(-top, 0) :, max(-left, 0) :]
                target = canvas[max(top, 0) :, max(left, 0) :]
                h, w = min(len(part), len(target)), min(part.shape[1], target.shape[1])
                target[:h, :w] = part[:h, :w]
        return canvas

    def _number(self, column: int, row: int, by_column: bool) -> int:
        return column * self._rows + row if by_column else row * self._columns + column

    def _frame(self, number: int) -> np.ndarray:
        if number not in self._frames:
            self._frames[number] = self._decode(number)
            while len(self._frames) > _CACHED_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(number)
        return self._frames[number]

    def _decode(self, number: int) -> np.ndarray:
        from pydicom.encaps import get_frame
        from pydicom.pixels import pixel_array

        try:
            if self._data.file_meta.TransferSyntaxUID.is_encapsulated:
                data = get_frame(self._data.PixelData, number, number_of_frames=int(self._data.NumberOfFrames))
                if data.startswith(_PILLOW_READS):  # Pillow tells RGB from YCbCr by the image, whose header is right
                    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
            return pixel_array(self._data, index=number)
        except _DECODE_ERRORS as error:
            raise RegionError(f'frame {number}: {error}') from error

    def _seam(self, by_column: bool) -> float:
        """Mean difference across the seams of frames that are neighbours in x under an order of frames."""
        pairs = [(column, row) for row in range(self._rows - 1) for column in range(self._columns - 2)]
        chosen = pairs[:: max(1, len(pairs) // _SEAMS)]
        return float(np.mean(list(self._steps(chosen, by_column)))) if chosen else 0.0

    def _steps(self, pairs: list[tuple[int, int]], by_column: bool) -> Iterator[float]:
        for column, row in pairs:
            left, right = (self._frame(self._number(column + side, row, by_column)) for side in (0, 1))
            yield float(np.abs(left[:, -1].astype(int) - right[:, 0]).mean())

    def close(self) -> None:
        """Forget the file."""
        self._frames.clear()


def _pixel_spacing(data: Any) -> tuple[float, float] | None:
    """µm per pixel along x and y; DICOM has mm, rows first."""
    for group in data.get('SharedFunctionalGroupsSequence', ()):
        for measures in group.get('PixelMeasuresSequence', ()):
            if 'PixelSpacing' in measures:
                high, wide = (1000 * float(side) for side in measures.PixelSpacing)
                return wide, high
    return None
