"""Spherical k-means of many sets at once.

Shapes: S sets, padded to L rows of C channels; M clusters a set, found R times from different starts. Rows are compared
by cosine, so only their directions count.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

INITS = ('random', 'distinct', 'kmeans++')
EMPTY = ('random', 'keep', 'split')

SPLIT = 1 / 1024
"""By how much of itself each channel of two centroids is moved, up in the one and down in the other, to part them."""

BLOCK = {'cpu': 2**20}
"""Numbers of rows that are clustered at a time, by kind of device: what a processor's cache holds."""

BLOCK_ELSEWHERE = 2**27
"""The same for accelerators, which want few and large calls."""


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
    restarts: int = 1,
) -> tuple[Tensor, Tensor]:
    """Cluster each set by cosine: assign rows to the nearest centroid, replace centroids by their normalised means.

    Masked rows have no influence whatever they hold, and random numbers are drawn for sets and clusters, not for rows:
    a set gives the same clusters with any amount of padding. Reckoned in float32 at least, also under autocast, and in
    blocks, so that memory beside ``x`` does not grow with S, nor with L·M.

    Rows of zeros have cosine 0 with every centroid; they belong to the first of the best clusters, and do not move its
    direction. A cluster whose rows cancel out, or that starts at a row of zeros, has a centroid of zeros. Sets with
    fewer real rows than clusters share rows among centroids; a set without real rows has centroids of zeros.

    Args:
        x: (S, L, C) rows, of any length.
        mask: (S, L) bool, True where a row is real; None if all are.
        num_clusters: M.
        iterations: how often centroids are updated, at least 1. The end comes before where nothing would change any
            more, but on a CPU alone, as asking would stop an accelerator.
        init: Rows that become the first centroids. 'random': each at a random position, perhaps the same twice
            (ConCL, Yang et al., ECCV 2022); 'distinct': no position twice; 'kmeans++': likely far from those chosen
            before (Arthur and Vassilvitskii, 2007, with 1 − cosine as squared distance); or a tensor of
            positions, (S, M), or (S, R, M) if R > 1, which may be anything where a set has no real row.
        empty: Centroid of a cluster that lost all its rows. 'random': the row at one random position, the same for all
            sets of equal size (ConCL); 'keep': it stays where it is; 'split': the n-th of them halves the n-th largest
            cluster, if that has two rows: both get its centroid, moved apart a little (as faiss does it).
        reassign: Assign once more at the end, so that each label is that of the nearest returned centroid. False:
            labels from before the last update of the centroids (ConCL).
        generator: Source of random numbers, on the CPU or on the device of ``x``; None is the global one.
        restarts: R; of so many starts each set keeps that of the highest sum of cosines between rows and centroids.

    Returns:
        centroids (S, M, C) of unit length (or zeros, see above), and labels (S, L) int64, −1 for masked rows. Of
        equally near centroids the lowest wins. No gradient.

    Raises:
        ValueError: a shape, an option or a given position is wrong.
    """
    mask = _check(x, mask, num_clusters, iterations, init, empty, restarts)
    sets, length, channels = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    where = generator.device if generator is not None else x.device
    if isinstance(init, Tensor):
        starts = init
    else:
        starts = torch.rand(sets, restarts * num_clusters, generator=generator, device=where).to(x.device)
    again = None
    if empty == 'random':
        again = torch.stack(
            [torch.rand(restarts * num_clusters, generator=generator, device=where) for _ in range(iterations)]
        ).to(x.device)
    centroids = torch.empty(sets, num_clusters, channels, dtype=dtype, device=x.device)
    labels = torch.empty(sets, length, dtype=torch.long, device=x.device)
    step = max(1, _block(x) // (length * channels))
    with torch.autocast(x.device.type, enabled=False):
        for part in (slice(start, start + step) for start in range(0, sets, step)):
            rows = F.normalize(torch.where(mask[part, :, None], x[part].to(dtype), 0), dim=2, eps=1e-12)
            first = _first_centroids(rows, mask[part], starts[part], init, restarts)
            centroids[part], labels[part] = _cluster(rows, mask[part], first, iterations, empty, again, reassign)
    return centroids, labels.masked_fill_(~mask, -1)


def _block(x: Tensor) -> int:
    """Numbers that are worked on at a time."""
    return BLOCK.get(x.device.type, BLOCK_ELSEWHERE)


def _cluster(
    x: Tensor, mask: Tensor, centroids: Tensor, iterations: int, empty: str, again: Tensor | None, reassign: bool
) -> tuple[Tensor, Tensor]:
    """Centroids (S, M, C) and labels (S, L), not masked, of the best start of each set.

    Args:
        x: (S, L, C) unit rows, zeros where masked.
        mask: (S, L).
        centroids: (S, R, M, C) to start from.
        iterations: Updates.
        empty: As for :func:`spherical_kmeans`.
        again: (``iterations``, R·M) random numbers of empty clusters that start at random rows.
        reassign: Whether labels are those of the last centroids.
    """
    sets, restarts, clusters, channels = centroids.shape
    previous = None
    for turn in range(iterations):
        labels, sums, counts, score = _assign(x, mask, centroids, with_sums=True)
        # an accelerator is not asked what would stop it
        full = x.device.type == 'cpu' and bool(counts.all())
        if full and previous is not None and torch.equal(labels, previous):
            return _best(centroids, labels, score)  # nothing would change any more
        previous, means = labels, F.normalize(sums, dim=3, eps=1e-12)
        if full:
            centroids = means
        elif empty == 'split':
            centroids = _halve(torch.where(counts[..., None] > 0, means, centroids), counts)
        else:
            if again is not None:
                position = _draw(mask.to(x.dtype)[:, None], again[turn].expand(sets, -1))
                centroids = _take(x, position).view(sets, restarts, clusters, channels)
            centroids = torch.where(counts[..., None] > 0, means, centroids)
    if restarts == 1 and not reassign:
        return centroids[:, 0], labels[:, :, 0]
    nearest, _, _, score = _assign(x, mask, centroids, with_sums=False)
    return _best(centroids, nearest if reassign else labels, score)


def _best(centroids: Tensor, labels: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids (S, M, C) and labels (S, L) of the start with the best score (S, R), the first of equal ones."""
    best, own = score.argmax(1), torch.arange(len(score), device=score.device)
    return centroids[own, best], labels[own, :, best]


def _assign(x: Tensor, mask: Tensor, centroids: Tensor, with_sums: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nearest centroids of rows (S, L, C), for each start by itself, some rows at a time.

    Returns:
        labels (S, L, R), sums (S, R, M, C) and counts (S, R, M) of the rows of each cluster, and the sum of the cosines
        between rows and centroids (S, R). Sums and counts are zeros where they are not wanted.
    """
    sets, restarts, clusters = centroids.shape[:3]
    flat = centroids.flatten(1, 2)
    labels = torch.empty(*x.shape[:2], restarts, dtype=torch.long, device=x.device)
    sums, counts = torch.zeros_like(flat), torch.zeros_like(flat[:, :, 0])
    score = x.new_zeros(sets, restarts)
    numbers = torch.arange(clusters, device=x.device)
    step = max(1, 4 * _block(x) // (sets * restarts * clusters))
    for start in range(0, x.shape[1], step):
        rows, real = x[:, start : start + step], mask[:, start : start + step, None].to(x.dtype)
        value, label = (rows @ flat.mT).unflatten(2, (restarts, clusters)).max(3)
        labels[:, start : start + step] = label
        score += (value * real).sum(1)
        if with_sums:
            members = (label[..., None] == numbers).to(x.dtype).flatten(2) * real
            sums += members.mT @ rows
            counts += members.sum(1)
    return labels, sums.view_as(centroids), counts.view(sets, restarts, clusters), score


def _halve(centroids: Tensor, counts: Tensor) -> Tensor:
    """Let the n-th empty cluster take half of the n-th largest, if that has two rows.

    Args:
        centroids: (S, R, M, C) of unit length.
        counts: (S, R, M) rows of each.
    """
    empty = counts == 0
    largest = counts.argsort(dim=2, descending=True, stable=True)
    donor = largest.gather(2, (empty.cumsum(2) - 1).clamp(min=0))
    takes = empty & (counts.gather(2, donor) >= 2)
    gives = torch.zeros_like(counts).scatter_add(2, donor, takes.to(counts.dtype)) > 0
    tilt = torch.full(centroids.shape[-1:], SPLIT, device=centroids.device, dtype=centroids.dtype)
    tilt[1::2] *= -1
    halves = centroids.gather(2, donor[..., None].expand_as(centroids))
    moved = torch.where(takes[..., None], halves * (1 - tilt), centroids * (1 + tilt))
    return torch.where((takes | gives)[..., None], F.normalize(moved, dim=3, eps=1e-12), centroids)


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


def _first_centroids(x: Tensor, mask: Tensor, starts: Tensor, init: str | Tensor, restarts: int) -> Tensor:
    """(S, R, M, C) rows that the clusters start from.

    Args:
        x: (S, L, C).
        mask: (S, L).
        starts: (S, R·M) random numbers or, if ``init`` is a tensor, positions (S, M) or (S, R, M).
        init: As for :func:`spherical_kmeans`.
        restarts: R.
    """
    starts = starts.flatten(1)
    if isinstance(init, Tensor):
        chosen = _take(x, torch.where(mask.any(1, keepdim=True), starts, 0))
    elif init == 'random':
        chosen = _take(x, _draw(mask.to(x.dtype)[:, None], starts))
    else:
        each = starts.chunk(restarts, dim=1)
        chosen = torch.cat([_apart(x, mask, draws, by_distance=init == 'kmeans++') for draws in each], 1)
    return chosen.unflatten(1, (restarts, -1))


def _apart(x: Tensor, mask: Tensor, draws: Tensor, by_distance: bool) -> Tensor:
    """(S, M, C) rows drawn one after the other, none twice where there are enough.

    Args:
        x: (S, L, C).
        mask: (S, L).
        draws: (S, M) random numbers.
        by_distance: Whether a row's weight is its distance from those drawn before.
    """
    real = mask.to(x.dtype)
    weights, chosen = 2 * real, []  # 1 − cosine is 2 at most
    for draw in draws.split(1, dim=1):
        # where nothing is left to choose from, any real row will do
        left = torch.where(weights.sum(1, keepdim=True) > 0, weights, real)
        index = _draw(left[:, None], draw)
        chosen.append(_take(x, index))
        if by_distance:
            weights = torch.minimum(weights, (1 - (x @ chosen[-1].mT).squeeze(2)).clamp(min=0))
        weights = weights.scatter(1, index, 0)
    return torch.cat(chosen, 1)


def _check(
    x: Tensor, mask: Tensor | None, num_clusters: int, iterations: int, init: str | Tensor, empty: str, restarts: int
) -> Tensor:
    """Refuse what does not fit; gives the mask, all True where there was none."""
    if x.ndim != 3 or not x.shape[1]:
        raise ValueError(f'x has shape {tuple(x.shape)}, expected (S, L, C) with L >= 1')
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f'mask is {mask.dtype} of shape {tuple(mask.shape)}, expected bool of {tuple(x.shape[:2])}')
    if min(num_clusters, iterations, restarts) < 1:
        raise ValueError(
            f'num_clusters is {num_clusters}, iterations {iterations} and restarts {restarts}, expected at least 1 of '
            'each'
        )
    if empty not in EMPTY:
        raise ValueError(f'empty is {empty!r}, expected one of {", ".join(EMPTY)}')
    if isinstance(init, str):
        if init not in INITS:
            raise ValueError(f'init is {init!r}, expected one of {", ".join(INITS)}, or positions (S, M)')
    elif init.shape != (expected := _shape_of_positions(len(x), restarts, num_clusters)):
        raise ValueError(f'init has shape {tuple(init.shape)}, expected {expected}: a row a cluster')
    elif init.device.type == 'cpu':
        _check_positions(init.flatten(1), mask)
    return mask


def _shape_of_positions(sets: int, restarts: int, clusters: int) -> tuple[int, ...]:
    return (sets, clusters) if restarts == 1 else (sets, restarts, clusters)


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
