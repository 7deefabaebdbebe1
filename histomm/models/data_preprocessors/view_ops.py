"""What carries out the steps of views: histomm's own functions or kornia's, compiled or not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, pi

import torch
from torch import Tensor

from histomm.functional import colour, resample

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ViewOps:
    """Functions of images (B, 3, H, W) of grey levels and one factor (B,) for each, where not said otherwise.

    Attributes:
        crop: :func:`~histomm.functional.resample.crop_resize`, or what does the same.
        jitters: Brightness, contrast, saturation and hue, in the order of
            :data:`~histomm.datasets.transforms.photometric.JITTERS`.
        grey: Of images alone.
        solarize: Of images and one threshold for all.
        blur: Of images, standard deviations and the largest that they can be.
    """

    crop: Callable[..., Tensor]
    jitters: tuple[Step, ...]
    grey: Callable[[Tensor], Tensor]
    solarize: Callable[[Tensor, float], Tensor]
    blur: Callable[[Tensor, Tensor, float], Tensor]


def _blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    return resample.gaussian_blur(images, sigma, resample.blur_reach(largest))


def torch_ops() -> ViewOps:
    """histomm's own: what the pipeline computes, to the level."""
    jitters = (colour.adjust_brightness, colour.adjust_contrast, colour.adjust_saturation, colour.adjust_hue)
    return ViewOps(resample.crop_resize, jitters, colour.to_grey, colour.solarize, _blur)


def kornia_ops() -> ViewOps:
    """kornia's jitter and blur, in floats: without Pillow's HSV of 255 steps, and with a sampled Gaussian.

    Crops stay histomm's own, because kornia's shrink without antialiasing; and so do grey and solarisation.

    Raises:
        ModuleNotFoundError: kornia is missing.
    """
    try:
        from kornia import enhance
        from kornia.filters import gaussian_blur2d
    except ImportError as error:
        raise ModuleNotFoundError(
            f"BatchViews: backend 'kornia' needs kornia, and found that {error}; run `pip install kornia`",
            name='kornia',
        ) from error

    def in_levels(change: Step) -> Step:
        """A function of values from 0 to 1 as one of whole grey levels."""
        return lambda images, factor: change(images / 255, factor).mul_(255).round_().clamp_(0, 255)

    def blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
        side = 2 * ceil(3 * largest) + 1
        return gaussian_blur2d(images, (side, side), torch.stack([sigma, sigma], dim=1), 'replicate').round_()

    jitters = (
        in_levels(enhance.adjust_brightness_accumulative),
        in_levels(enhance.adjust_contrast_with_mean_subtraction),
        in_levels(enhance.adjust_saturation_with_gray_subtraction),
        in_levels(lambda images, shift: enhance.adjust_hue(images, shift * 2 * pi)),
    )
    return replace(torch_ops(), jitters=jitters, blur=blur)


BACKENDS: dict[str, Callable[[], ViewOps]] = {'torch': torch_ops, 'kornia': kornia_ops}


def compiled(ops: ViewOps) -> ViewOps:
    """The jitters compiled in their first call, for any number of images of any size.

    They are chains of small steps, which become one. Crops are products of matrices, and so stay as they are; the blur,
    whose taps overlap, takes three times as long on a CPU when it is compiled.
    """
    return replace(ops, jitters=tuple(torch.compile(jitter, dynamic=True) for jitter in ops.jitters))
