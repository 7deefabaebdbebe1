"""Where the pixels of a region lie on a level, and bringing them to the size that was asked for."""

import cv2
import numpy as np


def span_in_pixels(start: float, count: int, scale: float) -> tuple[int, int]:
    """Borders in level pixels of ``count`` pixels, each ``scale`` long: ``count`` apart where that is as near."""
    first, last = round(start), round(start + count * scale)
    if abs(count * scale - count) < 0.5:
        last = first + count
    return first, max(last, first + 1)


def resample(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, 3) to (height, width, 3): by area where it shrinks, linearly where it grows."""
    if image.shape[:2] == (height, width):
        return image
    grows = width > image.shape[1] and height > image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA)
