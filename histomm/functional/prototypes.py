"""Similarity of sets of prototypes: the best one-to-one assignment of one set to the other.

Shapes: S slides of M prototypes with C channels each; P pairs of slides.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SUBSETS = 8
"""Up to so many prototypes the assignment is found by going through subsets, M·2^(M−1) sums; above by Hungarian."""

MATCHES = ('assignment', 'argmax')

BLOCK = 2**20
"""Pairs of prototypes that are compared at a time, so that memory grows with S and not with S²."""

TILE = {'cpu': (128, 512)}
"""Slides that are compared with others at a time, by kind of device, when neighbours are looked for."""

TILE_ELSEWHERE = (512, 4096)
"""The same for accelerators, which want few and large calls."""


def best_assignment(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The permutation of the highest sum, for many matrices at once.

    Args:
        scores: (P, M, M); entry (m, n) is what assigning m to n gives.

    Returns:
        total (P,), max_σ Σ_m scores[m, σ(m)], and σ (P, M) int64. Of equal permutations any one, the same each time.

    Raises:
        ValueError: the matrices are not square.
    """
    if scores.ndim != 3 or scores.shape[1] != scores.shape[2]:
        raise ValueError(f'scores has shape {tuple(scores.shape)}, expected (P, M, M)')
    size = scores.shape[1]
    if size > SUBSETS:
        return _hungarian(scores)
    best = _over_subsets(scores.permute(1, 2, 0).contiguous())
    total, left = best[-1], torch.full((len(scores),), (1 << size) - 1, device=scores.device)
    table = torch.stack(best)
    order = torch.empty(len(scores), size, dtype=torch.long, device=scores.device)
    columns = 1 << torch.arange(size, device=scores.device)
    for row in range(size - 1, -1, -1):
        free = left[:, None] & columns > 0
        rest = (left[:, None] ^ columns).clamp(min=0).where(free, 0)
        value = table.gather(0, rest.T).T + scores[:, row]
        order[:, row] = value.masked_fill(~free, -torch.inf).argmax(1)
        left = left ^ columns[order[:, row]]
    return total, order


def _over_subsets(scores: Tensor) -> list[Tensor]:
    """Best sums of assigning the first |s| rows to the columns of each subset s, a number whose bits are columns.

    Args:
        scores: (M, M, …), rows and columns first.
    """
    size = len(scores)
    best = [torch.zeros_like(scores[0, 0])]
    for subset in range(1, 1 << size):
        row = scores[subset.bit_count() - 1]
        columns = [column for column in range(size) if subset >> column & 1]
        value = best[subset ^ 1 << columns[0]] + row[columns[0]]
        for column in columns[1:]:
            torch.maximum(value, best[subset ^ 1 << column] + row[column], out=value)
        best.append(value)
    return best


def _hungarian(scores: Tensor) -> tuple[Tensor, Tensor]:
    from scipy.optimize import linear_sum_assignment  # slow to import, and needed for many prototypes only

    found = [
        torch.from_numpy(linear_sum_assignment(matrix, maximize=True)[1]) for matrix in scores.detach().cpu().numpy()
    ]
    order = torch.stack(found).to(scores.device) if found else scores.new_zeros(scores.shape[:2], dtype=torch.long)
    return scores.gather(2, order[:, :, None]).sum((1, 2)), order


def _unit(prototypes: Tensor) -> Tensor:
    if prototypes.ndim != 3:
        raise ValueError(f'prototypes has shape {tuple(prototypes.shape)}, expected (S, M, C)')
    return F.normalize(prototypes.to(torch.promote_types(prototypes.dtype, torch.float32)), dim=2, eps=1e-12)


def _similarity_of(some: Tensor, others: Tensor) -> Tensor:
    """D of every slide of ``some`` (A, M, C) with every one of ``others`` (B, M, C), both of unit length: (A, B)."""
    cosines = torch.einsum('amc,bnc->mnab', some, others)
    size = len(cosines)
    if size <= SUBSETS:
        return _over_subsets(cosines)[-1] / size
    pairs = cosines.flatten(2).permute(2, 0, 1)
    return (_hungarian(pairs)[0] / size).view(len(some), len(others))


@torch.no_grad()
def prototype_similarity(prototypes: Tensor, permutations: bool = False) -> tuple[Tensor, Tensor | None]:
    """How alike slides are: D(i, j) = max_σ (1/M) Σ_m cos(c_i^m, c_j^σ(m)) (Yu et al., MICCAI 2023, eq. 3).

    Args:
        prototypes: (S, M, C) of any length; a row of zeros has cosine 0 with everything.
        permutations: Also return the σ of each pair, which takes S²·M numbers.

    Returns:
        similarity (S, S) in [−1, 1], and the permutations (S, S, M) or None. No gradient.
    """
    unit = _unit(prototypes)
    count, size, _ = unit.shape
    if permutations:
        cosines = torch.einsum('amc,bnc->abmn', unit, unit).flatten(0, 1)
        total, order = best_assignment(cosines)
        return (total / size).view(count, count), order.view(count, count, size)
    rows = [_similarity_of(part, unit) for part in unit.split(_rows_at_a_time(unit))]
    return torch.cat(rows) if rows else unit.new_zeros(0, 0), None


