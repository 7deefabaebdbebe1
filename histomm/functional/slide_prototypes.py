"""From embeddings of regions to prototypes of slides, and from there to what each region is distilled towards.

Shapes: N regions with C channels, of S slides; M prototypes a slide; K neighbours.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from histomm.functional.kmeans import spherical_kmeans

GROUP = 2**24
"""Numbers of one padded batch of slides."""

ROWS = 2**22
"""Pairs of regions that are compared at a time."""


@torch.no_grad()
def cluster_slides(
    x: Tensor,
    slide: Tensor,
    valid: Tensor,
    num_prototypes: int,
    iterations: int = 10,
    restarts: int = 5,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Spherical k-means of the regions of each slide (Yu et al., MICCAI 2023, sec. 2.2), of many slides at once.

    Slides of like numbers of regions share a padded batch, whose size is bounded, so that memory is linear in N. Each
    of ``restarts`` begins at M regions drawn without repetition; a cluster that lost all its regions halves the
    largest; the best is kept.

    Args:
        x: (N, C) embeddings, of any length.
        slide: (N,) number of the slide of each region, in [0, S).
        valid: (S,) bool; slides without it are left out.
        num_prototypes: M.
        iterations: Updates of the centroids.
        restarts: How often k-means starts anew.
        generator: Source of random numbers.

    Returns:
        prototypes (S, M, C) of unit length, zeros for slides that are left out, and labels (N,) int64 in [0, M), −1 for
        their regions.

    Raises:
        ValueError: a shape is wrong.
    """
    _check_regions(x, slide)
    sizes = torch.bincount(slide, minlength=len(valid)) * valid
    by_slide = slide.argsort(stable=True)
    starts = torch.bincount(slide, minlength=len(valid)).cumsum(0)
    starts = torch.cat([starts.new_zeros(1), starts])
    dtype = torch.promote_types(x.dtype, torch.float32)
    prototypes = torch.zeros(len(valid), num_prototypes, x.shape[1], dtype=dtype, device=x.device)
    labels = torch.full_like(slide, -1)
    for group in _groups(sizes, x.shape[1]):
        place = torch.arange(int(sizes[group[-1]]), device=x.device)
        mask = place < sizes[group, None]
        region = by_slide[(starts[group, None] + place).clamp(max=len(x) - 1)]
        prototypes[group], found = spherical_kmeans(
            x[region], mask, num_prototypes, iterations, 'distinct', 'split', generator=generator, restarts=restarts
        )
        labels[region[mask]] = found[mask]
    return prototypes, labels


def _groups(sizes: Tensor, channels: int) -> list[Tensor]:
    """Slides that have regions, in groups of growing size; a group is closed before its padded batch is too large."""
    order = sizes.argsort(stable=True)
    order = order[sizes[order] > 0]
    found: list[list[int]] = []
    smallest = 0
    for slide, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        # at most half as much again as the smallest has is padded
        if not found or 2 * size > 3 * smallest + 8 or (len(found[-1]) + 1) * size * channels > GROUP:
            found.append([])
            smallest = size
        found[-1].append(slide)
    return [torch.tensor(group, device=sizes.device) for group in found]


@torch.no_grad()
def member_means(x: Tensor, labels: Tensor, num: int) -> Tensor:
    """Means (``num``, C) of the rows of each label, zeros where there is none; rows of label −1 do not count.

    Summed in float64 on the CPU, row after row, so that the result is always the same.

    Args:
        x: (N, C).
        labels: (N,) int64 below ``num``.
        num: Number of labels.
    """
    rows, labels = x.cpu().double(), labels.cpu()
    kept = labels >= 0
    sums = torch.zeros(num, x.shape[1], dtype=torch.float64).index_add_(0, labels[kept], rows[kept])
    counts = torch.bincount(labels[kept], minlength=num).clamp(min=1)
    return (sums / counts[:, None]).to(x.device, torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def region_targets(labels: Tensor, slide: Tensor, neighbors: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """The prototypes that regions are distilled towards, as numbers of rows of prototypes (S·M, C).

    Args:
        labels: (N,) prototype of each region in its slide, −1 for none.
        slide: (N,) slide of each region.
        neighbors: (S, K) slides of :func:`~histomm.functional.prototype_neighbors`.
        order: (S, K, M) of the same.

    Returns:
        own (N,), the region's prototype, and others (N, K), those of the neighbours that belong to it; −1 for none.
    """
    size = order.shape[2]
    none = labels < 0
    own = (slide * size + labels).masked_fill(none, -1)
    matched = order[slide].gather(2, labels.clamp(min=0)[:, None, None].expand(-1, order.shape[1], 1)).squeeze(2)
    others = (neighbors[slide] * size + matched).masked_fill(none[:, None], -1)
    return own, others


@torch.no_grad()
def nearest_elsewhere(x: Tensor, slide: Tensor, valid: Tensor, num: int) -> Tensor:
    """The regions of other slides that are most similar to each region by cosine.

    Args:
        x: (N, C), of any length.
        slide: (N,) slide of each region.
        valid: (N,) bool; regions without it have no neighbours and are none.
        num: K wanted; K' is min(K, regions that the smallest slide finds elsewhere).

    Returns:
        (N, K') int64, the nearest first, then −1 where there are fewer elsewhere; −1 for regions that are not valid. K'
        is 0 where a slide has all regions.

    Raises:
        ValueError: a shape is wrong, or ``num`` is negative.
    """
    _check_regions(x, slide)
    if num < 0 or valid.shape != slide.shape or valid.dtype != torch.bool:
        raise ValueError(
            f'num is {num} and valid {valid.dtype} of shape {tuple(valid.shape)}, expected 0 or more and bool '
            f'({len(x)},)'
        )
    where = valid.nonzero().squeeze(1)
    unit = F.normalize(x[where].to(torch.promote_types(x.dtype, torch.float32)), dim=1, eps=1e-12)
    own = slide[where]
    elsewhere = len(where) - int(own.unique(return_counts=True)[1].min()) if len(where) else 0
    found = torch.full((len(x), max(0, min(num, elsewhere))), -1, device=x.device)
    if found.shape[1]:
        for part in torch.arange(len(where), device=x.device).split(max(1, ROWS // len(where))):
            scores = (unit[part] @ unit.T).masked_fill_(own[part, None] == own, -torch.inf)
            values, nearest = scores.topk(found.shape[1], dim=1)
            found[where[part]] = where[nearest].masked_fill(values == -torch.inf, -1)
    return found


def _check_regions(x: Tensor, slide: Tensor) -> None:
    if x.ndim != 2 or slide.shape != x.shape[:1]:
        raise ValueError(
            f'x has shape {tuple(x.shape)} and slide {tuple(slide.shape)}, expected (N, C) and one number a region'
        )
