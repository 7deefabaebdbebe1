"""Contrastive losses.

Shapes: N anchors with one positive each, K negatives shared by all, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .streaming import logsumexp_of_products

REDUCTIONS = ('weighted_mean', 'mean')


def unit_rows(rows: Tensor) -> Tensor:
    """Rows (N, C) at unit length; rows of zeros stay zeros.

    In float32, or float64 if given so: the length of a row that is rounded to bfloat16 is off by up to 1/512.
    """
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)


def info_nce(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    temperature: float,
    weight: Tensor | None = None,
    reduction: str = 'weighted_mean',
    chunk_size: int | None = None,
) -> Tensor:
    """InfoNCE with a shared set of negatives, such as a queue, and a weight for each row.

    ℓ_i = −log( exp(a_i·p_i/τ) / (exp(a_i·p_i/τ) + Σ_j exp(a_i·n_j/τ)) )

    Rows are used as they are: unit length is the caller's duty, and a zero row is allowed. Products with the negatives
    run in the dtype of ``anchor`` (or autocast's), all else in float32, or float64 if ``anchor`` is so. Rows of weight
    0 are left out or blanked before anything is computed, so that whatever they hold reaches neither the value nor a
    gradient.

    Args:
        anchor: (N, C).
        positive: (N, C), row i belongs to anchor i.
        negatives: (K, C); K = 0 gives a loss of 0.
        temperature: τ > 0.
        weight: (N,) >= 0, taken as a constant; None is 1 for each row.
        reduction: 'weighted_mean' is Σ w_i ℓ_i / Σ w_i (eq. 11 of Zhang et al., IPMI 2023, when both directions come
            in one call), 'mean' is Σ w_i ℓ_i / N (their code).
        chunk_size: rows at a time, so that chunk_size×K logits are held instead of N×K; None chooses. Negatives with
            gradient are the exception: None is then all rows at once, and chunks are computed again in the backward
            pass.

    Returns:
        Scalar >= 0; a zero connected to the graph if N = 0 or all weights are 0.

    Raises:
        ValueError: if shapes disagree, the temperature is not positive, or the reduction or chunk size is unknown.
    """
    _check(anchor, positive, negatives, temperature, weight, reduction, chunk_size)
    dtype = torch.promote_types(anchor.dtype, torch.float32)
    count = max(len(anchor), 1)
    if weight is None:
        weight = anchor.new_ones(len(anchor), dtype=dtype)
    else:
        anchor, positive, weight = _present(anchor, positive, weight.detach().to(dtype))
    negatives = negatives.to(anchor.dtype)
    if not negatives.requires_grad:
        losses = _streamed_losses(anchor, positive, negatives, temperature, chunk_size)
    elif chunk_size is None:
        losses = _row_losses(anchor, positive, negatives, temperature)
    else:
        chunks = zip(anchor.split(chunk_size), positive.split(chunk_size), strict=True)
        losses = torch.cat(
            [
                checkpoint(_row_losses, a, p, negatives, temperature, use_reentrant=False, preserve_rng_state=False)
                for a, p in chunks
            ]
        )
    total = (weight * losses).sum()
    if reduction == 'mean':
        return total / count
    scale = weight.sum()
    return total / torch.where(scale > 0, scale, 1)


def nt_xent(view1: Tensor, view2: Tensor, temperature: float) -> Tensor:
    """NT-Xent of SimCLR (Chen et al., ICML 2020, eq. 1): each row against all other rows of both views.

    ℓ_i = −log( exp(z_i·z_p/τ) / Σ_{j≠i} exp(z_i·z_j/τ) ), averaged over the 2N rows z of both views; p is the row
    of the same image in the other view.

    Rows are used as they are: unit length is the caller's duty. Reckoned in float32, or float64 if the views are so.

    Args:
        view1: (N, C).
        view2: (N, C), row i shows the same image as row i of ``view1``.
        temperature: τ > 0.

    Returns:
        Scalar >= 0; a zero connected to the graph if N = 0.

    Raises:
        ValueError: if shapes disagree, or the temperature is not positive.
    """
    if view1.ndim != 2 or view1.shape != view2.shape:
        raise ValueError(f'view1 has shape {tuple(view1.shape)} and view2 {tuple(view2.shape)}, expected (N, C) twice')
    if not temperature > 0:
        raise ValueError(f'temperature is {temperature}, expected a number > 0')
    rows = torch.cat((view1, view2))
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if not len(rows):
        return rows.sum()
    with torch.autocast(rows.device.type, enabled=False):
        logits = rows @ rows.mT / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    partner = torch.arange(len(rows), device=rows.device).roll(len(view1))
    return F.cross_entropy(logits.masked_fill(itself, -torch.inf), partner)


def _present(anchor: Tensor, positive: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of weight 0 left out on a CPU; blanked elsewhere, as a device is waited for to know how many there are."""
    present = weight != 0
    if anchor.device.type != 'cpu':
        return torch.where(present[:, None], anchor, 0), torch.where(present[:, None], positive, 0), weight
    if present.all():  # to take all rows would copy them, and their gradients one by one
        return anchor, positive, weight
    return anchor[present], positive[present], weight[present]


def _row_losses(anchor: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """(N,) losses in float32 at least. ℓ = −log σ(s⁺ − lse_j s_j) equals the ratio above and needs no joint logits."""
    dtype = torch.promote_types(anchor.dtype, torch.float32)
    neg = (anchor @ negatives.mT).to(dtype).div_(temperature)  # in place: N×K is the largest tensor here
    return -F.logsigmoid(_similarity(anchor, positive, temperature) - neg.logsumexp(1))


def _streamed_losses(
    anchor: Tensor, positive: Tensor, negatives: Tensor, temperature: float, chunk_size: int | None
) -> Tensor:
    """The same for negatives without gradient, whose logits are made once and never held together."""
    pos = _similarity(anchor, positive, temperature)
    if not len(negatives):
        return -F.logsigmoid(pos + torch.inf)
    return -F.logsigmoid(pos - logsumexp_of_products(anchor, negatives, 1 / temperature, chunk_size))


def _similarity(anchor: Tensor, positive: Tensor, temperature: float) -> Tensor:
    dtype = torch.promote_types(anchor.dtype, torch.float32)
    return (anchor.to(dtype) * positive.to(dtype)).sum(1) / temperature


def _check(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    temperature: float,
    weight: Tensor | None,
    reduction: str,
    chunk_size: int | None,
) -> None:
    if anchor.ndim != 2:
        raise ValueError(f'anchor has shape {tuple(anchor.shape)}, expected (N, C)')
    if positive.shape != anchor.shape:
        raise ValueError(f'positive has shape {tuple(positive.shape)}, expected {tuple(anchor.shape)} as anchor')
    if negatives.ndim != 2 or negatives.shape[1] != anchor.shape[1]:
        raise ValueError(f'negatives has shape {tuple(negatives.shape)}, expected (K, {anchor.shape[1]})')
    if weight is not None and weight.shape != anchor.shape[:1]:
        raise ValueError(f'weight has shape {tuple(weight.shape)}, expected ({len(anchor)},)')
    if not temperature > 0:
        raise ValueError(f'temperature is {temperature}, expected a number > 0')
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is '{reduction}', expected one of {', '.join(REDUCTIONS)}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size is {chunk_size}, expected a number of rows >= 1 or None')
