"""Where the tiles of a slide lie: a grid at a wanted resolution, and the share of tissue of each tile."""

import hashlib
from dataclasses import dataclass

import numpy as np

from histomm.wsi.reader import Slide
from histomm.wsi.tissue import TissueMask

_ROUNDING = 1e-6  # level-0 px by which floating point may miss the border
_HALVINGS = 10  # a tile is at most 512 times as coarse as its slide


@dataclass(frozen=True)
class Grid:
    """A grid of square tiles.

    Args:
        size: Side of a tile in px at ``mpp``.
        mpp: µm per px of the tiles.
        overlap: How many px at ``mpp`` neighbours share.
        partial: Take tiles that begin within the slide and end beyond its border, too.

    Raises:
        ValueError: a value is out of range.
    """

    size: int = 224
    mpp: float = 0.5
    overlap: int = 0
    partial: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f'size is {self.size}, expected at least 1 px')
        if not self.mpp > 0:
            raise ValueError(f'mpp is {self.mpp}, expected a positive number of µm per px')
        if not 0 <= self.overlap < self.size:
            raise ValueError(f'overlap is {self.overlap}, expected 0 to {self.size - 1} px, less than the size')

    def corners(self, slide: Slide) -> np.ndarray:
        """Top left corners of all tiles in level-0 px, int64 (n, 2) as (x, y), row by row.

        Tile i of a row begins at ⌊i · step⌋ with step = (size − overlap) · mpp / mpp of the slide, so that rounding
        does not add up; it is inside where i · step + span does not exceed the side of the slide.
        """
        xs, ys = (self._starts(side, scale) for side, scale in zip(slide.size, slide.scale(self.mpp), strict=True))
        grid_x, grid_y = np.meshgrid(xs, ys)
        return np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)

    def _starts(self, side: int, scale: float) -> np.ndarray:
        step, span = (self.size - self.overlap) * scale, self.size * scale
        last = side - (1 if self.partial else span)
        count = int(np.floor((last + _ROUNDING) / step)) + 1 if last + _ROUNDING >= 0 else 0
        return np.floor(np.arange(count) * step + _ROUNDING).astype(np.int64)

    def span(self, slide: Slide) -> tuple[float, float]:
        """Width and height of a tile in level-0 px."""
        scale_x, scale_y = slide.scale(self.mpp)
        return self.size * scale_x, self.size * scale_y


def foreground_share(tissue: TissueMask, corners: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Share of each tile that is tissue, exactly: pixels of the mask count by the area that they share with the tile.

    The sum over a rectangle is four values of the integral image, which is linear between its pixels. What lies beyond
    the mask is no tissue.

    Args:
        tissue: Mask with its scale.
        corners: (n, 2), level-0 px.
        span: Width and height of the tiles in level-0 px.

    Returns:
        (n,) float64, 0..1.
    """
    integral = np.zeros(np.add(tissue.mask.shape, 1))
    integral[1:, 1:] = tissue.mask.cumsum(0, dtype=np.int64).cumsum(1)
    (scale_x, scale_y), (width, height) = tissue.scales, span
    left, right = corners[:, 0] / scale_x, (corners[:, 0] + width) / scale_x
    top, bottom = corners[:, 1] / scale_y, (corners[:, 1] + height) / scale_y
    total = _at(integral, bottom, right) - _at(integral, top, right) - _at(integral, bottom, left)
    total += _at(integral, top, left)
    return np.clip(total * (scale_x * scale_y) / (width * height), 0, 1)


def four_points(tissue: TissueMask, corners: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Whether tissue lies at one of four points of each tile, a quarter of its side from its borders.

    The rule of CLAM (Lu et al. 2021) for taking tiles. What lies beyond the mask is no tissue.

    Args:
        tissue: Mask with its scale.
        corners: (n, 2), level-0 px.
        span: Width and height of the tiles in level-0 px.

    Returns:
        (n,) bool.
    """
    height, width = tissue.mask.shape
    taken = np.zeros(len(corners), bool)
    for share_y, share_x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        columns = np.floor((corners[:, 0] + share_x * span[0]) / tissue.scales[0]).astype(int)
        rows = np.floor((corners[:, 1] + share_y * span[1]) / tissue.scales[1]).astype(int)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        taken[inside] |= tissue.mask[rows[inside], columns[inside]]
    return taken


def native_mpp(found: float, wanted: float, tolerance: float) -> float:
    """The resolution next to ``wanted`` that a slide has without resampling: its own, or 2, 4, … times as coarse.

    Args:
        found: µm per level-0 px.
        wanted: µm per px.
        tolerance: Largest difference, as a share of ``wanted``.

    Raises:
        ValueError: the difference is larger.
    """
    native = min((found * 2**power for power in range(_HALVINGS)), key=lambda mpp: abs(mpp - wanted))
    if abs(native - wanted) > tolerance * wanted * (1 + _ROUNDING):
        raise ValueError(
            f'its pixels are {found:.4g} µm, and neither these nor 2, 4, … times as large ones are {wanted} µm up to '
            f'{tolerance:.0%}; allow more, or leave the slide out'
        )
    return native


def _at(integral: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Values of the integral image between its pixels."""
    row = np.clip(row, 0, integral.shape[0] - 1)
    column = np.clip(column, 0, integral.shape[1] - 1)
    y, x = np.floor(row).astype(int), np.floor(column).astype(int)
    below, beside = np.minimum(y + 1, integral.shape[0] - 1), np.minimum(x + 1, integral.shape[1] - 1)
    fy, fx = row - y, column - x
    upper = integral[y, x] * (1 - fx) + integral[y, beside] * fx
    lower = integral[below, x] * (1 - fx) + integral[below, beside] * fx
    return upper * (1 - fy) + lower * fy


def random_order(count: int, slide: str, seed: int) -> np.ndarray:
    """The numbers below ``count`` in an order drawn from the name of the slide and the seed alone.

    It depends neither on other slides nor on who draws it when.
    """
    words = np.frombuffer(hashlib.sha256(slide.encode()).digest(), '<u4')
    return np.random.Generator(np.random.PCG64([seed, *words.tolist()])).permutation(count)
