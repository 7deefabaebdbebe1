"""What the class token of a vision transformer attends to.

Shapes: B inputs, heads of d numbers each, a grid of h × w tokens.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn


def class_attention(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Attention of the class token to the tokens of the grid, in the last block.

    Of a head, softmax(q·k / √d) over all tokens for the query of the class token; what goes to the class token itself
    is left out, so a map sums to less than 1.

    Args:
        backbone: ``histomm.PatchViT``, ``histomm.RegionViT`` or another of mmpretrain's vision transformers with a
            class token, in evaluation mode.
        inputs: What it takes: normalised images (B, 3, H, W), or grids of tokens (B, C, h, w).

    Returns:
        (B, heads, h, w) float32.

    Raises:
        ValueError: no vision transformer, or one without a class token.
    """
    attention = getattr(getattr(backbone, 'layers', [None])[-1], 'attn', None)
    if getattr(attention, 'qkv', None) is None or getattr(backbone, 'cls_token', None) is None:
        raise ValueError(
            f'{type(backbone).__name__} is no vision transformer with a class token, whose attention could be shown; '
            'give a config of histomm.PatchViT or histomm.RegionViT'
        )
    tokens: list[Tensor] = []
    grids: list[tuple[int, int]] = []
    handles = [
        attention.register_forward_pre_hook(lambda module, args: tokens.append(args[0])),
        backbone.patch_embed.register_forward_hook(lambda module, args, output: grids.append(output[1])),
    ]
    try:
        with torch.no_grad():
            backbone(inputs)
            queries, keys, _ = attention.qkv(tokens[0]).unflatten(2, (3, attention.num_heads, -1)).unbind(2)
    finally:
        for handle in handles:
            handle.remove()
    scores = torch.einsum('bhd,bnhd->bhn', queries[:, 0], keys) / queries.shape[-1] ** 0.5
    height, width = (int(side) for side in grids[0])
    return scores.float().softmax(dim=2)[..., -height * width :].unflatten(2, (height, width))


def attention_pictures(weights: Tensor, size: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
    """Maps to lay over an input: the mean over heads, then each head.

    Args:
        weights: (heads, h, w).
        size: Height and width of the picture.

    Returns:
        For each a map (height, width) as a share of its largest weight, in squares of a token each, and that weight.
    """
    maps = [weights.mean(dim=0), *weights]
    tops = [float(map_.max()) for map_ in maps]
    shares = [(map_ / max(top, 1e-12)).cpu().numpy() for map_, top in zip(maps, tops, strict=True)]
    return [
        (cv2.resize(map_, size[::-1], interpolation=cv2.INTER_NEAREST), top)
        for map_, top in zip(shares, tops, strict=True)
    ]
