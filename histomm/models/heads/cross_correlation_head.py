"""Head of Barlow Twins over all processes."""

import torch
from mmpretrain.models.heads import LatentCrossCorrelationHead
from torch import Tensor

from histomm.models.gather import gather_with_grad
from histomm.registry import MODELS


@MODELS.register_module()
class CrossCorrelationHead(LatentCrossCorrelationHead):
    """Cross-correlation of two views' projections over the whole batch (Zbontar et al. 2021, eq. 2).

    mmpretrain's head standardises each process's share by itself, and adds up matrices behind the back of the graph:
    its loss depends on the number of processes, and DDP divides its gradient by it. Here the shares are gathered first,
    so several processes compute what one would of the same batch. Reckoned in float32, also under autocast.

    Args:
        in_channels: D, width of the projections.
        loss: Config of the loss of the matrix, such as ``mmpretrain.CrossCorrelationLoss``.
        init_cfg: Initialisation of mmengine's modules.
    """

    def loss(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of this process's projections (N, D) of both views and those of all others."""
        dtype = torch.promote_types(input.dtype, torch.float32)
        with torch.autocast(input.device.type, enabled=False):
            views = [self.bn(gather_with_grad(view.to(dtype))) for view in (input, target)]
            return self.loss_module(views[0].T @ views[1] / len(views[0]))
