"""The picture of matched cells: source, both views as seen, and the weights of each matcher."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histomm.visualization.colors import BLACK, GREEN
from histomm.visualization.matching import CellMatch, View
from histomm.visualization.panels import (
    KEY,
    QUERY,
    draw_box,
    draw_frame,
    draw_grid,
    draw_outline,
    draw_up_arrow,
    halo,
    seen_box,
    show_image,
)

_MATCH = GREEN
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

    show_image(grid[0, 0], source, 'Source, with the boxes of both views')
    draw_box(grid[0, 0], query.box, QUERY, 'query')
    draw_box(grid[0, 0], key.box, KEY, 'key', dashed=True)
    draw_outline(grid[0, 0], chosen, QUERY)
    for axes, view, size, color, name in (
        (grid[0, 1], query, size_q, QUERY, 'Query view'),
        (grid[0, 2], key, size_k, KEY, 'Key view'),
    ):
        show_image(axes, view.image, f'{name}\n({view.describe()})')
        draw_frame(axes, color)
        draw_grid(axes, view.image.shape[:2], size)
        draw_up_arrow(axes, view)
    draw_outline(grid[0, 1], seen_box(query, cell, size_q), QUERY)

    for column, match in enumerate(matches):
        note = f', {weights_note}' if match.name == 'Feature' and weights_note else ''
        name = f'{match.name}\n({match.note}{note})'
        _overlay_view(grid[1, column], key, match, name)
        _overlay_source(grid[2, column], source, key, match, chosen)
    return figure


def _percent(weight: float) -> str:
    return f'{100 * weight:.0f}' if weight >= 0.005 else '<1'


def _overlay_view(axes: Axes, key: View, match: CellMatch, title: str) -> None:
    """The key view, its cells coloured by weight."""
    show_image(axes, key.image, title)
    draw_frame(axes, KEY)
    size = match.weights.shape
    draw_grid(axes, key.image.shape[:2], size)
    for row, column in np.argwhere(match.weights > 1e-6):
        _filled(axes, seen_box(key, (row, column), size), match.weights[row, column], max(size))
    draw_up_arrow(axes, key)


def _overlay_source(axes: Axes, source: np.ndarray, key: View, match: CellMatch, chosen: Sequence[float]) -> None:
    """The source, with the matched key cells and the query cell where they lie."""
    show_image(axes, source, f'{match.name}, in the source')
    draw_box(axes, key.box, KEY, 'key', dashed=True)
    boxes = key.cell_boxes(match.weights.shape)
    for index in np.flatnonzero(match.weights > 1e-6):
        _filled(axes, boxes[index].tolist(), match.weights.flat[index])
    draw_outline(axes, chosen, QUERY)


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
            path_effects=[halo(2.5)],
        )
