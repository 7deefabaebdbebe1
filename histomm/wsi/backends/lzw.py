"""LZW, which tifffile reads with imagecodecs alone: a segment becomes a small TIFF of its own, which OpenCV decodes."""

import struct
from typing import Any

import cv2
import numpy as np

LZW = 5
"""Tag of TIFF."""

_SHORT, _LONG = 3, 4  # types of TIFF
_AS_IT_IS = 1  # "associated" alpha, which libtiff does not multiply in once more


def decode_lzw(data: bytes, page: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Pixels (height, width, samples) of an LZW segment, a tile or strip of tifffile's ``page``.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    height, width, samples = shape
    entries = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [page.bitspersample] * samples),
        (259, _SHORT, [LZW]),
        (262, _SHORT, [2 if samples >= 3 else 1]),  # RGB, or grey as it is
        (273, _LONG, [8]),  # where the data begin
        (277, _SHORT, [samples]),
        (278, _LONG, [height]),
        (279, _LONG, [len(data)]),
        (317, _SHORT, [page.predictor]),
        *([(338, _SHORT, [_AS_IT_IS])] if samples == 4 else []),
    ]
    order = page.parent.byteorder
    mark = b'II' if order == '<' else b'MM'
    body = data + bytes(len(data) % 2)
    head = struct.pack(f'{order}2sHI', mark, 42, 8 + len(body))
    flags = cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(head + body + _directory(entries, order, 8 + len(body)), np.uint8), flags)
    if image is None or image.shape[:2] != (height, width):
        raise ValueError('damaged LZW data')
    if samples >= 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if samples == 4 else cv2.COLOR_BGR2RGB)
    return image.reshape(shape)


def _directory(entries: list[tuple[int, int, list[int]]], order: str, start: int) -> bytes:
    """A directory of TIFF that begins at ``start``, and the values that do not fit into its entries after it."""
    table, after = struct.pack(f'{order}H', len(entries)), b''
    rest = start + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f'{order}{len(values)}{"H" if kind == _SHORT else "I"}', *values)
        if len(packed) > 4:
            after += packed
            packed = struct.pack(f'{order}I', rest + len(after) - len(packed))
        table += struct.pack(f'{order}HHI4s', tag, kind, len(values), packed)
    return table + bytes(4) + after
