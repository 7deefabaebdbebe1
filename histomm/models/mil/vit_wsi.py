"""ViT_WSI-4096, the slide-level transformer of HIPT."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.functional.bags import check_bags
from histomm.registry import MODELS

from .gated_attention import GatedAttention, hidden_layer
from .output import BagOutput


@MODELS.register_module()
class ViTWSI(BaseModule):
    """A small transformer over the regions of a slide, without positions, and gated attention pooling.

    R. Chen et al. *Scaling Vision Transformers to Gigapixel Images via Hierarchical Self-Supervised Learning.* CVPR
    2022. Linear D → d, ReLU, dropout; a transformer encoder; gated attention; Linear d → d, ReLU, dropout; Linear
    d → C.

    Args:
        in_channels: D of the instances, 192 of ViT4096-256.
        num_classes: C.
        embed_dims: d, the width of everything, feed-forward layers included.
        num_layers: Blocks.
        num_heads: Of each block.
        dropout: Of every part.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(
        self,
        in_channels: int = 192,
        num_classes: int = 2,
        embed_dims: int = 192,
        num_layers: int = 2,
        num_heads: int = 3,
        dropout: float = 0.25,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.embed = hidden_layer(in_channels, embed_dims, dropout)
        block = nn.TransformerEncoderLayer(embed_dims, num_heads, embed_dims, dropout, batch_first=True)
        # nested tensors would cut the padding off in evaluation, and are a prototype of torch
        self.encoder = nn.TransformerEncoder(block, num_layers, enable_nested_tensor=False)
        self.pool = GatedAttention(embed_dims, embed_dims, dropout)
        self.head = hidden_layer(embed_dims, embed_dims, dropout)
        self.fc = nn.Linear(embed_dims, num_classes)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> BagOutput:
        """Logits of bags (B, L, D) under a mask (B, L)."""
        bags, mask = check_bags(bags, mask, self.in_channels)
        tokens = self.encoder(self.embed(bags), src_key_padding_mask=~mask)
        pooled, attention = self.pool(tokens, mask)
        return BagOutput((self.fc(self.head(pooled)),), attention)
