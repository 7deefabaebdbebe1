"""Filters that drop tiles nobody can learn from: fat or empty, marked by a pen, out of focus.

The limits were chosen on tiles of 0.25 to 1 µm per px of ten data sets; look at what is dropped on slides of another
laboratory.
"""

from collections.abc import Mapping

import cv2
import numpy as np

LIMITS = {'fat': 0.7, 'pen': 0.1, 'blur': 15.0}
"""Filters in the order in which they look at a tile, and their default limits:

``fat``: more than this share of the tile is white, and it has few edges; so has empty glass.
``pen``: more than this share of the tile is ink.
``blur``: the sharpness is lower. A Gaussian of 2 px takes most sharp tiles of H&E below 15.
"""

_FEW_EDGES = 0.05


def drop_reason(tile: np.ndarray, limits: Mapping[str, float]) -> str | None:
    """The first filter that drops a tile, or ``None``.

    Args:
        tile: uint8 RGB (h, w, 3).
        limits: Filters to apply, keys of :data:`LIMITS`, with their limits.
    """
    hsv = cv2.cvtColor(tile, cv2.COLOR_RGB2HSV) if 'fat' in limits or 'pen' in limits else None
    if 'fat' in limits and white_share(tile, hsv) > limits['fat'] and edge_share(tile) < _FEW_EDGES:
        return 'fat'
    if 'pen' in limits and pen_share(tile, hsv) > limits['pen']:
        return 'pen'
    if 'blur' in limits and sharpness(tile) < limits['blur']:
        return 'blur'
    return None


def check_limits(limits: Mapping[str, float]) -> None:
    """Raise ``ValueError`` for a filter that does not exist, or a limit out of range."""
    for name, limit in limits.items():
        if name not in LIMITS:
            raise ValueError(f'there is no filter {name!r}, expected some of {", ".join(LIMITS)}')
        highest = np.inf if name == 'blur' else 1
        if not 0 <= limit <= highest:
            raise ValueError(f'the limit of the filter {name} is {limit}, expected 0 to {highest}')


def sharpness(tile: np.ndarray) -> float:
    """Variance of the Laplacian (4 neighbours) of the grey tile, in squared grey values."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    return float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item() ** 2)


def pen_share(tile: np.ndarray, hsv: np.ndarray | None = None) -> float:
    """Share of pixels with the colour of green, blue, cyan or black ink, which no stain of H&E has.

    Ink has a hue of 82° to 242° (stained tissue: about 250° to 360°) at a saturation above .4, or is black, of a value
    below .12. Red ink is not told from eosin and blood.

    Args:
        tile: uint8 RGB (h, w, 3).
        hsv: The same in OpenCV's 8-bit HSV, where that is known.
    """
    hsv = cv2.cvtColor(tile, cv2.COLOR_RGB2HSV) if hsv is None else hsv
    coloured = cv2.inRange(hsv, (41, 103, 31), (121, 255, 255))
    black = cv2.inRange(hsv, (0, 0, 0), (255, 255, 30))
    return (cv2.countNonZero(coloured) + cv2.countNonZero(black)) / coloured.size


def white_share(tile: np.ndarray, hsv: np.ndarray | None = None) -> float:
    """Share of pixels as bright and pale as glass and fat: value above .82 and saturation below .12.

    Args:
        tile: uint8 RGB (h, w, 3).
        hsv: The same in OpenCV's 8-bit HSV, where that is known.
    """
    hsv = cv2.cvtColor(tile, cv2.COLOR_RGB2HSV) if hsv is None else hsv
    white = cv2.inRange(hsv, (0, 0, 210), (255, 30, 255))
    return cv2.countNonZero(white) / white.size


def edge_share(tile: np.ndarray) -> float:
    """Share of pixels where the gradient (Sobel) of the grey tile exceeds 40 grey values per pixel."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return float((cv2.magnitude(dx, dy) > 40).mean())
