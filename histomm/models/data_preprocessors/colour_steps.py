"""Photometric transforms of a batch whose images have drawn differently."""

from collections.abc import Callable

import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from histomm.datasets.transforms import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from histomm.models.data_preprocessors.view_ops import ViewOps


def apply_step(images: Tensor, transform: BaseTransform, draws: Tensor, factors: Tensor, ops: ViewOps) -> Tensor:
    """Carry out one photometric transform on those images that drew it.

    Which images these are is looked up in ``draws`` on the CPU, so that an accelerator is never waited for.

    Args:
        images: (B, 3, H, W) grey levels; changed in place.
        transform: Whose draws these are.
        draws: (B, P) on the CPU, its columns of the rows of ``histomm.DrawViews``.
        factors: (B, P), the same on the device of the images.
        ops: What is carried out.

    Returns:
        The images.
    """
    if isinstance(transform, ColorJitter):
        return _jitter(images, draws[:, : len(transform.steps)], factors[:, len(transform.steps) :], ops)
    change: Callable[[Tensor, Tensor], Tensor] = {
        RandomGrayscale: lambda chosen, _: ops.grey(chosen),
        RandomSolarize: lambda chosen, _: ops.solarize(chosen, transform.threshold),
        GaussianBlur: lambda chosen, sigma: ops.blur(chosen, sigma, transform.sigma[1]),
    }[type(transform)]
    rows = draws[:, 0].nonzero()[:, 0]
    return _on_rows(images, rows.to(images.device, non_blocking=True), factors[:, 0], change)


def _on_rows(images: Tensor, rows: Tensor, factors: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    if len(rows):
        images[rows] = change(images[rows], factors[rows])
    return images


def _jitter(images: Tensor, order: Tensor, factors: Tensor, ops: ViewOps) -> Tensor:
    """The steps of each image in its own order: at each place of the order, images with the same step go together.

    Args:
        images: (B, 3, H, W).
        order: (B, K) on the CPU, numbers of steps, −1 for none.
        factors: (B, K) on the device.
        ops: Holds the steps.
    """
    grouped = order.T.argsort(dim=1, stable=True).to(images.device, non_blocking=True)
    for place, column in enumerate(order.T.to(torch.long)):
        sizes = torch.bincount(column + 1, minlength=len(ops.jitters) + 1).tolist()
        for rows, change in zip(grouped[place].split(sizes)[1:], ops.jitters, strict=True):
            images = _on_rows(images, rows, factors[:, place], change)
    return images
