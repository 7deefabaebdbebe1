"""Images and label maps in another size."""

import cv2
import numpy as np
import torch
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
