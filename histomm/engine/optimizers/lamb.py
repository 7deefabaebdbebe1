"""Adam whose step is scaled layer by layer."""

from collections.abc import Iterable

from timm.optim import Lamb
from torch import Tensor

from histomm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LAMB(Lamb):
    """LAMB (You et al., ICLR 2020, algorithm 2), as timm computes it.

    For each tensor w with gradient g, in step t::

        g ← g / max(1, ‖all g‖ / max_grad_norm)
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        u = m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps) + weight_decay · w
        w ← w − lr · u · ‖w‖ / ‖u‖      (ratio 1 if either norm is 0)

    The first line is not of the paper but of NVIDIA's implementations, which most published runs used;
    ``max_grad_norm=None`` leaves it out. Tensors without weight decay are not scaled either, as in timm: with
    ``paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0)`` biases and norm layers follow plain Adam.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate >= 0.
        betas: β₁ and β₂, in [0, 1).
        eps: > 0.
        weight_decay: >= 0.
        max_grad_norm: Bound of the length of all gradients together, or None.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
    ) -> None:
        fine = lr >= 0 and eps > 0 and weight_decay >= 0 and (max_grad_norm is None or max_grad_norm > 0)
        if not fine or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f'LAMB: lr is {lr}, betas {betas}, eps {eps}, weight_decay {weight_decay} and max_grad_norm '
                f'{max_grad_norm}, expected lr and weight_decay >= 0, betas in [0, 1), eps and max_grad_norm > 0'
            )
        super().__init__(
            params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, max_grad_norm=max_grad_norm
        )
