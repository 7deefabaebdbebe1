"""Where a view came from, and where the cells of its feature map lie in the source image.

A view is made in this order: crop ``box`` from the source, flip left-right (``hflip``), flip top-bottom (``vflip``),
turn by ``rot90`` counter-clockwise quarter turns (:func:`torch.rot90` over (H, W)). :func:`canonicalize` undoes flips
and turns, after which row r, column c of a map is a cell of the box, counted from its upper left corner, and boxes are
all that matching needs to know.

Shapes: B views, C channels, H×W cells, P points. Coordinates are continuous: x grows to the right, y downwards, and
pixel i covers [i, i + 1), so its centre is i + 0.5. Boxes are (x1, y1, x2, y2) in source pixels; cells are counted row
by row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """Geometry of a batch of views.

    Shapes and dtypes are always checked; the values of ``box`` only where they lie on the CPU, because reading them
    from an accelerator would stop it in every step.

    Attributes:
        box: (B, 4) float, crop rectangle (x1, y1, x2, y2) in source pixels, x1 < x2 and y1 < y2.
        hflip: (B,) bool, flipped left-right after the crop.
        vflip: (B,) bool, flipped top-bottom after that.
        rot90: (B,) integer, number of counter-clockwise quarter turns after that; counted modulo 4.

    Raises:
        ValueError: if a field has another shape or dtype, or a box is not finite or has no area.
    """

    box: Tensor
    hflip: Tensor
    vflip: Tensor
    rot90: Tensor

    def __post_init__(self) -> None:
        check_boxes('ViewGeometry.box', self.box)
        if not self.box.is_floating_point():
            raise ValueError(f'ViewGeometry.box must be of a floating dtype, found {self.box.dtype}')
        for name in ('hflip', 'vflip', 'rot90'):
            value = getattr(self, name)
            if value.shape != self.box.shape[:1]:
                raise ValueError(
                    f'ViewGeometry.{name} has shape {tuple(value.shape)}, expected ({len(self)},) to fit box '
                    f'{tuple(self.box.shape)}'
                )
            if name != 'rot90' and value.dtype != torch.bool:
                raise ValueError(f'ViewGeometry.{name} must be of dtype torch.bool, found {value.dtype}')
        if self.rot90.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
            raise ValueError(f'ViewGeometry.rot90 must be of an integer dtype, found {self.rot90.dtype}')
        if self.box.device.type == 'cpu':
            self._check_values()

    def _check_values(self) -> None:
        good = self.box.isfinite().all(1) & (self.box[:, 2:] > self.box[:, :2]).all(1)
        if not good.all():
            row = int((~good).nonzero()[0])
            raise ValueError(
                f'ViewGeometry.box[{row}] is {self.box[row].tolist()}, expected finite (x1, y1, x2, y2) in pixels with '
                'x1 < x2 and y1 < y2'
            )

    def __len__(self) -> int:
        return len(self.box)

    def to(self, device: torch.device | str) -> 'ViewGeometry':
        """The same geometry on another device."""
        fields = (self.box, self.hflip, self.vflip, self.rot90)
        return ViewGeometry(*(field.to(device, non_blocking=True) for field in fields))


def check_boxes(name: str, box: Tensor) -> None:
    """Raise ValueError naming ``name`` unless ``box`` has shape (B, 4)."""
    if box.ndim != 2 or box.shape[1] != 4:
        raise ValueError(f'{name} has shape {tuple(box.shape)}, expected (B, 4): x1, y1, x2, y2 of each view')


def _undoing(hflip: Tensor, vflip: Tensor, rot90: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The view's way back as (transpose, then flip left-right, then flip top-bottom), each (B,) bool.

    A quarter turn is a transpose and one flip: k = 1 is undone by a transpose and a left-right flip, k = 3 by a
    transpose and a top-bottom flip, k = 2 by both flips. So three flags name each of the eight symmetries.
    """
    k = rot90.remainder(4)
    return k.remainder(2) == 1, hflip.bool() ^ ((k == 1) | (k == 2)), vflip.bool() ^ (k >= 2)


