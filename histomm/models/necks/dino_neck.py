"""The projection head of DINO."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.registry import MODELS


class UnitRowsLinear(nn.Module):
    """Linear layer without bias whose rows are scaled to unit length: weight normalisation with the gain fixed at 1.

    The parameter is the unnormalised ``weight`` alone, and the rows are scaled at each call. torch's own forms do not
    serve here: ``nn.utils.weight_norm`` keeps the scaled weight as a computed tensor, which cannot be copied and which
    an averaged teacher would go on using as it was; ``parametrizations.weight_norm`` makes the gain a parameter that is
    trained and averaged unless everybody leaves it out.

    Args:
        in_features: C.
        out_features: D.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-1, 1) / in_features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., D)."""
        return F.linear(x, F.normalize(self.weight, dim=1))


@MODELS.register_module()
class DINONeck(BaseModule):
    """Projection head of DINO (Caron et al., ICCV 2021): three linear layers, unit length, weight-normalised layer.

    Linear, GELU, linear, GELU, linear, L2 normalisation, then :class:`UnitRowsLinear`; so the outputs are cosines, in
    [−1, 1]. No batch norm. From 192 numbers 21,893,376 parameters with the default widths.

    Args:
        in_channels: Of the features.
        hid_channels: Of the two hidden layers.
        bottleneck_channels: Of the unit vectors.
        out_channels: D, of the outputs.
        init_cfg: Initialisation of mmengine's modules; by default linear layers are drawn from a normal distribution of
            deviation 0.02, and the last layer from a uniform one as torch does.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 2048,
        bottleneck_channels: int = 256,
        out_channels: int = 65536,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0))
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hid_channels),
            nn.GELU(),
            nn.Linear(hid_channels, hid_channels),
            nn.GELU(),
            nn.Linear(hid_channels, bottleneck_channels),
        )
        self.last_layer = UnitRowsLinear(bottleneck_channels, out_channels)

    @property
    def out_channels(self) -> int:
        """D."""
        return len(self.last_layer.weight)

    def bottleneck(self, features: Tensor) -> Tensor:
        """Unit vectors (N, ``bottleneck_channels``) of features (N, ``in_channels``)."""
        return F.normalize(self.mlp(features), dim=-1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """Outputs (N, D) of the last of ``features``, vectors (N, ``in_channels``)."""
        return (self.last_layer(self.bottleneck(features[-1])),)
