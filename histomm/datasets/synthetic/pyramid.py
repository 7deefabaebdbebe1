"""Pyramids of JPEG tiles in a BigTIFF, written tile by tile so that a slide of any size fits in memory."""

import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

TILE = 256
_SMALLEST = 512  # longest side of the last level
_QUALITY = 85
_FORMATS = {2: 's', 3: 'H', 4: 'I', 5: 'I', 16: 'Q'}  # of TIFF's types ASCII, SHORT, LONG, RATIONAL and LONG8

Render = Callable[[int, int, int, int], np.ndarray]


def write_pyramid(path: Path, size: tuple[int, int], render: Render, mpp: float, description: str) -> None:
    """Write a slide that OpenSlide, QuPath and libvips read: a level a page, each half as large as the one before.

    Levels below the first are kept in a temporary file while they are written, not in memory. Equal pixels give equal
    bytes.

    Args:
        path: File to write.
        size: ``(width, height)`` of level 0.
        render: ``render(x, y, width, height)`` gives the pixels of a part of level 0, ``(height, width, 3)`` uint8 RGB;
            it is asked for tiles row by row.
        mpp: µm per level-0 pixel, told by the resolution tags.
        description: Text of the image description; ASCII.
    """
    with open(path, 'wb') as file:
        file.write(struct.pack('<2s3H', b'II', 43, 8, 0))
        for level, (width, height) in enumerate(sizes := level_sizes(size)):
            below = _scratch(path.parent, sizes[level + 1]) if level + 1 < len(sizes) else None
            start = file.tell()
            file.write(bytes(8))  # where this page begins, once it is known
            places = []
            for tile in _tiles(render, width, height, below):
                places.append((file.tell(), len(tile)))
                file.write(tile)
            tags = _tags((width, height), places, mpp * 2**level, description, level > 0)
            page = _write_page(file, tags)
            file.seek(start)
            file.write(struct.pack('<Q', page))
            file.seek(0, 2)
            if below is not None:
                render = _window(below)
        file.write(bytes(8))  # no page follows


def level_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """``(width, height)`` of each level, halved and rounded down until the longer side is at most 512."""
    sizes = [size]
    while max(sizes[-1]) > _SMALLEST:
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return sizes


def _scratch(folder: Path, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a level in a file that vanishes with them."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, 'w+', shape=(size[1], size[0], 3))


def _window(pixels: np.ndarray) -> Render:
    return lambda x, y, width, height: np.asarray(pixels[y : y + height, x : x + width])


def _tiles(render: Render, width: int, height: int, below: np.ndarray | None) -> Iterator[bytes]:
    """JPEG tiles of a level, row by row; fills the level ``below`` on the way."""
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            pixels = render(x, y, min(TILE, width - x), min(TILE, height - y))
            h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
            if below is not None and h and w:
                half = cv2.resize(pixels[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA)
                below[y // 2 : y // 2 + h, x // 2 : x // 2 + w] = half
            yield _jpeg(pixels)


def _jpeg(pixels: np.ndarray) -> bytes:
    """A tile as JPEG (4:2:0); one at the right or lower border is filled up with its last column or row."""
    missing = TILE - pixels.shape[0], TILE - pixels.shape[1]
    full = cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode('.jpg', cv2.cvtColor(full, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _tags(
    size: tuple[int, int], places: list[tuple[int, int]], mpp: float, description: str, reduced: bool
) -> list[tuple[int, int, tuple]]:
    """Tags of a page in ascending order: number, type, values."""
    per_centimetre = round(1e4 / mpp * 2**10), 2**10
    text = description.encode('ascii') + b'\0'
    return [
        (254, 4, (int(reduced),)),
        (256, 4, (size[0],)),
        (257, 4, (size[1],)),
        (258, 3, (8, 8, 8)),
        (259, 3, (7,)),  # JPEG
        (262, 3, (6,)),  # YCbCr
        (270, 2, (text,)),
        (277, 3, (3,)),
        (282, 5, per_centimetre),
        (283, 5, per_centimetre),
        (284, 3, (1,)),
        (296, 3, (3,)),  # centimetres
        (322, 4, (TILE,)),
        (323, 4, (TILE,)),
        (324, 16, tuple(offset for offset, _ in places)),
        (325, 16, tuple(count for _, count in places)),
        (530, 3, (2, 2)),
    ]


def _write_page(file: BinaryIO, tags: list[tuple[int, int, tuple]]) -> int:
    """Write the values that do not fit into tags, then the page; returns where it begins.

    The place of the following page is the 8 bytes after it, which the next level, or the end of the file, holds.
    """
    entries = []
    for number, kind, values in tags:
        if kind == 2:
            data, count = values[0], len(values[0])
        else:
            data = struct.pack(f'<{len(values)}{_FORMATS[kind]}', *values)
            count = len(values) // 2 if kind == 5 else len(values)
        if len(data) > 8:
            place = file.tell()
            file.write(data)
            data = struct.pack('<Q', place)
        entries.append(struct.pack('<2HQ8s', number, kind, count, data))
    start = file.tell()
    file.write(struct.pack('<Q', len(entries)) + b''.join(entries))
    return start
