"""Plain and OME-TIFF through tifffile: tiles or strips, pyramids in sub-files or pages, 8 or 16 bits a channel."""

import io
import lzma
import math
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histomm.wsi.backends.base import RegionError, SlideFormatError, mpp_of_resolution, over_white
from histomm.wsi.backends.lzw import LZW, decode_lzw

_JPEG = 7  # tags of TIFF and their values
_RGB, _YCBCR, _BLACK_IS_ZERO, _WHITE_IS_ZERO = 2, 6, 1, 0
_REDUCED = 1
_ICC = 34675
_CACHE_BYTES = 2**26
_MICROMETRES = {'µm': 1.0, 'um': 1.0, 'nm': 1e-3, 'mm': 1e3, 'cm': 1e4, 'm': 1e6}
_DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, KeyError, RuntimeError),
    *(struct.error, zlib.error, lzma.LZMAError),
)


class TiffBackend:
    """A TIFF that tifffile reads; see :class:`~histomm.wsi.backends.base.Backend`.

    The segments (tiles or strips) decoded last are kept, 64 MB of them.

    Raises:
        SlideFormatError: no TIFF, no image of RGB or grey with 8 or 16 bits, or a compression that needs imagecodecs.
    """

    kind = 'tifffile'
    interpolates = False

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ImportError:
            raise SlideFormatError('tifffile, which might read it, is not installed; pip install tifffile') from None
        try:
            self._file = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, *_DECODE_ERRORS) as error:
            raise SlideFormatError(f'tifffile refuses it ({error})') from error
        try:
            self._pages = _levels(self._file)
            _check_page(self._pages[0], tifffile.TIFF.DECOMPRESSORS)
            self.mpp = _mpp(self._file, self._pages[0])
        except SlideFormatError:
            self._file.close()
            raise
        except (*_DECODE_ERRORS, ElementTree.ParseError) as error:
            self._file.close()
            raise SlideFormatError(f'its TIFF tags are damaged ({error})') from error
        self.level_sizes = tuple((page.imagewidth, page.imagelength) for page in self._pages)
        width, height = self.level_sizes[0]
        self.level_downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_sizes)
        self._segments: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    @property
    def icc_profile(self) -> bytes | None:
        """Bytes of the ICC profile, or ``None``."""
        tag = self._pages[0].tags.get(_ICC)
        return bytes(tag.value) if tag is not None else None

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level as (height, width, 3) uint8 RGB."""
        page = self._pages[level]
        wide, high = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
        high = min(high, page.imagelength)
        columns, rows = math.ceil(page.imagewidth / wide), math.ceil(page.imagelength / high)
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        raw = np.empty((height, width, page.samplesperpixel), page.dtype)
        for plane in range(planes):
            channels = slice(None) if planes == 1 else slice(plane, plane + 1)
            for row in range(y // high, (y + height - 1) // high + 1):
                for column in range(x // wide, (x + width - 1) // wide + 1):
                    segment = self._segment(level, (plane * rows + row) * columns + column)
                    _paste(raw[..., channels], segment, column * wide - x, row * high - y)
        return _to_rgb(raw, page)

    def _segment(self, level: int, index: int) -> np.ndarray:
        """Decoded tile or strip (h, w, samples)."""
        key = level, index
        if key not in self._segments:
            self._segments[key] = self._decode(self._pages[level], index)
            while len(self._segments) > 1 and sum(part.nbytes for part in self._segments.values()) > _CACHE_BYTES:
                self._segments.popitem(last=False)
        self._segments.move_to_end(key)
        return self._segments[key]

    def _decode(self, page: Any, index: int) -> np.ndarray:
        count = page.databytecounts[index]
        if count == 0:  # a tile that was not scanned
            return np.full((1, 1, 1), np.iinfo(page.dtype).max, page.dtype)
        try:
            self._file.filehandle.seek(page.dataoffsets[index])
            data = self._file.filehandle.read(count)
            if len(data) < count:
                raise EOFError('the file is truncated')
            if page.compression == _JPEG:
                return _decode_jpeg(data, page.jpegtables, page.photometric)
            if page.compression == LZW:
                return decode_lzw(data, page, _segment_shape(page, index))
            decoded = page.decode(data, index)[0]
        except _DECODE_ERRORS as error:
            raise RegionError(f'tile {index} of {page.imagewidth}×{page.imagelength} pixels: {error}') from error
        return decoded.reshape(decoded.shape[-3:])

    def close(self) -> None:
        """Release the file."""
        self._segments.clear()
        self._file.close()


def _levels(file: Any) -> list[Any]:
    """Pages of the levels, the finest first: of the largest series, or of the pages marked as reduced images."""
    if not len(file.pages):
        raise SlideFormatError('it is a TIFF without an image')
    series = max(file.series, key=lambda one: one.keyframe.imagewidth * one.keyframe.imagelength)
    pages = [level.keyframe for level in series.levels]
    if len(pages) == 1:
        first = pages[0]
        for page in (one.aspage() for one in file.pages if one.aspage().subfiletype & _REDUCED):
            skew = page.imagewidth * first.imagelength / (page.imagelength * first.imagewidth)
            if page.imagewidth < first.imagewidth and 0.98 < skew < 1.02:
                pages.append(page)
    pages = [page for page in pages if (page.dtype, page.samplesperpixel) == (pages[0].dtype, pages[0].samplesperpixel)]
    return sorted(pages, key=lambda page: -page.imagewidth)


def _check_page(page: Any, known: Any) -> None:
    """Refuse what cannot become RGB."""
    if page.photometric not in (_RGB, _YCBCR, _BLACK_IS_ZERO, _WHITE_IS_ZERO) or page.imagedepth > 1:
        raise SlideFormatError(f'its pixels are {page.photometric!s}, expected RGB, YCbCr or grey')
    if page.dtype is None or page.dtype.name not in ('uint8', 'uint16'):
        raise SlideFormatError(f'its pixels are {page.dtype}, expected 8- or 16-bit unsigned integers')
    if page.compression not in (1, _JPEG, LZW):
        try:
            known[page.compression]
        except KeyError:
            name = getattr(page.compression, 'name', page.compression)
            raise SlideFormatError(
                f'its compression {name} is read with imagecodecs; pip install imagecodecs'
            ) from None


def _segment_shape(page: Any, index: int) -> tuple[int, int, int]:
    """Height, width and samples of a tile, or of a strip, of which the last is shorter."""
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    if page.is_tiled:
        return page.tilelength, page.tilewidth, samples
    rows = min(page.rowsperstrip, page.imagelength)
    first = index % math.ceil(page.imagelength / rows) * rows
    return min(rows, page.imagelength - first), page.imagewidth, samples


def _paste(canvas: np.ndarray, segment: np.ndarray, left: int, top: int) -> None:
    """Copy the part of a segment that lies on the canvas; a segment of one pixel fills the whole."""
    if segment.shape[:2] == (1, 1):
        canvas[max(top, 0) :, max(left, 0) :] = segment
        return
    part = segment[max(-top, 0) :, max(-left, 0) :]
    target = canvas[max(top, 0) :, max(left, 0) :]
    height, width = min(part.shape[0], target.shape[0]), min(part.shape[1], target.shape[1])
    target[:height, :width] = part[:height, :width]


def _decode_jpeg(data: bytes, tables: bytes | None, photometric: int) -> np.ndarray:
    """Decode a JPEG tile whose tables may lie apart.

    Pillow is told by Adobe's marker (APP14, last byte 0 for RGB and 1 for YCbCr) whether to convert colours, since a
    JPEG inside a TIFF says it in the TIFF alone.
    """
    marker = b'\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00' + bytes([photometric == _YCBCR])
    parts = [b'\xff\xd8', marker, (tables or b'')[2:-2], data[2:]]
    image = Image.open(io.BytesIO(b''.join(parts)))
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_rgb(raw: np.ndarray, page: Any) -> np.ndarray:
    """(H, W, samples) of 8 or 16 bits as (H, W, 3) uint8: 16 bits by their type's range, grey three times."""
    pixels = raw if raw.dtype == np.uint8 else ((raw.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if page.photometric == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, axis=2)
    if pixels.shape[2] > 3 and page.extrasamples and page.extrasamples[0] == 2:  # alpha, not premultiplied
        return over_white(pixels[..., :4])
    return np.ascontiguousarray(pixels[..., :3])


def _mpp(file: Any, page: Any) -> tuple[float, float] | None:
    """µm per pixel along x and y: that of OME's metadata, or of the resolution tags."""
    if file.is_ome:
        pixels = ElementTree.fromstring(file.ome_metadata).find('.//{*}Pixels')
        sides = [_physical_size(pixels, axis) for axis in 'XY'] if pixels is not None else [0.0]
        if all(sides):
            return sides[0], sides[1]
    tags = {name: page.tags.get(name) for name in ('XResolution', 'YResolution', 'ResolutionUnit')}
    if any(tag is None for tag in tags.values()):
        return None
    pixels_x, pixels_y = (n / max(d, 1) for n, d in (tags[name].value for name in ('XResolution', 'YResolution')))
    return mpp_of_resolution(
        pixels_x, pixels_y, {2: 'inch', 3: 'centimeter'}.get(int(tags['ResolutionUnit'].value), '')
    )


def _physical_size(pixels: ElementTree.Element, axis: str) -> float:
    """µm per pixel along an axis by OME's attributes; 0 where they do not say."""
    unit = _MICROMETRES.get(pixels.get(f'PhysicalSize{axis}Unit', 'µm'), 0.0)
    return float(pixels.get(f'PhysicalSize{axis}', 0)) * unit
