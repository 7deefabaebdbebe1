"""Projection of a feature map, cell by cell, with batch norm."""

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.registry import MODELS


@MODELS.register_module()
class MapProjector(BaseModule):
    """The projector of VICReg for each cell of a map (VICRegL, Bardes et al. 2022, Section 3.2).

    1×1 convolution, batch norm over images and cells, ReLU; once more for each further hidden layer; and a last 1×1
    convolution without bias. The last layer has no norm: its spread is what the variance term governs.

    Args:
        in_channels: D, channels of the backbone's last map.
        hid_channels: Channels of the hidden layers.
        out_channels: C, channels of the projection.
        num_layers: Convolutions, at least 1.
        norm_cfg: Config of the norm layers.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: ``num_layers`` below 1.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int,
        out_channels: int,
        num_layers: int = 3,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f'MapProjector: num_layers is {num_layers}, expected at least 1')
        layers: list[nn.Module] = []
        for _ in range(num_layers - 1):
            norm = build_norm_layer(norm_cfg or dict(type='BN'), hid_channels)[1]
            layers += [nn.Conv2d(in_channels, hid_channels, 1), norm, nn.ReLU(inplace=True)]
            in_channels = hid_channels
        self.mlp = nn.Sequential(*layers, nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Project the last of the backbone's maps (B, D, H, W) to (B, C, H, W), not normalised."""
        return self.mlp(feats[-1])
