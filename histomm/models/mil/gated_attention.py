"""Attention pooling with gates, alone and as the aggregator of Ilse et al."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.functional.bags import attention_pool, check_bags, masked_softmax
from histomm.registry import MODELS

from .output import BagOutput


class GatedAttention(nn.Module):
    """a_l = softmax_l(wᵀ(tanh(V h_l) ⊙ σ(U h_l))), Ilse et al., ICML 2018, eq. 9.

    Args:
        channels: D of the instances.
        hidden: Width of the gates.
        dropout: Of both gates.
    """

    def __init__(self, channels: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.content = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.score = nn.Linear(hidden, 1)

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled (B, D) and attention (B, L, 1) of bags (B, L, D) under a mask (B, L)."""
        weights = masked_softmax(self.score(self.content(bags) * self.gate(bags)), mask)
        return attention_pool(bags, weights)[:, 0], weights


def hidden_layer(channels: int, hidden: int, dropout: float) -> nn.Sequential:
    """A linear layer, ReLU and dropout."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout))


@MODELS.register_module()
class GatedABMIL(BaseModule):
    """Gated attention MIL: a hidden layer for each instance, gated attention, and a linear classifier.

    M. Ilse, J. Tomczak, M. Welling. *Attention-based Deep Multiple Instance Learning.* ICML 2018.

    Args:
        in_channels: D of the instances.
        num_classes: C.
        hid_channels: Width of the hidden layer and of the gates.
        dropout: Of the hidden layer and the gates.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 2,
        hid_channels: int = 192,
        dropout: float = 0.25,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.embed = hidden_layer(in_channels, hid_channels, dropout)
        self.pool = GatedAttention(hid_channels, hid_channels, dropout)
        self.fc = nn.Linear(hid_channels, num_classes)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> BagOutput:
        """Logits of bags (B, L, D) under a mask (B, L)."""
        bags, mask = check_bags(bags, mask, self.in_channels)
        pooled, attention = self.pool(self.embed(bags), mask)
        return BagOutput((self.fc(pooled),), attention)
