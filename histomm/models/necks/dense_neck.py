"""Projection of a feature map, cell by cell."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.registry import MODELS


@MODELS.register_module()
class DenseNeck(BaseModule):
    """Two 1×1 convolutions with a ReLU between (DenseCL, Wang et al. 2021, Section 3.2).

    Args:
        in_channels: D, channels of the backbone's last map.
        hid_channels: Channels between the two convolutions.
        out_channels: C, channels of the projection.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(
        self, in_channels: int, hid_channels: int, out_channels: int, init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.mlp = nn.Sequential(
            nn.Conv2d(in_channels, hid_channels, 1), nn.ReLU(inplace=True), nn.Conv2d(hid_channels, out_channels, 1)
        )

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Project the last of the backbone's maps (B, D, H, W) to (B, C, H, W), not normalised."""
        return self.mlp(feats[-1])
