"""What is done to gradients between the backward pass and the step."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.optim import Optimizer

from histomm.engine.hooks.features import find_module
from histomm.registry import HOOKS


class GradientHook(Hook):
    """Calls :meth:`change` just before each step of the optimiser, after any loss scale has been taken away.

    A step that a loss scaler skips is not seen. Gradients that are accumulated over iterations are seen once.

    Raises:
        ValueError: there is a loss scale, which the optimiser takes away by itself, as fused ones do.
    """

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimiser."""
        optimizer = runner.optim_wrapper.optimizer
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and scaler.is_enabled() and getattr(optimizer, '_step_supports_amp_scaling', False):
            raise ValueError(
                f'{type(self).__name__}: the optimiser is fused and sees gradients with their loss scale, expected '
                'fused=False, or histomm.AutocastOptimWrapper, which has no scale'
            )
        self._runner = runner
        self._handle = optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: self.change(optimizer))

    def after_train(self, runner: Runner) -> None:
        """Detach from the optimiser."""
        self._handle.remove()

    def change(self, optimizer: Optimizer) -> None:
        """Change the gradients of the optimiser's parameters."""
        raise NotImplementedError


@HOOKS.register_module()
class PerParameterClipHook(GradientHook):
    """Scales the gradient of each parameter down to a norm of at most ``max_norm``, each by itself, as DINO does.

    mmengine's ``clip_grad`` scales all by one factor, from the norm of all together.

    Args:
        max_norm: Above 0.

    Raises:
        ValueError: ``max_norm`` is not above 0.
    """

    def __init__(self, max_norm: float = 3.0) -> None:
        if not max_norm > 0:
            raise ValueError(f'PerParameterClipHook: max_norm is {max_norm}, expected a number > 0')
        self.max_norm = max_norm

    @torch.no_grad()
    def change(self, optimizer: Optimizer) -> None:
        """Scale g to g·min(1, ``max_norm``/(‖g‖ + 1e-6))."""
        gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if gradients:
            factors = [(self.max_norm / (norm + 1e-6)).clamp(max=1.0) for norm in torch._foreach_norm(gradients)]
            torch._foreach_mul_(gradients, factors)


@HOOKS.register_module()
class FrozenModuleHook(GradientHook):
    """Leaves a module as it is at the beginning of training, as DINO does with the last layer in the first epoch.

    Its gradients are reckoned and then dropped, so that processes need not know; neither weight decay nor the
    optimiser's moments touch it meanwhile.

    Args:
        module: Dotted path of the module in the model.
        epochs: For how many epochs; or
        iterations: for how many iterations.

    Raises:
        ValueError: not exactly one of the two numbers, one below 1, epochs in a run counted in iterations, or the model
            has no such module.
    """

    def __init__(self, module: str, epochs: int | None = None, iterations: int | None = None) -> None:
        if (epochs is None) == (iterations is None) or (epochs or iterations or 0) < 1:
            raise ValueError(
                f'FrozenModuleHook: epochs is {epochs} and iterations {iterations}, expected one of them, at least 1'
            )
        self.module = module
        self.epochs = epochs
        self.iterations = iterations

    def before_train(self, runner: Runner) -> None:
        """Find the module and attach to the optimiser."""
        if self.epochs is not None and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError('FrozenModuleHook: epochs are given in a run counted in iterations; give iterations')
        self._parameters: list[nn.Parameter] = list(find_module(runner, self.module).parameters())
        super().before_train(runner)

    def change(self, optimizer: Optimizer) -> None:
        """Drop the gradients while the module is frozen."""
        if self.epochs is not None:
            frozen = self._runner.epoch < self.epochs
        else:
            frozen = self._runner.iter < self.iterations
        if frozen:
            for parameter in self._parameters:
                parameter.grad = None
