"""Which tiles were taken of a slide, and what was taken for tissue."""

import cv2
import numpy as np

from histomm.visualization.colors import BLUE, GREEN, VERMILION, rgb
from histomm.wsi.reader import Slide
from histomm.wsi.tissue import TissueMask

_SMALL = 5  # px; smaller tiles are painted and not framed


def draw_slide_tiles(
    slide: Slide,
    tissue: TissueMask,
    taken: np.ndarray,
    dropped: np.ndarray,
    span: tuple[float, float],
    max_side: int = 1600,
) -> np.ndarray:
    """The slide with the border of its tissue (green), its tiles (blue), and those that a filter dropped (vermilion).

    Args:
        slide: The slide.
        tissue: Its mask.
        taken: (n, 2), top left corners of the tiles in level-0 px.
        dropped: (m, 2), those of the dropped ones.
        span: Width and height of the tiles in level-0 px.
        max_side: Longer side of the picture in px, or of the slide where that is smaller.

    Returns:
        uint8 RGB (h, w, 3).
    """
    picture = slide.thumbnail(max_side).copy()
    zoom = np.array(picture.shape[1::-1]) / slide.size
    for corners, color in ((dropped, VERMILION), (taken, BLUE)):
        first = np.round(corners * zoom).astype(int).reshape(-1, 2)
        last = np.round((corners + np.array(span)) * zoom).astype(int).reshape(-1, 2) - 1
        _tint(picture, first, last, rgb(color))
    outline = _mask_of(tissue, picture.shape[:2], zoom)
    contours, _ = cv2.findContours(outline, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, rgb(GREEN), 2, cv2.LINE_AA)
    return picture


def _tint(picture: np.ndarray, first: np.ndarray, last: np.ndarray, color: tuple[int, int, int]) -> None:
    """Paint the tiles with a little colour, and frame them."""
    covered = np.zeros(picture.shape[:2], np.uint8)
    for (x1, y1), (x2, y2) in zip(first, last, strict=True):
        covered[y1 : y2 + 1, x1 : x2 + 1] = 1
    values = np.round(np.arange(256)[:, None] * 0.8 + np.array(color) * 0.2).astype(np.uint8)
    cv2.copyTo(cv2.LUT(picture, values[None]), covered, picture)
    if len(first) and (last - first).min() >= _SMALL:
        for start, end in zip(first.tolist(), last.tolist(), strict=True):
            cv2.rectangle(picture, start, end, color, 1)


def _mask_of(tissue: TissueMask, shape: tuple[int, int], zoom: np.ndarray) -> np.ndarray:
    """The mask at the size of the picture, uint8 0 or 1."""
    rows = ((np.arange(shape[0]) + 0.5) / zoom[1] / tissue.scales[1]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) / zoom[0] / tissue.scales[0]).astype(int)
    height, width = tissue.mask.shape
    return tissue.mask[np.minimum(rows, height - 1)][:, np.minimum(columns, width - 1)].astype(np.uint8)
