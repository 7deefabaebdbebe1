"""A threshold that keeps a given share of each map, and a mask that opens softly above it.

M. Sahasrabudhe et al., *Self-supervised Nuclei Segmentation in Histopathological Images Using Attention*, MICCAI 2020.
"""

import torch
from torch import Tensor


@torch.no_grad()
def share_level(attention: Tensor, share: float) -> Tensor:
    """Level above which lies ``share`` of each map, averaged over the maps; a constant.

    Of the n values of a map in falling order it is the one at position ⌊share·n⌋, counted from 0.

    Args:
        attention: (B, ...) one map each, at least one value.
        share: In [0, 1).

    Returns:
        Scalar.

    Raises:
        ValueError: ``share`` is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f'share is {share}, expected a number in [0, 1)')
    maps = attention.flatten(1)
    kept = int(share * maps.shape[1])
    return maps.topk(kept + 1, dim=1).values[:, -1].mean()


def soft_mask(attention: Tensor, level: Tensor | float, slope: float = 20) -> Tensor:
    """σ(slope·(a − level)), of the shape of ``attention``: 1/2 at the level, near 0 and 1 away from it."""
    return torch.sigmoid(slope * (attention - level))
