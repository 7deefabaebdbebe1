"""Position embeddings of a grid of tokens, for grids of other sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F


def interpolate_positions(
    positions: Tensor, source: tuple[int, int], target: tuple[int, int], offset: float = 0.0
) -> Tensor:
    """Bicubic interpolation of the embeddings of a grid.

    Cell i of the H wanted ones takes the value at (i + ½)·h/(H + offset) − ½. An offset of 0 spreads the h known cells
    evenly over the H. DINO's authors add 0.1 to the wanted sizes lest rounding lose a row, which moves every value a
    little; weights that were trained so want it again.

    Args:
        positions: (..., h·w, C), row by row.
        source: (h, w).
        target: (H, W).
        offset: Added to H and W in the factor of scale, in [0, 1).

    Returns:
        (..., H·W, C); ``positions`` itself if the sizes are equal.

    Raises:
        ValueError: the number of positions is not h·w, or the offset is out of range.
    """
    if positions.shape[-2] != source[0] * source[1] or not 0 <= offset < 1:
        raise ValueError(
            f'positions have shape {tuple(positions.shape)} and the offset is {offset}, expected (..., '
            f'{source[0]}*{source[1]}, C) and a value in [0, 1)'
        )
    if source == target:
        return positions
    grid = positions.to(torch.promote_types(positions.dtype, torch.float32)).mT.unflatten(-1, source)
    grid = grid.reshape(-1, *grid.shape[-3:])
    if offset:
        scale = ((target[0] + offset) / source[0], (target[1] + offset) / source[1])
        resized = F.interpolate(grid, scale_factor=scale, mode='bicubic', align_corners=False)
    else:
        resized = F.interpolate(grid, size=target, mode='bicubic', align_corners=False)
    return resized.flatten(-2).mT.reshape(*positions.shape[:-2], -1, positions.shape[-1]).to(positions.dtype)
