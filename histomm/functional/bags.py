"""Bags: sets of instances of any size with one label each, pooled under a mask.

Shapes: B bags of at most L instances of D numbers; C outputs. A mask (B, L) is true where there is an instance; what
stands elsewhere counts for nothing. A bag without instances pools to zeros, never to NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_bags(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put bags of different sizes side by side.

    Args:
        bags: B times (L_i, D).

    Returns:
        (B, L, D) with zeros where a bag has ended, L the largest L_i; mask (B, L), bool.

    Raises:
        ValueError: no bags, or not all (L_i, D) with one D.
    """
    shapes = [tuple(bag.shape) for bag in bags]
    if not bags or any(len(shape) != 2 or shape[1] != shapes[0][-1] for shape in shapes):
        raise ValueError(f'bags have the shapes {shapes[:5]}, expected one or more (L, D) with the same D')
    sizes = torch.tensor([len(bag) for bag in bags], device=bags[0].device)
    mask = torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]
    return torch.nn.utils.rnn.pad_sequence(list(bags), batch_first=True), mask


def check_bags(bags: Tensor, mask: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    """The bags with zeros where the mask is false, and the mask; all true without one.

    Args:
        bags: (B, L, D).
        mask: (B, L) bool, or ``None``.
        channels: D.

    Raises:
        ValueError: another shape.
    """
    if bags.ndim != 3 or bags.shape[2] != channels:
        raise ValueError(f'bags have shape {tuple(bags.shape)}, expected (B, L, {channels}); see in_channels')
    if mask is None:
        return bags, bags.new_ones(bags.shape[:2], dtype=torch.bool)
    if mask.shape != bags.shape[:2] or mask.dtype != torch.bool:
        found = f'{tuple(mask.shape)} of {mask.dtype}'
        raise ValueError(f'the mask is {found}, expected {tuple(bags.shape[:2])} of torch.bool')
    return bags.masked_fill(~mask[..., None], 0), mask


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the instances of each bag.

    Args:
        scores: (B, L, C).
        mask: (B, L) bool.

    Returns:
        (B, L, C), 0 where the mask is false; over L the sum is 1, or 0 for a bag without instances.
    """
    hidden = ~mask[..., None]
    # the lowest finite number rather than −∞: a row of −∞ alone would be NaN, its gradient too
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(hidden, lowest).softmax(dim=1).masked_fill(hidden, 0)


def attention_pool(values: Tensor, weights: Tensor) -> Tensor:
    """Σ_l a_lc v_l: for each output the weighted sum of the instances.

    Args:
        values: (B, L, D).
        weights: (B, L, C) of :func:`masked_softmax`.

    Returns:
        (B, C, D).
    """
    return weights.transpose(1, 2) @ values


def masked_mean(bags: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) of the instances (B, L, D) of each bag."""
    total = bags.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


def critical_instances(scores: Tensor, mask: Tensor) -> Tensor:
    """Index (B, C), int64, of the instance of highest score (B, L, C) for each output; of equal ones the first."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask[..., None], lowest).argmax(dim=1)


def gather_instances(values: Tensor, index: Tensor) -> Tensor:
    """The instances (B, C, D) of (B, L, D) at ``index`` (B, C)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def likeliest_instance(logits: Tensor, mask: Tensor) -> Tensor:
    """Index (B,) of the instance that speaks for its bag in maximum MIL.

    Of two classes it is the one of highest probability of class 1; of one output, that of the highest logit; of three
    classes or more, the one that is surest of any.

    Args:
        logits: (B, L, C) of every instance.
        mask: (B, L) bool.
    """
    classes = logits.shape[2]
    if classes == 1:
        scores = logits
    else:
        probability = logits.softmax(dim=2)
        scores = probability[..., 1:] if classes == 2 else probability.amax(dim=2, keepdim=True)
    return critical_instances(scores, mask)[:, 0]


def dual_stream_attention(query: Tensor, critical: Tensor, mask: Tensor) -> Tensor:
    """softmax_l(q_l · q_c / √K): attention of each instance to the critical one of each class (DS-MIL, eq. 4).

    Args:
        query: (B, L, K) queries of the instances.
        critical: (B, C, K) queries of the critical instances.
        mask: (B, L) bool.

    Returns:
        (B, L, C).
    """
    return masked_softmax(query @ critical.transpose(1, 2) / query.shape[2] ** 0.5, mask)
