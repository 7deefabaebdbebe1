"""The aggregators without attention: the likeliest instance, and the mean."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.functional.bags import check_bags, likeliest_instance, masked_mean
from histomm.registry import MODELS

from .gated_attention import hidden_layer
from .output import BagOutput


@MODELS.register_module()
class MaxMIL(BaseModule):
    """Maximum MIL: a classifier of instances, of which the likeliest speaks for the bag.

    Linear D → D, ReLU, dropout, Linear D → C, as in CLAM and HIPT; which instance is taken, see
    :func:`~histomm.functional.bags.likeliest_instance`. Only that instance gets a gradient.

    Args:
        in_channels: D of the instances.
        num_classes: C.
        dropout: Of the hidden layer.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(
        self, in_channels: int, num_classes: int = 2, dropout: float = 0.25, init_cfg: dict | list | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.embed = hidden_layer(in_channels, in_channels, dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> BagOutput:
        """Logits of bags (B, L, D) under a mask (B, L); the attention is 1 for the instance that was taken."""
        bags, mask = check_bags(bags, mask, self.in_channels)
        logits = self.fc(self.embed(bags))
        index = likeliest_instance(logits, mask)
        chosen = logits[torch.arange(len(logits), device=logits.device), index]
        attention = torch.zeros_like(logits[..., :1]).scatter_(1, index[:, None, None], 1.0)
        return BagOutput((chosen,), attention * mask[..., None])


@MODELS.register_module()
class MeanMIL(BaseModule):
    """Mean pooling: a linear classifier of the mean of the instances.

    Args:
        in_channels: D of the instances.
        num_classes: C.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(self, in_channels: int, num_classes: int = 2, init_cfg: dict | list | None = None) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> BagOutput:
        """Logits of bags (B, L, D) under a mask (B, L); the attention is the same for all instances of a bag."""
        bags, mask = check_bags(bags, mask, self.in_channels)
        share = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return BagOutput((self.fc(masked_mean(bags, mask)),), share.to(bags)[..., None])