def canonicalize(feat: Tensor, hflip: Tensor, vflip: Tensor, rot90: Tensor) -> Tensor:
    """Turn feature maps back, so that rows and columns run along the axes of the source image again.

    Undoes, per sample, the flips and turns of crop → hflip → vflip → rot90, without a loop over samples. Values only
    change places, and so do gradients.

    Args:
        feat: (B, C, H, W) maps of the views as seen.
        hflip: (B,) bool.
        vflip: (B,) bool.
        rot90: (B,) integer, counter-clockwise quarter turns modulo 4.

    Returns:
        (B, C, H, W); ``feat`` itself if no view was turned (looked up only where the flags lie on the CPU, because
        reading them from an accelerator would stop it).

    Raises:
        ValueError: if shapes disagree, or an odd quarter turn meets H != W (maps of one batch must share a shape).
    """
    if feat.ndim != 4:
        raise ValueError(f'feat has shape {tuple(feat.shape)}, expected (B, C, H, W)')
    for name, flag in (('hflip', hflip), ('vflip', vflip), ('rot90', rot90)):
        if flag.shape != feat.shape[:1]:
            raise ValueError(f'{name} has shape {tuple(flag.shape)}, expected ({len(feat)},) to fit feat')
    undo = torch.stack(_undoing(hflip, vflip, rot90))
    if undo.device.type == 'cpu' and not undo.any():
        return feat
    height, width = feat.shape[2:]
    if height != width and undo[0].any():
        raise ValueError(
            f'an odd rot90 needs square maps, found H={height}, W={width}; use square views or half turns only'
        )
    # the small map of positions is turned, then the large one is gathered once by it
    transpose, left_right, top_bottom = undo.to(feat.device)[:, :, None, None]
    position = torch.arange(height * width, device=feat.device).view(1, height, width)
    if height == width:
        position = torch.where(transpose, position.mT, position)
    position = torch.where(left_right, position.flip(2), position)
    position = torch.where(top_bottom, position.flip(1), position)
    index = position.flatten(1)[:, None].expand(-1, feat.shape[1], -1)
    return feat.flatten(2).gather(2, index).view_as(feat)


def view_to_source(points: Tensor, geometry: ViewGeometry, size: tuple[int, int]) -> Tensor:
    """Where points of the views lie in the source image.

    Args:
        points: (B, P, 2) continuous (x, y) in view pixels; the centre of the upper left pixel is (0.5, 0.5).
        geometry: geometry of the B views.
        size: (H, W) of the views in pixels, as seen, thus after the turn.

    Returns:
        (B, P, 2) continuous (x, y) in source pixels.
    """
    if points.ndim != 3 or points.shape[0] != len(geometry) or points.shape[2] != 2:
        raise ValueError(f'points has shape {tuple(points.shape)}, expected ({len(geometry)}, P, 2)')
    height, width = _check_size('size', size)
    transpose, left_right, top_bottom = (flag[:, None] for flag in _undoing(*_turns(geometry)))
    u, v = points[..., 0] / width, points[..., 1] / height
    u, v = torch.where(transpose, v, u), torch.where(transpose, u, v)
    u, v = torch.where(left_right, 1 - u, u), torch.where(top_bottom, 1 - v, v)
    x1, y1, x2, y2 = geometry.box[:, :, None].unbind(1)
    return torch.stack((x1 + u * (x2 - x1), y1 + v * (y2 - y1)), dim=-1)


def _turns(geometry: ViewGeometry) -> tuple[Tensor, Tensor, Tensor]:
    return geometry.hflip, geometry.vflip, geometry.rot90


def cell_edges(box: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Edges of the cells of canonical maps.

    Args:
        box: (B, 4) in source pixels, any real dtype; reckoned in float32, or float64 if given so.
        size: (H, W) number of cells.

    Returns:
        (y (B, H + 1), x (B, W + 1)) in source pixels; the first and last are exactly the sides of the box.
    """
    check_boxes('box', box)
    height, width = _check_size('size', size)
    box = box.to(torch.promote_types(box.dtype, torch.float32))
    x1, y1, x2, y2 = box[:, :, None].unbind(1)
    steps = [torch.arange(n + 1, device=box.device, dtype=box.dtype) / n for n in (height, width)]
    return torch.lerp(y1, y2, steps[0]), torch.lerp(x1, x2, steps[1])


def _check_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'{name} is {tuple(size)}, expected (H, W), both at least 1')
    return size


def cell_centers(box: Tensor, size: tuple[int, int]) -> Tensor:
    """Centres of the cells of canonical maps, (B, H*W, 2) continuous (x, y) in source pixels, row by row."""
    boxes = cell_boxes(box, size)
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def cell_boxes(box: Tensor, size: tuple[int, int]) -> Tensor:
    """Rectangles of the cells of canonical maps, (B, H*W, 4) as (x1, y1, x2, y2) in source pixels, row by row."""
    y, x = cell_edges(box, size)
    height, width = size
    sides = (x[:, None, :-1], y[:, :-1, None], x[:, None, 1:], y[:, 1:, None])
    return torch.stack([side.expand(-1, height, width) for side in sides], dim=-1).flatten(1, 2)
