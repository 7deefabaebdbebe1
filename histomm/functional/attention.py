"""What keeps a map of attention smooth, and in step with the image when that is turned.

M. Sahasrabudhe et al., *Self-supervised Nuclei Segmentation in Histopathological Images Using Attention*, MICCAI 2020.
"""

import torch.nn.functional as F
from torch import Tensor

from .symmetries import undo_dihedral


def map_smoothness(maps: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in a column plus that of neighbours in a row.

    Args:
        maps: (..., H, W) of at least 2 × 2 pixels.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: The maps are smaller.
    """
    if min(maps.shape[-2:]) < 2:
        raise ValueError(f'the maps have shape {tuple(maps.shape)}, expected at least 2 × 2 pixels')
    return maps.diff(dim=-2).abs().mean() + maps.diff(dim=-1).abs().mean()


def map_equivariance(maps: Tensor, turned: Tensor, index: int) -> Tensor:
    """Mean squared difference of maps from those of the turned image, turned back; no gradient through the latter.

    Args:
        maps: (..., H, W) of the image.
        turned: Maps of ``dihedral(image, index)``.
        index: See :func:`~histomm.functional.symmetries.dihedral`.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: The shapes do not fit.
    """
    target = undo_dihedral(turned.detach(), index)
    if target.shape != maps.shape:
        raise ValueError(
            f'the maps have shape {tuple(maps.shape)}, the others turned back {tuple(target.shape)}; expected the same'
        )
    return F.mse_loss(maps, target)
