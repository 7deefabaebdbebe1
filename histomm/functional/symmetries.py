"""The eight ways to lay a square on itself: quarter turns, with and without a transposition."""

import torch
from torch import Tensor

SYMMETRIES = 8


def dihedral(maps: Tensor, index: int) -> Tensor:
    """Maps turned and transposed.

    Args:
        maps: (..., H, W).
        index: 0 to 3 are quarter turns counter-clockwise, 4 to 7 the same after a transposition; 5 and 7 are thus the
            flips, 0 changes nothing.

    Returns:
        (..., H, W), or (..., W, H) for 1, 3, 4 and 6.

    Raises:
        ValueError: Another ``index``.
    """
    _check(index)
    return torch.rot90(maps.mT if index >= 4 else maps, index % 4, (-2, -1))


def undo_dihedral(maps: Tensor, index: int) -> Tensor:
    """Maps (..., H, W) as they were before :func:`dihedral` with the same ``index``."""
    _check(index)
    maps = torch.rot90(maps, -(index % 4), (-2, -1))
    return maps.mT if index >= 4 else maps


def _check(index: int) -> None:
    if not 0 <= index < SYMMETRIES:
        raise ValueError(f'the symmetry is {index}, expected 0 to {SYMMETRIES - 1}')
