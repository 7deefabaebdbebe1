"""The picture of matched cells: source, both views as seen, and the weights of each matcher."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histomm import functional
from histomm.visualization.colors import BLACK, BLUE, GREEN, VERMILION
from histomm.visualization.matching import CellMatch, View

_QUERY, _KEY, _MATCH = BLUE, VERMILION, GREEN
_LEGEND = (
    'Blue: the query cell. Green: key cells that the matcher takes for it, with their weight in per cent (precise '
    'location: the share of\nthe query cell that lies in the key cell). Arrows point to the top of the source.'
)


def draw_matching(
    source: np.ndarray,
    query: View,
    key: View,
    cell: tuple[int, int],
    size_q: tuple[int, int],
    matches: Sequence[CellMatch],
    weights_note: str = '',
) -> Figure:
    """Three rows: source with both boxes and both views; the key view under each matcher; the source under each.

    Matched key cells are green, the darker the heavier, with their weight in per cent; the query cell is outlined.
    A small arrow in a view points to where the source has its top.

    Args:
        source: (H, W, 3) uint8 RGB.
        query: Query view.
        key: Key view.
        cell: (row, column) of the query cell as seen.
        size_q: (H, W) cells of the query view.
        matches: Three matches of this cell, see :func:`~histomm.visualization.matching.match_cell`.
        weights_note: Which weights the features come from.
    """
    aspect = source.shape[0] / source.shape[1]
    rows = [max(aspect, 1), 1, aspect]
    figure = Figure(figsize=(10.2, 3.35 * sum(rows) + 1.5), layout='constrained')
    grid = figure.subplots(3, 3, height_ratios=rows)
    figure.supxlabel(_LEGEND, x=0.01, ha='left', fontsize=9)
    size_k = matches[0].weights.shape
    chosen = query.cell_boxes(size_q)[cell[0] * size_q[1] + cell[1]].tolist()

    _show(grid[0, 0], source, 'Source, with the boxes of both views')
    _box(grid[0, 0], query.box, _QUERY, 'query')
    _box(grid[0, 0], key.box, _KEY, 'key', dashed=True)
    _outline(grid[0, 0], chosen, _QUERY)
    for axes, view, size, color, name in (
        (grid[0, 1], query, size_q, _QUERY, 'Query view'),
        (grid[0, 2], key, size_k, _KEY, 'Key view'),
    ):
        _show(axes, view.image, f'{name}\n({view.describe()})')
        _frame(axes, color)
        _grid(axes, view.image.shape[:2], size)
        _up_arrow(axes, view)
    _outline(grid[0, 1], _seen_box(query, cell, size_q), _QUERY)

    for column, match in enumerate(matches):
        note = f', {weights_note}' if match.name == 'Feature' and weights_note else ''
        name = f'{match.name}\n({match.note}{note})'
        _overlay_view(grid[1, column], key, match, name)
        _overlay_source(grid[2, column], source, key, match, chosen)
    return figure


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    """The image with pixel i at [i, i + 1)."""
    axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0), interpolation='nearest')
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_anchor('N')


def _frame(axes: Axes, color: str) -> None:
    axes.spines[:].set(visible=True, color=color, linewidth=2.5)


def _box(axes: Axes, box: Sequence[float], color: str, name: str, dashed: bool = False) -> None:
    """A rectangle of the source, named at its upper left corner inside."""
    x1, y1, x2, y2 = box
    for edge, width in (('white', 4), (color, 2)):
        style = (0, (5, 2)) if dashed and edge != 'white' else '-'
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=edge, lw=width, ls=style, clip_on=False))
    right = name == 'key'
    axes.annotate(
        name,
        (x2 if right else x1, y2 if right else y1),
        xytext=(-4 if right else 4, 4 if right else -4),
        textcoords='offset points',
        ha='right' if right else 'left',
        va='bottom' if right else 'top',
        fontsize=9,
        color='white',
        bbox=dict(boxstyle='square,pad=0.2', fc=color, ec='none'),
    )


def _outline(axes: Axes, box: Sequence[float], color: str) -> None:
    x1, y1, x2, y2 = box
    for edge, width in (('white', 4.5), (color, 2.5)):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=edge, lw=width))


def _grid(axes: Axes, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Edges of the cells of a view as seen."""
    for position in np.linspace(0, shape[1], size[1] + 1)[1:-1]:
        axes.axvline(position, color='white', lw=0.8, alpha=0.85)
    for position in np.linspace(0, shape[0], size[0] + 1)[1:-1]:
        axes.axhline(position, color='white', lw=0.8, alpha=0.85)


