"""Mixed precision that needs no loss scale."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from histomm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs a model's forward pass under autocast to bfloat16, on a GPU or a CPU; weights and optimiser stay in float32.

    bfloat16 has the range of float32, so gradients do not vanish and are not scaled. mmengine's ``AmpOptimWrapper``
    scales them in bfloat16 too, for which a GPU is waited for in every step, and refuses to run on a CPU; float16,
    which needs a scale, is its business.

    Args are those of mmengine's ``OptimWrapper``: ``optimizer``, ``accumulative_counts`` and ``clip_grad``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, beside what accumulation of gradients needs.

        Raises:
            RuntimeError: the GPU knows no bfloat16.
        """
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
