"""SGD whose step is scaled layer by layer."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from histomm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), in the form that Barlow Twins, VICReg and VICRegL train with.

    For each tensor w with gradient g::

        d = g + weight_decay · w
        d ← d · η‖w‖ / ‖d‖      (not if either norm is 0)
        v ← momentum · v + d
        w ← w − lr · v

    Tensors of at most one dimension, biases and the weights of norm layers, get neither weight decay nor scaling.

    mmpretrain's LARS is another one: it scales by η‖w‖ / (‖g‖ + weight_decay · ‖w‖), which equals the above only where
    g points along w; it keeps lr in the momentum, so that a change of lr takes effect with delay; and it treats biases
    as weights, unless they are listed.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate >= 0.
        momentum: In [0, 1).
        weight_decay: >= 0.
        eta: η > 0, the trust coefficient.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
    ) -> None:
        if lr < 0 or not 0 <= momentum < 1 or weight_decay < 0 or eta <= 0:
            raise ValueError(
                f'LARS: lr is {lr}, momentum {momentum}, weight_decay {weight_decay} and eta {eta}, '
                'expected lr >= 0, 0 <= momentum < 1, weight_decay >= 0 and eta > 0'
            )
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta))

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; ``closure``, if given, is called first and its loss returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group['params'] if weight.grad is not None]
            if weights:
                self._update(weights, group)
        return loss

    def _update(self, weights: list[Tensor], group: dict) -> None:
        """Change all tensors of a group together, which an accelerator does in a few calls instead of some for each."""
        changes = [weight.grad for weight in weights]
        wide = [number for number, weight in enumerate(weights) if weight.ndim > 1]
        if wide:
            scaled = self._scale([changes[number] for number in wide], [weights[number] for number in wide], group)
            for number, change in zip(wide, scaled, strict=True):
                changes[number] = change
        for weight in weights:
            if 'momentum_buffer' not in self.state[weight]:
                self.state[weight]['momentum_buffer'] = torch.zeros_like(weight)
        velocities = [self.state[weight]['momentum_buffer'] for weight in weights]
        torch._foreach_mul_(velocities, group['momentum'])
        torch._foreach_add_(velocities, changes)
        torch._foreach_add_(weights, velocities, alpha=-group['lr'])

    @staticmethod
    def _scale(gradients: list[Tensor], weights: list[Tensor], group: dict) -> list[Tensor]:
        """d, with weight decay and trust ratio."""
        changes = torch._foreach_add(gradients, weights, alpha=group['weight_decay'])
        size, length = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(changes))
        # the norms stay on the device: reading them would stop it
        trust = torch.where((size > 0) & (length > 0), group['eta'] * size / length, 1)
        torch._foreach_mul_(changes, list(trust.unbind()))
        return list(changes)