def _seen_box(view: View, cell: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Rectangle (x1, y1, x2, y2) of a seen cell in view pixels."""
    height, width = view.image.shape[0] / size[0], view.image.shape[1] / size[1]
    return cell[1] * width, cell[0] * height, (cell[1] + 1) * width, (cell[0] + 1) * height


def source_up(view: View) -> tuple[float, float]:
    """Direction (dx, dy) in the view as seen, of length 1, in which the source has its top."""
    height, width = view.image.shape[:2]
    middle = torch.tensor([[[width / 2, height / 2], [width / 2 + 1, height / 2], [width / 2, height / 2 + 1]]])
    origin, right, down = functional.view_to_source(middle, view.geometry, (height, width))[0]
    steps = torch.stack((right - origin, down - origin), dim=1)  # source step of a step to the right, and down
    up = torch.linalg.solve(steps, torch.tensor([0.0, -1.0]))
    up = up / up.norm()
    return float(up[0]), float(up[1])


def _up_arrow(axes: Axes, view: View) -> None:
    dx, dy = source_up(view)
    height, width = view.image.shape[:2]
    length = 0.06 * min(height, width)
    x, y = 0.09 * width, 0.09 * height
    axes.annotate(
        '',
        (x + dx * length, y + dy * length),
        (x - dx * length, y - dy * length),
        arrowprops=dict(arrowstyle='-|>', color=BLACK, lw=1.6, path_effects=[_halo(4)]),
    )


def _halo(width: float) -> patheffects.withStroke:
    return patheffects.withStroke(linewidth=width, foreground='white')


def _percent(weight: float) -> str:
    return f'{100 * weight:.0f}' if weight >= 0.005 else '<1'


def _overlay_view(axes: Axes, key: View, match: CellMatch, title: str) -> None:
    """The key view, its cells coloured by weight."""
    _show(axes, key.image, title)
    _frame(axes, _KEY)
    size = match.weights.shape
    _grid(axes, key.image.shape[:2], size)
    for row, column in np.argwhere(match.weights > 1e-6):
        _filled(axes, _seen_box(key, (row, column), size), match.weights[row, column], max(size))
    _up_arrow(axes, key)


def _overlay_source(axes: Axes, source: np.ndarray, key: View, match: CellMatch, chosen: Sequence[float]) -> None:
    """The source, with the matched key cells and the query cell where they lie."""
    _show(axes, source, f'{match.name}, in the source')
    _box(axes, key.box, _KEY, 'key', dashed=True)
    boxes = key.cell_boxes(match.weights.shape)
    for index in np.flatnonzero(match.weights > 1e-6):
        _filled(axes, boxes[index].tolist(), match.weights.flat[index])
    _outline(axes, chosen, _QUERY)


def _filled(axes: Axes, box: Sequence[float], weight: float, cells: int | None = None) -> None:
    """A green rectangle, the denser the heavier; with the per cent in it if ``cells`` (a side) is given."""
    x1, y1, x2, y2 = box
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fc=_MATCH, alpha=0.2 + 0.55 * min(float(weight), 1), ec='none')
    )
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=_MATCH, lw=1.4))
    if cells:
        axes.text(
            (x1 + x2) / 2,
            (y1 + y2) / 2,
            _percent(float(weight)),
            ha='center',
            va='center',
            fontsize=min(12, 70 / cells),
            fontweight='bold',
            color=BLACK,
            path_effects=[_halo(2.5)],
        )
