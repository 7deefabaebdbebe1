"""JPEG tiles of a TIFF, decoded without a detour.

OpenSlide reads them through libtiff into premultiplied RGBA and paints them with cairo, which takes three times as long
as to decode them, and interpolates where levels are not whole multiples of each other. The pixels of level 0 are equal.
"""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from histomm.wsi.backends.base import RegionError

_JPEG, _YCBCR, _RGB = 7, 6, 2  # tags of TIFF and their values
_CACHE_BYTES = 2**25


class _TileCache:
    """Decoded tiles that were used last, of all slides of this process together."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        """The tile, if it is still here."""
        if key not in self._tiles:
            return None
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def put(self, key: tuple[int, int], tile: np.ndarray) -> None:
        """Keep a tile in place of the one not used for longest."""
        self._tiles[key] = tile
        self._bytes += tile.nbytes
        while self._bytes > _CACHE_BYTES:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes


_cache = _TileCache()
_opened = iter(range(2**62))  # numbers of levels in the keys of the cache


class JpegLevel:
    """A level whose tiles are JPEG of three channels.

    Args:
        page: tifffile's page.
    """

    def __init__(self, page: Any) -> None:
        self.size = page.imagewidth, page.imagelength
        self._tile = page.tilewidth, page.tilelength
        self._columns = -(-self.size[0] // self._tile[0])
        self._offsets = np.array(page.dataoffsets, np.uint64)
        self._counts = np.array(page.databytecounts, np.uint32)
        # A JPEG inside a TIFF says in the TIFF alone whether it is RGB; decoders are told by Adobe's marker (APP14).
        marker = b'\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00' + bytes([page.photometric == _YCBCR])
        self._head = b'\xff\xd8' + marker + (page.jpegtables or b'')[2:-2]
        self._number = next(_opened)

    def read(self, file: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a region inside the level, (height, width, 3) uint8 RGB, from the descriptor of the file."""
        wide, high = self._tile
        canvas = np.empty((height, width, 3), np.uint8)
        for row in range(y // high, (y + height - 1) // high + 1):
            for column in range(x // wide, (x + width - 1) // wide + 1):
                left, top = column * wide - x, row * high - y
                tile = self._decoded(file, row * self._columns + column)[max(-top, 0) :, max(-left, 0) :]
                target = canvas[max(top, 0) :, max(left, 0) :]
                h, w = min(len(tile), len(target)), min(tile.shape[1], target.shape[1])
                target[:h, :w] = tile[:h, :w]
        return cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB, dst=canvas)

    def _decoded(self, file: int, index: int) -> np.ndarray:
        """A tile (h, w, 3) in the order of OpenCV, BGR."""
        key = self._number, index
        tile = _cache.get(key)
        if tile is None:
            tile = self._decode(file, index)
            _cache.put(key, tile)
        return tile

    def _decode(self, file: int, index: int) -> np.ndarray:
        count = int(self._counts[index])
        data = os.pread(file, count, int(self._offsets[index]))
        # OpenCV fills what is missing of a JPEG with grey and says nothing.
        whole = len(data) == count and data.startswith(b'\xff\xd8') and b'\xff\xd9' in data[-16:]
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        tile = cv2.imdecode(np.frombuffer(self._head + data[2:], np.uint8), flags) if whole else None
        if tile is None or tile.shape[:2] != self._tile[::-1]:
            raise RegionError(f'tile {index} of {self.size[0]}×{self.size[1]} pixels is damaged or truncated')
        return tile


def jpeg_levels(path: Path, sizes: tuple[tuple[int, int], ...]) -> list[JpegLevel]:
    """Levels of a TIFF with these sizes; none if one has other tiles than JPEG in RGB or YCbCr, or lacks tiles."""
    try:
        import tifffile
    except ImportError:
        return []
    try:
        with tifffile.TiffFile(path) as file:
            pages = {(page.imagewidth, page.imagelength): page for page in reversed(file.pages) if _is_plain(page)}
            return [JpegLevel(pages[size]) for size in sizes]
    except (KeyError, ValueError, OSError):  # no such page, or tags that tifffile cannot read and OpenSlide can
        return []


def _is_plain(page: Any) -> bool:
    return bool(
        page.is_tiled
        and page.compression == _JPEG
        and page.photometric in (_YCBCR, _RGB)
        and (page.samplesperpixel, page.bitspersample, page.planarconfig, page.imagedepth) == (3, 8, 1, 1)
        and all(page.databytecounts)
    )
