"""Concepts of ConCL (Yang et al., ECCV 2022): label maps of a reference view, carried over to the views it contains.

Shapes: B images, K concepts, a reference map of H×W cells, a view's map of h×w cells with C channels. Maps are
canonical: flips and turns were undone by :func:`~histomm.functional.geometry.canonicalize`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .geometry import check_boxes
from .matching import precise_match


@torch.no_grad()
def cut_labels(labels: Tensor, num_concepts: int, reference: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels of a view's cells, from the label map of a reference view that contains it.

    The view's rectangle is rounded to whole cells of the reference map (at least one, and half cells to the even
    side), which are divided into h×w bins as adaptive average pooling does; bins may overlap. A cell takes the label
    that is most frequent in its bin, the lowest of equally frequent ones: the argmax of the pooled one-hot map.

    Args:
        labels: (B, H, W) integer labels in [0, K).
        num_concepts: K.
        reference: (B, 4) boxes of the reference views in source pixels.
        box: (B, 4) boxes of the views in source pixels, within those of the reference.
        size: (h, w).

    Returns:
        (B, h, w) int64.

    Raises:
        ValueError: if shapes disagree, or a box lies outside its reference (looked up only on the CPU, because reading
            boxes from an accelerator would stop it).
    """
    check_boxes('reference', reference)
    check_boxes('box', box)
    if labels.ndim != 3 or not len(labels) == len(reference) == len(box):
        raise ValueError(
            f'labels {tuple(labels.shape)}, reference {tuple(reference.shape)} and box {tuple(box.shape)} do not fit; '
            'expected (B, H, W), (B, 4) and (B, 4)'
        )
    if box.device.type == 'cpu':
        _check_inside(reference, box)
    extent = reference[:, 2:] - reference[:, :2]
    bins = []
    for axis, cells, count in ((1, labels.shape[1], size[0]), (0, labels.shape[2], size[1])):
        # multiplied first: of whole pixels the quotient is exact where it is half a cell
        ends = (box - reference[:, :2].repeat(1, 2))[:, axis::2] * cells / extent[:, axis, None]
        bins.append(_bins(ends.round().long(), cells, count))
    # counts instead of means: whole numbers, so that equally frequent labels are equal to the bit
    one_hot = F.one_hot(labels.long(), num_concepts).permute(0, 3, 1, 2).to(bins[0].dtype)
    return precise_match(one_hot, *bins).argmax(1)


def _bins(ends: Tensor, cells: int, count: int) -> Tensor:
    """Which cells each bin of adaptive pooling holds.

    Args:
        ends: (B, 2) first cell and the one after the last.
        cells: number of cells there are.
        count: number of bins.

    Returns:
        (B, count, cells) float32 of 0 and 1.
    """
    start = ends[:, :1].clamp(0, cells - 1)
    length = torch.maximum(ends[:, 1:].clamp(max=cells), start + 1) - start
    number = torch.arange(count, device=ends.device)
    first = start + torch.div(number * length, count, rounding_mode='floor')
    last = start - torch.div(-(number + 1) * length, count, rounding_mode='floor')
    cell = torch.arange(cells, device=ends.device)
    return ((cell >= first[:, :, None]) & (cell < last[:, :, None])).float()


def _check_inside(reference: Tensor, box: Tensor) -> None:
    """Views must lie in the reference, but for a hundredth of a pixel of rounding."""
    beyond = torch.cat((reference[:, :2] - box[:, :2], box[:, 2:] - reference[:, 2:]), 1).amax(1)
    if (beyond > 0.01).any():
        worst = int(beyond.argmax())
        raise ValueError(
            f'box {worst} is {box[worst].tolist()} and reaches beyond its reference {reference[worst].tolist()}, '
            'expected within it; make the reference view by histomm.BoundingCrop, last of the views'
        )


def concept_prototypes(feat: Tensor, labels: Tensor, num_concepts: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each concept over the cells that bear its label.

    Reckoned in float32 at least, also under autocast.

    Args:
        feat: (B, C, h, w).
        labels: (B, h, w) integer labels in [0, K).
        num_concepts: K.

    Returns:
        (prototypes (B, K, C), zeros where the concept is absent, and cells (B, K), how many bear the label).

    Raises:
        ValueError: if shapes disagree.
    """
    if feat.ndim != 4 or labels.shape != feat.shape[:1] + feat.shape[2:]:
        raise ValueError(
            f'feat {tuple(feat.shape)} and labels {tuple(labels.shape)} do not fit, expected (B, C, h, w) and (B, h, w)'
        )
    dtype = torch.promote_types(feat.dtype, torch.float32)
    member = F.one_hot(labels.flatten(1).long(), num_concepts).to(dtype)
    cells = member.sum(1)
    with torch.autocast(feat.device.type, enabled=False):
        total = member.mT @ feat.flatten(2).mT.to(dtype)
    return total / cells.clamp(min=1)[:, :, None], cells.long()


@torch.no_grad()
def resample_rows(rows: Tensor, present: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """A fixed number of rows at random, each present row as often as any other, or once more.

    With fewer places than rows a random choice without repetition; with more all rows, and some of them again.

    Args:
        rows: (N, C).
        present: (N,) bool, which rows there are to choose from, at least one.
        count: how many rows are wanted.
        generator: source of random numbers, on the device of ``rows``; None is the global one.

    Returns:
        (count, C).
    """
    draws = torch.rand(len(rows), generator=generator, device=rows.device)
    order = (draws + ~present).argsort()  # those present first
    turn = torch.arange(count, device=rows.device) % present.sum().clamp(min=1)
    return rows[order[turn]]
