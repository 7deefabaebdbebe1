"""The criterion of VICReg: invariance, variance, covariance (Bardes, Ponce & LeCun, ICLR 2022, eqs. 1 to 6).

Shapes: N rows, C channels. Dimensions between them, ``(N, ..., C)``, are places: variance and covariance are taken over
the N rows of each place and averaged over places, as VICRegL does with the cells of a map (NeurIPS 2022).

All is reckoned in float32, or float64 if given so, also under autocast.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-4
"""Added to a variance below the root, whose slope is infinite at 0 (Bardes et al. 2022, eq. 1)."""

COMBINATIONS = ('sum', 'mean')


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Spread(NamedTuple):
    """Rows less their mean, their variance over the rows, and what that was divided by."""

    centred: Tensor
    variance: Tensor
    divisor: int


def _spread(x: Tensor) -> _Spread:
    """Of (N, ..., C), N > 0: sums of products are divided by N − 1, but by 1 for a single row."""
    if x.ndim < 2:
        raise ValueError(f'x has shape {tuple(x.shape)}, expected (N, ..., C)')
    x, divisor = _wide(x), max(len(x) - 1, 1)
    centred = x - x.mean(0, keepdim=True)
    return _Spread(centred, centred.square().sum(0) / divisor, divisor)


def vicreg_invariance(x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w_i · mean_c (x_ic − y_ic)² / Σ w_i: the mean squared error of eq. 5, of rows that count differently.

    Rows of weight 0 are blanked before anything is computed, so that whatever they hold reaches neither the value nor a
    gradient.

    Args:
        x: (N, ..., C).
        y: As ``x``.
        weight: (N, ...) >= 0, taken as a constant; None is 1 for each row.

    Returns:
        Scalar >= 0; a zero connected to the graph if N = 0 or all weights are 0.

    Raises:
        ValueError: if shapes disagree.
    """
    if x.ndim < 2 or y.shape != x.shape:
        raise ValueError(f'x has shape {tuple(x.shape)} and y {tuple(y.shape)}, expected (N, ..., C) twice')
    if weight is not None and weight.shape != x.shape[:-1]:
        raise ValueError(f'weight has shape {tuple(weight.shape)}, expected {tuple(x.shape[:-1])}')
    if weight is None:
        weight = x.new_ones(x.shape[:-1], dtype=_wide(x).dtype)
    weight = _wide(weight.detach())
    difference = torch.where(weight[..., None] != 0, _wide(x) - _wide(y), 0)
    total = weight.sum()
    return (weight * difference.square().mean(-1)).sum() / torch.where(total > 0, total, 1)


def vicreg_variance(x: Tensor) -> Tensor:
    """mean_c max(0, 1 − √(Var_c + 1e-4)), with the unbiased variance (eqs. 1 and 2).

    Args:
        x: (N, ..., C).

    Returns:
        Scalar in [0, 0.99]. The variance of a single row counts as 0, which gives 0.99 and no gradient; N = 0 gives a
        zero connected to the graph.

    Raises:
        ValueError: if ``x`` has less than two dimensions.
    """
    return _variance_term(_spread(x)) if x.numel() else _wide(x).sum()


def _variance_term(spread: _Spread) -> Tensor:
    return (1 - (spread.variance + EPS).sqrt()).relu().mean()


def vicreg_covariance(x: Tensor) -> Tensor:
    """Σ_{c≠d} Cov_cd² / C, with the unbiased covariance (eqs. 3 and 4).

    Args:
        x: (N, ..., C).

    Returns:
        Scalar >= 0. The covariance of a single row counts as 0; N = 0 gives a zero connected to the graph.

    Raises:
        ValueError: if ``x`` has less than two dimensions.
    """
    return _covariance_term(_spread(x)) if x.numel() else _wide(x).sum()


def _covariance_term(spread: _Spread) -> Tensor:
    """From products of channels (C×C) or, where rows are few, of rows (N×N): ‖XᵀX‖² = ‖XXᵀ‖².

    The squares of the diagonal, the variances, are then taken off the sum. Little is lost by that: the sum is at least
    the squared trace by the rank, so C / (N − 1) times the diagonal's where channels vary alike.
    """
    centred, variance, divisor = spread
    channels = centred.shape[-1]
    places = centred.reshape(len(centred), -1, channels).transpose(0, 1)
    few = 2 * len(centred) <= channels
    with torch.autocast(centred.device.type, enabled=False):
        products = (places @ places.mT if few else places.mT @ places) / divisor
    if few:
        squares = products.square().sum((1, 2)).mean() - variance.square().sum(-1).mean()
        return squares.relu() / channels
    itself = torch.eye(channels, dtype=torch.bool, device=centred.device)
    return products.masked_fill(itself, 0).square().sum((1, 2)).mean() / channels


def vicreg_terms(
    x: Tensor, y: Tensor, weight: Tensor | None = None, covariance: str = 'sum'
) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of VICReg for two sets of paired rows; the loss of the paper is 25, 25 and 1 times of them.

    The variance is averaged over ``x`` and ``y``. The covariance is summed over them, as VICReg's authors do, or
    averaged, as those of VICRegL do: the same weight of 1 means half as much there.

    Args:
        x: (N, C), or (N, ..., C) with places.
        y: As ``x``; row i is to equal row i of ``x``.
        weight: (N,) or (N, ...) >= 0 of the rows in the invariance; variance and covariance take all rows alike.
        covariance: 'sum' or 'mean' over ``x`` and ``y``.

    Returns:
        (invariance, variance, covariance), scalars >= 0: see :func:`vicreg_invariance`, :func:`vicreg_variance` and
        :func:`vicreg_covariance`.

    Raises:
        ValueError: if shapes disagree, or ``covariance`` is unknown.
    """
    invariance = vicreg_invariance(x, y, weight)
    return invariance, *vicreg_spread([x, y], covariance)


def vicreg_spread(views: list[Tensor], covariance: str = 'sum') -> tuple[Tensor, Tensor]:
    """Variance and covariance of any number of sets of rows.

    Args:
        views: Sets of rows, each (N, ..., C).
        covariance: 'sum' or 'mean' over the sets; the variance is always their mean.

    Returns:
        (variance, covariance).

    Raises:
        ValueError: if there is no set, or ``covariance`` is unknown.
    """
    if not views:
        raise ValueError('views is empty, expected at least one set of rows')
    if covariance not in COMBINATIONS:
        raise ValueError(f"covariance is '{covariance}', expected one of {', '.join(COMBINATIONS)}")
    variances, covariances = torch.stack([_both_terms(view) for view in views]).unbind(1)
    return variances.mean(), covariances.sum() if covariance == 'sum' else covariances.mean()


def _both_terms(x: Tensor) -> Tensor:
    """(2,) variance and covariance of one set of rows, centred once for both."""
    if not x.numel():
        return _wide(x).sum().expand(2)
    spread = _spread(x)
    return torch.stack([_variance_term(spread), _covariance_term(spread)])
