"""Images and label maps in another size."""

import math

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

INTERPOLATIONS = ('bilinear', 'bicubic')


def resize(image: np.ndarray, size: tuple[int, int], interpolation: str = 'bilinear') -> np.ndarray:
    """Resize as Pillow does, with antialiasing where it shrinks, rows first: equal to it within two grey levels.

    Bilinear enlargement is OpenCV's and the rest torch's, whichever is the faster; both are several times as fast as
    Pillow. Some versions of Pillow resize columns first where that is cheaper: bicubic values beyond black and white,
    which are cut off in between, then differ by more.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of the result.
        interpolation: 'bilinear' or 'bicubic'.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image.copy()
    if interpolation == 'bilinear' and image.shape[0] <= height and image.shape[1] <= width:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = torch.from_numpy(np.require(image, requirements='CW'))  # a copy of a part, or where torch would warn
    pixels = pixels.permute(2, 0, 1)[None]
    planes = functional.interpolate(pixels, size=(height, width), mode=interpolation, antialias=True)[0].numpy()
    return cv2.merge([*planes])


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a label map to (height, width): every pixel takes the label under its centre, as in Pillow.

    OpenCV's plain nearest neighbour takes the one under the upper left corner, which shifts the map against the image.
    """
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def resize_part(
    image: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int], interpolation: str = 'bilinear'
) -> np.ndarray:
    """A rectangle of an image, which may begin and end within pixels, resized as :func:`resize` does.

    Args:
        image: (H, W, 3) uint8.
        box: (x1, y1, x2, y2) in pixels of the image.
        size: (height, width) of the result.
        interpolation: 'bilinear' or 'bicubic'.
    """
    x1, y1, x2, y2 = box
    left, top = math.floor(x1), math.floor(y1)
    part = image[top : math.ceil(y2), left : math.ceil(x2)]
    if all(float(edge).is_integer() for edge in box):
        return resize(part, size, interpolation)
    within = (x1 - left, y1 - top, x2 - left, y2 - top)
    return np.array(Image.fromarray(part).resize(size[::-1], Image.Resampling[interpolation.upper()], within))
