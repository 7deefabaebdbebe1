"""An encoder that follows another as an exponential moving average."""

import math
from copy import deepcopy

import torch
from mmengine.logging import MessageHub
from torch import Tensor, nn


class EMATeacher(nn.Module):
    """A copy of ``student`` whose parameters trail behind: θ_t ← m·θ_t + (1 − m)·θ_s.

    ``momentum`` is the m of the papers, near 1. It is one minus the ``momentum`` of mmengine's averaged models.
    Parameters are averaged, buffers are not: batch norm of the teacher keeps statistics of its own. The first update
    copies parameters and buffers, so whatever initialised or loaded the student's weights also reaches the teacher.

    Args:
        student: Module to follow; it is copied, not kept.
        momentum: m at the first step, in [0, 1].
        end_momentum: m at the last step, reached along a half cosine (DINO, BYOL); ``None`` keeps m constant.
        total_steps: Steps of the cosine; ``None`` asks the running mmengine loop for its ``max_iters``.
    """

    steps: Tensor

    def __init__(
        self,
        student: nn.Module,
        momentum: float = 0.999,
        end_momentum: float | None = None,
        total_steps: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (('momentum', momentum), ('end_momentum', end_momentum)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f'EMATeacher: {name} is {value}, expected a value in [0, 1] (1 never changes)')
        self.module = deepcopy(student).requires_grad_(False)
        self.momentum = momentum
        self.end_momentum = end_momentum
        self.total_steps = total_steps
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        self._started = False  # what steps > 0 says, without asking a GPU in every step

    def current_momentum(self) -> float:
        """The m of the next update."""
        if self.end_momentum is None:
            return self.momentum
        total = self.total_steps or MessageHub.get_current_instance().get_info('max_iters')
        if not total:
            raise ValueError('EMATeacher: end_momentum needs total_steps outside a training loop, found none')
        progress = min(int(self.steps) / total, 1.0)
        return self.end_momentum - (self.end_momentum - self.momentum) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Follow ``student``, a module of the same structure as the one copied."""
        self._started = self._started or int(self.steps) > 0
        if not self._started:
            self.module.load_state_dict(student.state_dict())
        else:
            own, other = list(self.module.parameters()), list(student.parameters())
            torch._foreach_lerp_(own, other, 1 - self.current_momentum())
        self.steps += 1

    def forward(self, *args: object) -> object:
        """Run the averaged module."""
        return self.module(*args)
