"""Confidences of images of any size, tile by tile, equal to those of the whole.

A tile has a core, of which the result is kept, and a window around it that the network sees. Where the window reaches
beyond the core by the radius of the receptive field, or ends with the image, the core comes out as it does of the whole
image.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

ReadBox = Callable[[int, int, int, int], np.ndarray]
"""From x, y, width and height to uint8 RGB (height, width, 3)."""


class Box(NamedTuple):
    """Part of an image, in pixels.

    Attributes:
        x: Left border.
        y: Upper border.
        width: To the right.
        height: Downwards.
    """

    x: int
    y: int
    width: int
    height: int

    def grown(self, margin: int, size: tuple[int, int]) -> 'Box':
        """With ``margin`` pixels more on each side, as far as an image of ``size`` (width, height) has them."""
        x, y = max(0, self.x - margin), max(0, self.y - margin)
        right, lower = min(size[0], self.x + self.width + margin), min(size[1], self.y + self.height + margin)
        return Box(x, y, right - x, lower - y)

    def within(self, outer: 'Box') -> tuple[slice, slice]:
        """Rows and columns of this box in an array of ``outer``."""
        y, x = self.y - outer.y, self.x - outer.x
        return slice(y, y + self.height), slice(x, x + self.width)


def cores(size: tuple[int, int], side: int) -> Iterator[Box]:
    """Boxes of at most ``side`` pixels that cover an image of ``size`` (width, height), row by row.

    Raises:
        ValueError: ``side`` or a side of the image is below 1.
    """
    if side < 1 or min(size) < 1:
        raise ValueError(f'tiles of {side} pixels of an image of {size[0]}×{size[1]}, expected 1 or more')
    for y in range(0, size[1], side):
        for x in range(0, size[0], side):
            yield Box(x, y, min(side, size[0] - x), min(side, size[1] - y))


def receptive_radius(network: nn.Module) -> int:
    """Pixels that a chain of convolutions sees on each side of the one it answers for; 83 of ``ConfidenceNet``.

    Shortcuts past convolutions do not matter, branches side by side make it larger than it is.

    Raises:
        ValueError: A layer with a stride, a transposed convolution or an upsampling, or none of convolution at all;
            tiles of such a network do not equal the whole.
    """
    radius, found = 0, False
    for name, layer in network.named_modules():
        kernel, stride = getattr(layer, 'kernel_size', 1), getattr(layer, 'stride', 1)
        if np.max(stride) > 1 or isinstance(layer, nn.Upsample | nn.modules.conv._ConvTransposeNd):
            raise ValueError(
                f'{type(network).__name__}: layer {name} is {type(layer).__name__}, expected convolutions of stride 1; '
                'the tiles of this network do not equal the whole image'
            )
        if isinstance(layer, nn.Conv2d):
            found = True
            radius += max(d * (k - 1) // 2 for d, k in zip(layer.dilation, kernel, strict=True))
        elif np.max(kernel) > 1:
            radius += int(np.max(kernel)) // 2
    if not found:
        raise ValueError(f'{type(network).__name__} has no convolution, expected a network of convolutions')
    return radius


@torch.no_grad()
def predict_confidence(model: BaseModel, pixels: np.ndarray, name: str = '') -> np.ndarray:
    """Confidences (K, H, W) float32 of one image, uint8 RGB (H, W, 3).

    Args:
        model: In evaluation mode; in ``mode='predict'`` it gives data samples with the field ``confidence``.
        pixels: The image.
        name: Of the image, for messages of the model.
    """
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    sample = BaseDataElement(metainfo=dict(img_path=name))
    return model.val_step(dict(inputs=image, data_samples=[sample]))[0].confidence.float().cpu().numpy()


def core_confidence(
    model: BaseModel, read: ReadBox, size: tuple[int, int], core: Box, radius: int, halo: int = 0, name: str = ''
) -> tuple[Box, np.ndarray]:
    """Confidences of one core, as they are of the whole image.

    Args:
        model: See :func:`predict_confidence`.
        read: Reads boxes of the image.
        size: Of the image: width, height.
        core: Of :func:`cores`.
        radius: Of :func:`receptive_radius`.
        halo: Give so many pixels more on each side, as far as the image has them.
        name: Of the image.

    Returns:
        The core with its halo, and its confidences (K, height, width) float32.
    """
    given = core.grown(halo, size)
    window = given.grown(radius, size)
    confidence = predict_confidence(model, read(*window), name)
    return given, confidence[(slice(None), *given.within(window))]
