"""Vision transformers on patches and on grids of tokens.

Shapes: B images or regions, (H, W) tokens of C numbers each.
"""

from typing import Any

import torch
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor, nn

from histomm.functional.positions import interpolate_positions
from histomm.registry import MODELS


@MODELS.register_module()
class PatchViT(VisionTransformer):
    """mmpretrain's vision transformer for crops of any size, initialised as in DINO.

    By default the ViT256-16 of HIPT (Chen et al., CVPR 2022): 384 numbers a token, 12 blocks, 6 heads, 21,665,664
    parameters with positions of 14×14 tokens of 16 pixels. Other sizes have those positions interpolated; edges that
    fill no token are padded with zeros. Names of the weights are mmpretrain's.

    Args:
        arch: Name of mmpretrain's, or dict of ``embed_dims``, ``num_layers``, ``num_heads``, ``feedforward_channels``.
        img_size: Side in pixels of the crops whose tokens have positions of their own.
        position_offset: Of :func:`~histomm.functional.interpolate_positions`; 0.1 as in DINO and HIPT, whose weights
            want it.
        **kwargs: Of mmpretrain's ``VisionTransformer``, such as ``patch_size``, ``drop_path_rate`` and ``out_type``:
            ``'cls_token'`` gives (B, C), ``'featmap'`` a map (B, C, H, W), ``'raw'`` all tokens (B, 1 + H·W, C).
    """

    def __init__(
        self, arch: str | dict = 'deit-small', img_size: int = 224, position_offset: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(arch, img_size=img_size, **kwargs)
        self.position_offset = position_offset

    def init_weights(self) -> None:
        """Linear layers and tokens from a normal distribution of deviation 0.02, cut at ±2; biases 0.

        An ``init_cfg`` takes the place of that.
        """
        fresh = not self.is_init and self.init_cfg is None
        super().init_weights()
        if fresh:
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    trunc_normal_(layer.weight, std=0.02)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
            if self.cls_token is not None:
                trunc_normal_(self.cls_token, std=0.02)

    def train(self, mode: bool = True) -> 'PatchViT':
        """Change to training or evaluation; gives the module itself, as torch has it."""
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What ``out_type`` says, of the blocks of ``out_indices``.

        Args:
            x: Images (B, 3, height, width).
        """
        x, size = self.patch_embed(x)
        extra, grid = self.pos_embed.split((self.num_extra_tokens, self.pos_embed.shape[1] - self.num_extra_tokens), 1)
        source = (int(self.patch_resolution[0]), int(self.patch_resolution[1]))
        x = x + interpolate_positions(grid, source, (int(size[0]), int(size[1])), self.position_offset)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(len(x), -1, -1) + extra, x), dim=1)
        x = self.pre_norm(self.drop_after_pos(x))
        outputs = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == len(self.layers) - 1 and self.final_norm:
                x = self.ln1(x)
            if index in self.out_indices:
                outputs.append(self._format_output(x, size))
        return tuple(outputs)


class TokenEmbed(nn.Module):
    """Linear layer and GELU on each token of a grid: what stands for the patch embedding where tokens are given.

    Args:
        in_channels: Numbers of a token that comes in.
        embed_dims: Numbers of one that goes out.
        grid_size: Side of the grid that has positions of its own.
    """

    def __init__(self, in_channels: int, embed_dims: int, grid_size: int) -> None:
        super().__init__()
        self.init_out_size = (grid_size, grid_size)
        self.in_channels = in_channels
        self.projection = nn.Linear(in_channels, embed_dims)
        self.activation = nn.GELU()

    def forward(self, grid: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, H·W, ``embed_dims``), row by row, and (H, W), of a grid (B, ``in_channels``, H, W).

        Raises:
            ValueError: the grid has another number of channels or of dimensions.
        """
        if grid.ndim != 4 or grid.shape[1] != self.in_channels:
            raise ValueError(f'RegionViT: a grid of shape {tuple(grid.shape)}, expected (B, {self.in_channels}, H, W)')
        return self.activation(self.projection(grid.flatten(2).mT)), (grid.shape[2], grid.shape[3])


@MODELS.register_module()
class RegionViT(PatchViT):
    """Vision transformer whose input is a grid of features of patches.

    By default the ViT4096-256 of HIPT (Chen et al., CVPR 2022): a linear layer 384 → 192 and GELU, then 6 blocks of 6
    heads on 192 numbers a token, 2,781,504 parameters with positions of 14×14 tokens. Its input for a region of 4,096
    pixels are the 16×16 class tokens (B, 384, 16, 16) that :class:`PatchViT` gives of patches of 256 pixels.

    Args:
        in_channels: Numbers of a token that comes in.
        grid_size: Side of the grid that has positions of its own; other sizes have them interpolated.
        arch: As for :class:`PatchViT`.
        **kwargs: Of :class:`PatchViT`; of no use are those of the patch embedding.
    """

    def __init__(self, in_channels: int = 384, grid_size: int = 14, arch: dict | None = None, **kwargs: Any) -> None:
        arch = arch or dict(embed_dims=192, num_layers=6, num_heads=6, feedforward_channels=768)
        super().__init__(arch, img_size=grid_size, patch_size=1, in_channels=1, **kwargs)
        self.patch_embed = TokenEmbed(in_channels, self.embed_dims, grid_size)
