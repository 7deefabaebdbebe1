"""Crops, resizing, flips, quarter turns and blur of a batch, with other parameters for each image.

A crop that is resized and flipped is linear along rows and along columns: a pair of matrices for each image, which hold
the weights of Pillow's filters. So two batched products make what Pillow makes image by image. Images are float tensors
(B, 3, H, W) of whole grey levels, 0 to 255, and stay whole numbers.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min_(0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2, as in Pillow."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


FILTERS = {'bilinear': _triangle, 'bicubic': _cubic}


def resize_matrix(
    start: Tensor, length: Tensor, flip: Tensor, source: int, size: int, interpolation: str = 'bilinear'
) -> Tensor:
    """Weights that resize a stretch of ``source`` pixels to ``size`` pixels along one axis, antialiased as in Pillow.

    Pixel i of the result lies at c = (i + 1/2) · length / size of the stretch; pixel j of the stretch gets the weight
    f((j + 1/2 − c) / max(length / size, 1)), f a triangle or a cubic, and each row is divided by its sum. What lies
    beyond the stretch counts for nothing, as if the image had been cut before.

    Args:
        start: (B,) first pixel of the stretch.
        length: (B,) its length in pixels, at least 1.
        flip: (B,) bool, whether the result runs backwards.
        source: Pixels of the image along this axis.
        size: Pixels of the result.
        interpolation: 'bilinear' or 'bicubic'.

    Returns:
        (B, size, source) float32; rows sum to 1.
    """
    start, length = start.float()[:, None, None], length.float()[:, None, None]
    place = torch.arange(size, dtype=torch.float32, device=start.device)[None, :, None]
    place = torch.where(flip[:, None, None], size - 1 - place, place)
    pixel = torch.arange(source, dtype=torch.float32, device=start.device) - start
    scale = length / size
    weight = FILTERS[interpolation]((pixel + 0.5 - (place + 0.5) * scale) / scale.clamp_min(1))
    weight = weight * ((pixel >= 0) & (pixel < length))
    return weight / weight.sum(2, keepdim=True)


def _levels(images: Tensor) -> Tensor:
    """The nearest whole grey levels, in place."""
    return images.add_(0.5).floor_().clamp_(0, 255)


def crop_resize(
    images: Tensor,
    rectangle: Tensor,
    hflip: Tensor,
    vflip: Tensor,
    size: tuple[int, int],
    interpolation: str = 'bilinear',
) -> Tensor:
    """Cut a rectangle from each image, resize it and flip it.

    Args:
        images: (B, 3, H, W) grey levels.
        rectangle: (B, 4) top, left, height and width in pixels, within the image.
        hflip: (B,) bool, left-right after the crop.
        vflip: (B,) bool, top-bottom after the crop.
        size: (h, w) of the result.
        interpolation: 'bilinear' or 'bicubic', antialiased where it shrinks.

    Returns:
        (B, 3, h, w) grey levels, to the full precision of the images also under autocast.
    """
    top, left, height, width = rectangle.unbind(1)
    rows = resize_matrix(top, height, vflip, images.shape[2], size[0], interpolation)
    columns = resize_matrix(left, width, hflip, images.shape[3], size[1], interpolation)
    batch, channels, source, _ = images.shape
    with torch.autocast(images.device.type, enabled=False):
        images = torch.bmm(images.reshape(batch, channels * source, -1), columns.mT).view(batch, channels, source, -1)
        if interpolation == 'bicubic':  # it overshoots, and what Pillow cuts off between the passes shows in the end
            images = _levels(images)
        return _levels(torch.matmul(rows[:, None], images))


def flips_of_turns(hflip: Tensor, vflip: Tensor, rot90: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flips and counter-clockwise quarter turns as flips and a transpose after them.

    Args:
        hflip: (B,) bool, left-right first.
        vflip: (B,) bool, top-bottom.
        rot90: (B,) integer, quarter turns after both.

    Returns:
        (hflip, vflip, transpose), each (B,) bool, the transpose last.
    """
    turns = rot90.remainder(4)
    return hflip ^ ((turns == 1) | (turns == 2)), vflip ^ (turns >= 2), turns.remainder(2) == 1


def blur_taps(sigma: Tensor, reach: int) -> Tensor:
    """Taps of the extended box filter whose variance is sigma²/3.

    2l + 1 whole taps and one of weight a at either end; Gwosdek et al., "Theoretical foundations of Gaussian
    convolution by extended box filtering" (2011).

    Args:
        sigma: (B,) standard deviation in pixels, above 0, of three such filters.
        reach: Taps on either side, see :func:`blur_reach`.

    Returns:
        (B, 2 · reach + 1) float32; rows sum to 1.
    """
    variance = sigma.float()[:, None].square() / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1).square()))
    offset = torch.arange(-reach, reach + 1, device=sigma.device).abs()
    taps = (offset <= whole) + end * (offset == whole + 1)
    return taps / taps.sum(1, keepdim=True)


def blur_reach(sigma: float) -> int:
    """Taps on either side of the extended box filter of a standard deviation: l + 1."""
    return int((math.sqrt(4 * sigma * sigma + 1) - 1) / 2) + 1


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur each image by its own standard deviation, as Pillow's ``GaussianBlur(radius=sigma)`` does.

    Three extended box filters along rows, then three along columns, the border pixel repeated and the levels rounded
    at each.

    Args:
        images: (B, 3, H, W) grey levels.
        sigma: (B,) in pixels, above 0.
        reach: :func:`blur_reach` of the largest.
    """
    taps = blur_taps(sigma, reach)[:, :, None, None, None]
    for axis, border in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        length = images.shape[axis]
        for _ in range(3):
            padded = functional.pad(images, border, mode='replicate')
            images = padded.narrow(axis, reach, length) * taps[:, reach]
            for place in (*range(reach), *range(reach + 1, 2 * reach + 1)):
                images.addcmul_(padded.narrow(axis, place, length), taps[:, place])
            images.add_(0.5).floor_()
    return images
