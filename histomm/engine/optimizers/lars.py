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
            for weight in group['params']:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Tensor, group: dict) -> None:
        change = weight.grad
        if weight.ndim > 1:
            change = change.add(weight, alpha=group['weight_decay'])
            size, length = weight.norm(), change.norm()
            # the norms stay on the device: reading them would stop it for every tensor
            trust = torch.where((size > 0) & (length > 0), group['eta'] * size / length, 1)
            change = change * trust
        state = self.state[weight]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(weight)
        velocity = state['momentum_buffer'].mul_(group['momentum']).add_(change)
        weight.add_(velocity, alpha=-group['lr'])
