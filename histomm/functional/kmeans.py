"""Spherical k-means of many sets at once.

Shapes: S sets, padded to L rows of C channels; M clusters a set. Rows are compared by cosine, so only their directions
count.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

INITS = ('random', 'distinct', 'kmeans++')
EMPTY = ('random', 'keep')


@torch.no_grad()
def spherical_kmeans(
    x: Tensor,
    mask: Tensor | None,
    num_clusters: int,
    iterations: int = 10,
    init: str | Tensor = 'random',
    empty: str = 'random',
    reassign: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cluster each set by cosine: assign rows to the nearest centroid, replace centroids by their normalised means.

    Masked rows have no influence whatever they hold, and random numbers are drawn for sets and clusters, not for rows:
    a set gives the same clusters with any amount of padding. Reckoned in float32 at least, also under autocast.

    Rows of zeros have cosine 0 with every centroid; they belong to the first of the best clusters, and do not move its
    direction. A cluster whose rows cancel out, or that starts at a row of zeros, has a centroid of zeros. Sets with
    fewer real rows than clusters share rows among centroids; a set without real rows has centroids of zeros.

    Args:
        x: (S, L, C) rows, of any length.
        mask: (S, L) bool, True where a row is real; None if all are.
        num_clusters: M.
        iterations: how often centroids are updated, at least 1. There is no early end: it would stop an accelerator.
        init: Rows that become the first centroids. 'random': each at a random position, perhaps the same twice
            (ConCL, Yang et al., ECCV 2022); 'distinct': no position twice; 'kmeans++': likely far from those chosen
            before (Arthur and Vassilvitskii, 2007, with 1 − cosine as squared distance); or a tensor (S, M) of
            positions, which may be anything where a set has no real row.
        empty: Centroid of a cluster that lost all its rows. 'random': the row at one random position, the same for all
            sets of equal size (ConCL); 'keep': it stays where it is.
        reassign: Assign once more at the end, so that each label is that of the nearest returned centroid. False:
            labels from before the last update of the centroids (ConCL).
        generator: Source of random numbers, on the device of ``x``; None is the global one.

    Returns:
        centroids (S, M, C) of unit length (or zeros, see above), and labels (S, L) int64, −1 for masked rows. Of
        equally near centroids the lowest wins. No gradient.

    Raises:
        ValueError: a shape, an option or a given position is wrong.
    """
    mask = _check(x, mask, num_clusters, iterations, init, empty)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    x = F.normalize(torch.where(mask[:, :, None], x, 0), dim=2, eps=1e-12)
    with torch.autocast(x.device.type, enabled=False):
        centroids = _first_centroids(x, mask, num_clusters, init, generator)
        for _ in range(iterations):
            labels = _nearest(x, centroids)
            members = F.one_hot(labels, num_clusters).to(x.dtype) * mask[:, :, None]
            means = F.normalize(members.mT @ x, dim=2, eps=1e-12)
            if empty == 'random':
                draws = torch.rand(num_clusters, generator=generator, device=x.device)
                centroids = _take(x, _draw(mask.to(x.dtype)[:, None], draws.expand(len(x), -1)))
            centroids = torch.where(members.sum(1)[:, :, None] > 0, means, centroids)
        if reassign:
            labels = _nearest(x, centroids)
    return centroids, labels.masked_fill(~mask, -1)


def _nearest(x: Tensor, centroids: Tensor) -> Tensor:
    """(S, L) index of the centroid of the highest cosine."""
    return (x @ centroids.mT).argmax(2)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Rows (S, L, C) at positions (S, M) as (S, M, C)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


def _draw(weights: Tensor, draws: Tensor) -> Tensor:
    """Positions drawn by weight: where u·Σw falls among the cumulated weights.

    Args:
        weights: (S, M or 1, L) >= 0.
        draws: (S, M) uniform numbers u in [0, 1).

    Returns:
        (S, M) int64; the last position where all weights are 0.
    """
    cumulated = weights.cumsum(2)
    total = cumulated[:, :, -1:]
    # u close to 1 may round up to the total, where no position is left; nextafter is the largest number below it
    threshold = torch.minimum(
        draws[:, :, None].to(total.dtype) * total, torch.nextafter(total, torch.zeros_like(total))
    )
    return (cumulated <= threshold).sum(2).clamp(max=weights.shape[2] - 1)


def _first_centroids(
    x: Tensor, mask: Tensor, num_clusters: int, init: str | Tensor, generator: torch.Generator | None
) -> Tensor:
    """(S, M, C) rows that the clusters start from."""
    if isinstance(init, Tensor):
        return _take(x, torch.where(mask.any(1, keepdim=True), init, 0))
    draws = torch.rand(len(x), num_clusters, generator=generator, device=x.device)
    real = mask.to(x.dtype)
    if init == 'random':
        return _take(x, _draw(real[:, None], draws))
    weights, chosen = 2 * real, []  # 1 − cosine is 2 at most
    for draw in draws.split(1, dim=1):
        # where nothing is left to choose from, any real row will do
        left = torch.where(weights.sum(1, keepdim=True) > 0, weights, real)
        index = _draw(left[:, None], draw)
        chosen.append(_take(x, index))
        if init == 'kmeans++':
            weights = torch.minimum(weights, (1 - (x @ chosen[-1].mT).squeeze(2)).clamp(min=0))
        weights = weights.scatter(1, index, 0)
    return torch.cat(chosen, 1)


def _check(
    x: Tensor, mask: Tensor | None, num_clusters: int, iterations: int, init: str | Tensor, empty: str
) -> Tensor:
    """Refuse what does not fit; gives the mask, all True where there was none."""
    if x.ndim != 3 or not x.shape[1]:
        raise ValueError(f'x has shape {tuple(x.shape)}, expected (S, L, C) with L >= 1')
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f'mask is {mask.dtype} of shape {tuple(mask.shape)}, expected bool of {tuple(x.shape[:2])}')
    if num_clusters < 1 or iterations < 1:
        raise ValueError(f'num_clusters is {num_clusters} and iterations {iterations}, expected at least 1 of each')
    if empty not in EMPTY:
        raise ValueError(f'empty is {empty!r}, expected one of {", ".join(EMPTY)}')
    if isinstance(init, str):
        if init not in INITS:
            raise ValueError(f'init is {init!r}, expected one of {", ".join(INITS)}, or positions (S, M)')
    elif init.shape != (len(x), num_clusters):
        raise ValueError(f'init has shape {tuple(init.shape)}, expected {(len(x), num_clusters)}: a row a cluster')
    elif init.device.type == 'cpu':
        _check_positions(init, mask)
    return mask


def _check_positions(init: Tensor, mask: Tensor) -> None:
    """Positions must be real rows. Not asked on an accelerator, which this would stop."""
    outside = (init < 0) | (init >= mask.shape[1])
    masked = ~mask.to(init.device).gather(1, torch.where(outside, 0, init))
    wrong = (outside | masked) & mask.to(init.device).any(1, keepdim=True)
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f'init[{row}, {column}] is {init[row, column]}, expected the position of a real row of that set'
        )
