"""Outlines of labelled areas as polygons, exact to the pixel.

Pixel (x, y) covers [x, x + 1) × [y, y + 1), so an outline runs along the borders of pixels, and filled again it gives
the pixels it came from.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(n, 2) corners x, y of a closed line; the first is not repeated. Positive area for outlines, negative for holes."""

_STEP = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)))  # x, y along the top, right, lower and left border of a pixel
_START = np.array(((0, 0), (1, 0), (1, 1), (0, 1)))  # where each border begins, from the corner of the pixel
_OUT = np.array(((0, -1), (1, 0), (0, 1), (-1, 0)))  # to the pixel beyond each border


class Polygon(NamedTuple):
    """An area without the holes in it.

    Attributes:
        outline: Its outer ring.
        holes: The rings of its holes.
    """

    outline: Ring
    holes: list[Ring]


def outline_labels(labels: NDArray[np.integer], simplify: float = 0.0) -> dict[int, list[Polygon]]:
    """Polygons of each label of a map.

    Parts that are connected by a corner alone are polygons of their own, so that no ring crosses or touches itself.

    Args:
        labels: (H, W) integers or bool, 0 outside.
        simplify: Leave out corners as long as the line stays within so many pixels; 0 keeps the steps of the pixels.
            Rings that would vanish keep theirs.

    Returns:
        Label to its polygons, by increasing label.

    Raises:
        ValueError: The map is not a (H, W) array of integers without negative ones, or ``simplify`` is below 0.
    """
    if labels.ndim != 2 or labels.dtype.kind not in 'iub' or (labels.size and labels.min() < 0):
        raise ValueError(f'the labels are {labels.dtype} {labels.shape}, expected integers (H, W) of 0 and more')
    if not simplify >= 0:
        raise ValueError(f'simplify is {simplify}, expected 0 pixels or more')
    rings: dict[int, list[tuple[Ring, NDArray[np.float64]]]] = {}
    for label, ring, inside in _trace(np.pad(labels, 1).astype(np.int64)):
        rings.setdefault(label, []).append((ring - 1, inside - 1))
    return {label: _polygons(rings[label], simplify) for label in sorted(rings)}


def _trace(labels: NDArray[np.int64]) -> list[tuple[int, Ring, NDArray[np.float64]]]:
    """Label, ring, and middle of a pixel of the label beside the ring, of all rings of a map with an empty border.

    Each border of a pixel to another label is a step with its pixel on the right hand. At its end it goes on around
    the same pixel, straight on along the next one, or around the corner along the one beyond.
    """
    pixels, sides = _borders(labels)
    x, y = pixels.T
    own = labels[y, x]
    ahead = pixels + _STEP[sides]
    beyond = ahead + _OUT[sides]
    same_ahead = labels[ahead[:, 1], ahead[:, 0]] == own
    same_beyond = same_ahead & (labels[beyond[:, 1], beyond[:, 0]] == own)
    following = np.where(same_beyond[:, None], beyond, np.where(same_ahead[:, None], ahead, pixels))
    side = (sides + np.where(same_beyond, 3, np.where(same_ahead, 0, 1))) % 4
    number = np.full((4, *labels.shape), -1)
    number[sides, y, x] = np.arange(len(x))
    successor = number[side, following[:, 1], following[:, 0]].tolist()
    turns = (side != sides).tolist()
    ends = (pixels + _START[sides] + _STEP[sides]).tolist()
    found, seen = [], bytearray(len(ends))
    for first in range(len(ends)):
        corners, step = [], first
        while not seen[step]:
            seen[step] = 1
            if turns[step]:
                corners.append((ends[step][0], ends[step][1]))
            step = successor[step]
        if corners:
            found += [(int(own[first]), ring, pixels[first] + 0.5) for ring in _simple_rings(corners)]
    return found


def _borders(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels (n, 2) x, y that border on another label, and at which side (n,), once a side."""
    found, inner = [], labels[1:-1, 1:-1]
    for side, (dx, dy) in enumerate(_OUT):
        other = labels[1 + dy : labels.shape[0] - 1 + dy, 1 + dx : labels.shape[1] - 1 + dx]
        y, x = np.nonzero((inner != 0) & (inner != other))
        found.append(np.stack((x + 1, y + 1, np.full_like(x, side)), axis=1))
    borders = np.concatenate(found)
    return borders[:, :2], borders[:, 2]


def _simple_rings(corners: list[tuple[int, int]]) -> list[Ring]:
    """Cut a ring where it comes to a corner for the second time."""
    if len(set(corners)) == len(corners):
        return [np.array(corners, dtype=np.float64)]
    rings: list[Ring] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for corner in corners:
        if corner in places:
            cut = path[places[corner] :]
            rings.append(np.array(cut, dtype=np.float64))
            del path[places[corner] :]
            for passed in cut:
                del places[passed]
        places[corner] = len(path)
        path.append(corner)
    return [*rings, np.array(path, dtype=np.float64)]


def ring_area(ring: Ring) -> float:
    """Area of a ring in square pixels, negative for a hole."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _polygons(rings: list[tuple[Ring, NDArray[np.float64]]], simplify: float) -> list[Polygon]:
    """Give each hole to the smallest outline around the pixel beside it."""
    outlines = sorted(((ring_area(ring), ring) for ring, _ in rings if ring_area(ring) > 0), key=lambda item: item[0])
    holes: list[list[Ring]] = [[] for _ in outlines]
    for ring, inside in rings:
        if ring_area(ring) < 0:
            around = (index for index, (_, outline) in enumerate(outlines) if _contains(outline, inside))
            holes[next(around)].append(_simplified(ring, simplify))
    return [Polygon(_simplified(outline, simplify), inner) for (_, outline), inner in zip(outlines, holes, strict=True)]


def _contains(ring: Ring, point: NDArray[np.float64]) -> bool:
    return cv2.pointPolygonTest(ring.astype(np.float32)[:, None], (float(point[0]), float(point[1])), False) > 0


def _simplified(ring: Ring, tolerance: float) -> Ring:
    if not tolerance:
        return ring
    fewer = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, True)[:, 0].astype(np.float64)
    return fewer if len(fewer) > 2 and ring_area(fewer) * ring_area(ring) > 0 else ring
