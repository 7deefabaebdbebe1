"""Loss of BYOL and SimSiam in full precision."""

import torch
from mmpretrain.models import losses
from torch import Tensor

from histomm.registry import MODELS


@MODELS.register_module()
class CosineSimilarityLoss(losses.CosineSimilarityLoss):
    """mmpretrain's cosine similarity loss, reckoned in float32 also under autocast.

    Theirs is reckoned in the dtype of what it is given: a loss near −1 in bfloat16 moves in steps of 1/256.

    Args:
        shift_factor: What the similarity is subtracted from.
        scale_factor: What it is multiplied by.
    """

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Loss of predictions (N, C) and targets (N, C), of which ``mask`` (N,) may weigh each."""
        dtype = torch.promote_types(pred.dtype, torch.float32)
        return super().forward(pred.to(dtype), target.to(dtype), mask)
