"""Brightness, contrast, saturation, hue, grey and solarisation of a batch, with another factor for each image.

The steps of Pillow on 8-bit images, its truncations and its HSV of 255 steps included, in float arithmetic that works
on any device. Images are float tensors (B, 3, H, W), R, G, B of whole grey levels, 0 to 255, and stay whole numbers;
factors are (B,). None changes its input.
"""

import torch
from torch import Tensor

_EXACT = 0.001
"""Added before truncating, so that rounding of floats does not turn an exact level into the one below."""


def _column(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def _truncated(images: Tensor) -> Tensor:
    """Whole grey levels, cut off as Pillow cuts them; in place."""
    return images.add_(_EXACT).floor_().clamp_(0, 255)


def luma(images: Tensor) -> Tensor:
    """0.299 R + 0.587 G + 0.114 B, rounded: (B, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).add_(0.5).floor_()


def to_grey(images: Tensor) -> Tensor:
    """Luma in all three channels."""
    return luma(images).expand(-1, 3, -1, -1)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """factor · image."""
    return _truncated(images * _column(factor))


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """factor · image + (1 − factor) · m, where m is the mean luma of the image, rounded."""
    mean = luma(images).mean((1, 2, 3)).add_(0.5).floor_()
    return _truncated(torch.addcmul(_column((1 - factor) * mean), images, _column(factor)))


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """factor · image + (1 − factor) · luma."""
    factor = _column(factor)
    return _truncated(torch.addcmul((1 - factor) * luma(images), images, factor))


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by ``shift`` of the circle, with 8-bit HSV in between.

    With M and m the largest and smallest channel and d = M − m, hue and saturation are kept as the whole numbers below
    255 · H / (6 d) and 255 · d / M, where H counts sixths of the circle in units of 1/d. Both quotients are of whole
    numbers below 2²⁴, so that float32 cuts them off exactly.

    Args:
        images: (B, 3, H, W) grey levels.
        shift: (B,) in [-0.5, 0.5].
    """
    red, green, blue = images.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    # sums of masked terms: a choice by `where` takes ten times as long on a CPU
    reddest = red == value
    greenest = (green == value) & ~reddest
    bluest = ~(reddest | greenest)
    sixths = (green - blue + 6 * spread * (green < blue)) * reddest
    sixths += (2 * spread + blue - red) * greenest
    sixths += (4 * spread + red - green) * bluest
    hue = (255 * sixths / (6 * spread).clamp_(min=1)).floor_()
    saturation = (255 * spread / value.clamp(min=1)).floor_().mul_(value / 255)
    hue += _column((shift * 255).trunc().remainder(256))
    hue = (hue - 256 * (hue >= 256)) * (6 / 255)
    channels = []
    for sector in (5, 3, 1):
        share = hue + sector
        share -= 6 * (share >= 6)
        share = torch.minimum(share, 4 - share).clamp_(0, 1)
        channels.append((value - saturation * share).add_(0.5).floor_())
    return torch.cat(channels, dim=1)


def solarize(images: Tensor, threshold: float = 128) -> Tensor:
    """Invert the grey levels from ``threshold`` on."""
    return images + (255 - 2 * images) * (images >= threshold)
