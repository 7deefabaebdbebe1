"""Numbers that tell whether a representation collapses, without labels."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def feature_std(x: Tensor) -> float:
    r"""Spread of L2-normalised features, √D · mean over dimensions of the standard deviation over samples.

    Rows of equal length spread evenly over the sphere have variance 1/D in every dimension, so the value is 1; it is 0
    when all rows point the same way. Features behind a ReLU lie in one orthant and stay below 1.

    Args:
        x: Features (N, D), N ≥ 2; zero rows stay zero.

    Returns:
        A number in [0, 1] up to the factor √(N/(N-1)) of the unbiased deviation, which is not applied: the deviation
        is over the N samples given.

    Raises:
        ValueError: ``x`` is not (N, D) with N ≥ 2.
    """
    _check(x)
    unit = normalize(x.float(), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * x.shape[1] ** 0.5)


def rankme(x: Tensor, eps: float = 1e-7) -> float:
    r"""Smooth rank of the features: RankMe, Garrido et al. 2023, eq. 1.

    With the singular values σ of the (N, D) matrix, p_k = σ_k / Σσ + ε and RankMe = exp(-Σ p_k log p_k). It is k for
    k equal singular values and at most min(N, D). The features are taken as they are, not centred.

    Args:
        x: Features (N, D), N ≥ 2. The paper uses N = 25,600; compare values of equal N only.
        eps: ε of the paper. At 0 the value is exact, with 0 log 0 = 0.

    Returns:
        A number in [1, min(N, D)]; 0 for an all-zero matrix, NaN for one with values that are not finite.

    Raises:
        ValueError: ``x`` is not (N, D) with N ≥ 2.
    """
    _check(x)
    if not x.isfinite().all():
        return float('nan')
    x = x.double()
    # Eigenvalues of the smaller Gram matrix: 5 to 20 times faster than the singular values, and in float64 good to
    # 1e-8 of the largest.
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    sigma = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = sigma.sum()
    if total == 0:
        return 0.0
    return float(torch.special.entr(sigma / total + eps).sum().exp())


def _check(x: Tensor) -> None:
    if x.ndim != 2 or x.shape[0] < 2:
        raise ValueError(f'features have shape {tuple(x.shape)}, expected (N, D) with N of 2 or more')
