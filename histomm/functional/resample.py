"""Crops, resizing, flips, quarter turns and blur of a batch, with other parameters for each image.

All of them are linear along rows and along columns, and so each is a pair of matrices for each image: L · X · Rᵀ. The
matrices hold what Pillow's filters hold, border included, so that two batched products make what Pillow makes image by
image. Images are float tensors (B, 3, H, W) of whole grey levels, 0 to 255, and stay whole numbers.
"""

import torch
from torch import Tensor


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


def _rows_and_columns(images: Tensor, left: Tensor, right: Tensor, whole_between: bool) -> Tensor:
    """left · X · rightᵀ for each channel: columns first, as in Pillow."""
    batch, channels, height, width = images.shape
    images = torch.bmm(images.reshape(batch, channels * height, width), right.mT).view(batch, channels, height, -1)
    if whole_between:
        images = _levels(images)
    return _levels(torch.matmul(left[:, None], images))


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
        (B, 3, h, w) grey levels.
    """
    top, left, height, width = rectangle.unbind(1)
    rows = resize_matrix(top, height, vflip, images.shape[2], size[0], interpolation)
    columns = resize_matrix(left, width, hflip, images.shape[3], size[1], interpolation)
    # a cubic overshoots, and what Pillow cuts off between the passes shows in the end
    return _rows_and_columns(images, rows, columns, whole_between=interpolation == 'bicubic')


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


def blur_matrix(sigma: Tensor, size: int) -> Tensor:
    """Three extended box filters along one axis, the border pixel repeated before each.

    Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (2011), which is what
    Pillow's ``GaussianBlur(radius=sigma)`` does: a box of 2l + 1 whole taps and two of weight a at the ends, such that
    its variance is sigma²/3.

    Args:
        sigma: (B,) standard deviation in pixels, above 0.
        size: Pixels along the axis.

    Returns:
        (B, size, size) float32; rows sum to 1.
    """
    variance = sigma.float()[:, None, None].square() / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1).square()))
    place = torch.arange(size, dtype=torch.float32, device=sigma.device)
    offset = place[None, None, :-1] - place[None, :, None]
    # sum of the taps up to each offset: at the ends of the axis it takes in those that fall beyond it
    total = (offset + whole + 1).clamp(torch.zeros_like(whole), 2 * whole + 1)
    total = total + end * (offset >= -whole - 1) + end * (offset > whole)
    taps = torch.nn.functional.pad(total / (2 * whole + 1 + 2 * end), (0, 1), value=1.0)
    box = torch.cat([taps[:, :, :1], taps.diff(dim=2)], dim=2)
    return box @ box @ box


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image by its own standard deviation, see :func:`blur_matrix`.

    Args:
        images: (B, 3, H, W) grey levels.
        sigma: (B,) in pixels, above 0.
    """
    height, width = images.shape[2:]
    columns = blur_matrix(sigma, width)
    rows = columns if height == width else blur_matrix(sigma, height)
    return _rows_and_columns(images, rows, columns, whole_between=False)