def _rows_at_a_time(unit: Tensor) -> int:
    count, size, _ = unit.shape
    return max(1, BLOCK // max(1, count * size * size))


@torch.no_grad()
def prototype_neighbors(
    prototypes: Tensor, valid: Tensor | None, num: int, match: str = 'assignment'
) -> tuple[Tensor, Tensor, Tensor]:
    """The most similar other slides of each slide, and which of their prototypes belong to its own.

    Memory grows with S·num and not with S²; each pair of slides is compared once. A slide is never its own neighbour,
    however many are equal to it.

    Args:
        prototypes: (S, M, C).
        valid: (S,) bool, False for slides without prototypes, which have no neighbours and are none; None if all have.
        num: K wanted; with V valid slides each has min(K, V − 1).
        match: Which prototype of a neighbour belongs to one: 'assignment', that of the best permutation; 'argmax', the
            most similar, so that one may belong to several (as in the authors' code).

    Returns:
        index (S, K'), the nearest first and −1 for slides that are not valid; order (S, K', M), where prototype
        order[i, k, m] of slide index[i, k] belongs to prototype m of slide i; and similarity (S, K'), 0 where not
        valid. K' = max(0, min(K, V − 1)).

    Raises:
        ValueError: a shape or ``match`` is wrong, or ``num`` is negative.
    """
    unit = _unit(prototypes)
    count, size, _ = unit.shape
    valid = torch.ones(count, dtype=torch.bool, device=unit.device) if valid is None else valid
    if valid.shape != (count,) or valid.dtype != torch.bool:
        raise ValueError(f'valid is {valid.dtype} of shape {tuple(valid.shape)}, expected bool ({count},)')
    if num < 0 or match not in MATCHES:
        raise ValueError(f'num is {num} and match {match!r}, expected 0 or more and one of {", ".join(MATCHES)}')
    where = valid.nonzero().squeeze(1)
    kept = unit[where]
    num = max(0, min(num, len(kept) - 1))
    index = torch.full((count, num), -1, device=unit.device)
    order = torch.zeros(count, num, size, dtype=torch.long, device=unit.device)
    similarity = unit.new_zeros(count, num)
    if not num:
        return index, order, similarity
    value, nearest = _most_similar(kept, num)
    index[where], similarity[where] = where[nearest], value
    for part in torch.arange(len(kept), device=unit.device).split(_rows_at_a_time(kept[: num + 1])):
        cosines = torch.einsum('amc,aknc->akmn', kept[part], kept[nearest[part]]).flatten(0, 1)
        found = best_assignment(cosines)[1] if match == 'assignment' else cosines.argmax(2)
        order[where[part]] = found.view(len(part), num, size)
    return index, order, similarity


def _most_similar(unit: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Similarity and index (S, K) of the K most similar other slides, in tiles on and above the diagonal.

    Args:
        unit: (S, M, C) of unit length.
        num: K, below S.
    """
    count = len(unit)
    tall, wide = TILE.get(unit.device.type, TILE_ELSEWHERE)
    best = unit.new_full((count, num), -torch.inf)
    index = torch.zeros(count, num, dtype=torch.long, device=unit.device)
    number = torch.arange(count, device=unit.device)
    for top in range(0, count, tall):
        rows = number[top : top + tall]
        for left in range(top, count, wide):
            columns = number[left : left + wide]
            scores = _similarity_of(unit[rows], unit[columns])
            scores.masked_fill_(rows[:, None] == columns, -torch.inf)
            _keep_best(best, index, rows, scores, columns)
            # what lies below the diagonal of this tile mirrors what lies above it
            after = columns[max(0, top + tall - left) :]
            if len(after):
                _keep_best(best, index, after, scores[:, len(columns) - len(after) :].T, rows)
    return best, index


def _keep_best(best: Tensor, index: Tensor, rows: Tensor, scores: Tensor, columns: Tensor) -> None:
    """Enter ``scores`` (A, B) of slides ``rows`` (A,) and ``columns`` (B,) into the best that are known of the rows."""
    num = best.shape[1]
    value, place = scores.topk(min(num, len(columns)), dim=1)
    values = torch.cat([best[rows], value], 1)
    indices = torch.cat([index[rows], columns[place]], 1)
    top, choice = values.topk(num, dim=1)
    best[rows], index[rows] = top, indices.gather(1, choice)
