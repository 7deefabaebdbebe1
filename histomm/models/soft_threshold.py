"""A soft threshold whose level follows the batches."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from histomm.functional import share_level, soft_mask
from histomm.registry import MODELS


@MODELS.register_module()
class SoftThreshold(nn.Module):
    """Mask σ(slope·(a − τ)) that leaves about ``share`` of each attention map (Sahasrabudhe et al., MICCAI 2020).

    In training τ moves towards the level of the batch, τ ← momentum·τ + (1 − momentum)·level, over all ranks, before
    the mask is made; in evaluation it stays. It is saved with the model.

    Args:
        share: Of the pixels of a map, in [0, 1).
        momentum: In [0, 1].
        slope: Steepness of the mask.
        initial: τ before the first batch.

    Raises:
        ValueError: ``momentum`` is out of range; ``share`` at the first call in training.
    """

    level: Tensor

    def __init__(self, share: float = 0.07, momentum: float = 0.9, slope: float = 20, initial: float = 0.5) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f'SoftThreshold: momentum is {momentum}, expected a value in [0, 1] (1 never changes)')
        self.share, self.momentum, self.slope = share, momentum, slope
        self.register_buffer('level', torch.tensor(float(initial)))

    def forward(self, attention: Tensor) -> Tensor:
        """Mask of the shape of ``attention`` (B, ...); without gradient through τ."""
        if self.training:
            level = share_level(attention, self.share).to(self.level.dtype)
            all_reduce(level, op='mean')
            self.level.lerp_(level, 1 - self.momentum)
        return soft_mask(attention, self.level, self.slope)
