"""The picture of ConCL's concepts: where they lie in the reference view, and what the two views get of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histomm.visualization.colors import AREAS, BLACK
from histomm.visualization.concepts import Concepts
from histomm.visualization.matching import View
from histomm.visualization.panels import (
    KEY,
    QUERY,
    draw_box,
    draw_frame,
    draw_grid,
    draw_up_arrow,
    halo,
    seen_box,
    show_image,
)

_OPAQUE, _ABSENT = 0.62, '#9aa3a9'
_LEGEND = (
    'Colours and letters: concepts. Grey, letter struck through: only one view shows it, so it is not contrasted. '
    'Arrows point to the\ntop of the source, which is faded where the reference view does not reach.'
)


def draw_concepts(
    source: np.ndarray, query: View, key: View, reference: View, concepts: Concepts, weights_note: str = ''
) -> Figure:
    """Source, reference view and its label map; both views, plain and with their cells' labels; counts of cells.

    A concept has the same letter and colour everywhere. Cells of concepts that only one view shows are grey.

    Args:
        source: (H, W, 3) uint8 RGB.
        query: Query view.
        key: Key view.
        reference: The view that holds both.
        concepts: See :func:`~histomm.visualization.concepts.find_concepts`.
        weights_note: Which weights the features come from.
    """
    figure = Figure(figsize=(10.2, 11.7), layout='constrained')
    grid = figure.add_gridspec(3, 3)
    figure.supxlabel(_LEGEND, x=0.01, ha='left', fontsize=9)
    panels = [[figure.add_subplot(grid[row, column]) for column in range(3 if row == 0 else 2)] for row in range(3)]
    _draw_source(panels[0][0], source, query, key, reference)
    show_image(panels[0][1], reference.image, f'Reference view\n({reference.describe()})')
    draw_frame(panels[0][1], BLACK)
    _draw_label_map(panels[0][2], source, (query, key), reference, concepts, weights_note)
    for row, view, labels, color, name in (
        (panels[1], query, concepts.views[0], QUERY, 'query'),
        (panels[2], key, concepts.views[1], KEY, 'key'),
    ):
        show_image(row[0], view.image, f'{name.capitalize()} view\n({view.describe()})')
        size = f'{labels.shape[0]} × {labels.shape[1]}'
        show_image(row[1], view.image, f'Concepts of the {name} view\n(cut from the map, pooled to {size} cells)')
        _draw_cells(row[1], view, labels, concepts.shared)
        for axes in row:
            draw_frame(axes, color)
            draw_grid(axes, view.image.shape[:2], labels.shape)
        draw_up_arrow(row[0], view)
    _draw_counts(figure.add_subplot(grid[1:, 2]), concepts)
    return figure


def letter(concept: int) -> str:
    """A to Z, and numbers beyond."""
    return chr(ord('A') + concept) if concept < 26 else str(concept + 1)


def color_of(concept: int) -> str:
    """One of eight colours; letters tell more concepts apart."""
    return AREAS[concept % len(AREAS)]


def _draw_source(axes: Axes, source: np.ndarray, query: View, key: View, reference: View) -> None:
    """The source with the boxes of both views, faded outside the reference."""
    show_image(axes, source, 'Source, with the boxes of both views')
    x1, y1, x2, y2 = reference.box
    height, width = source.shape[:2]
    for x, y, w, h in (
        (0, 0, width, y1),
        (0, y2, width, height - y2),
        (0, y1, x1, y2 - y1),
        (x2, y1, width - x2, y2 - y1),
    ):
        axes.add_patch(Rectangle((x, y), w, h, fc='white', ec='none', alpha=0.6))
    _draw_boxes(axes, (query, key))


def _draw_boxes(axes: Axes, views: Sequence[View]) -> None:
    draw_box(axes, views[0].box, QUERY, 'query')
    draw_box(axes, views[1].box, KEY, 'key', dashed=True)


def _draw_label_map(
    axes: Axes, source: np.ndarray, views: Sequence[View], reference: View, concepts: Concepts, note: str
) -> None:
    """The part of the source that the reference shows, under its labels, which lie as in the source."""
    rows, columns = concepts.reference.shape
    found = f'{rows} × {columns} cells'
    show_image(axes, source, f'Concepts in the reference view\n({", ".join(filter(None, (found, note)))})')
    x1, y1, x2, y2 = reference.box
    axes.set(xlim=(x1, x2), ylim=(y2, y1), aspect='auto')
    axes.set_box_aspect(reference.image.shape[0] / reference.image.shape[1])
    height, width = (y2 - y1) / rows, (x2 - x1) / columns
    for (row, column), concept in np.ndenumerate(concepts.reference):
        corner = x1 + column * width, y1 + row * height
        axes.add_patch(Rectangle(corner, width, height, fc=color_of(concept), alpha=_OPAQUE, ec='none', lw=0))
    _draw_boxes(axes, views)


def _draw_cells(axes: Axes, view: View, labels: np.ndarray, shared: np.ndarray) -> None:
    """A colour and a letter in each cell as seen."""
    for cell, concept in np.ndenumerate(labels):
        x1, y1, x2, y2 = seen_box(view, cell, labels.shape)
        fill = color_of(concept) if shared[concept] else _ABSENT
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fc=fill, alpha=_OPAQUE, ec='none', lw=0))
        _write(axes, (x1 + x2) / 2, (y1 + y2) / 2, _marked(concept, shared), min(10, 80 / max(labels.shape)))


def _write(axes: Axes, x: float, y: float, text: str, fontsize: float) -> None:
    style = dict(fontsize=fontsize, fontweight='bold', color=BLACK, path_effects=[halo(2.5)])
    axes.text(x, y, text, ha='center', va='center_baseline', **style)


def _marked(concept: int, shared: np.ndarray) -> str:
    """The letter, struck through where the concept is not shared."""
    return letter(concept) if shared[concept] else ''.join(f'{sign}\u0336' for sign in letter(concept))


def _draw_counts(axes: Axes, concepts: Concepts) -> None:
    """Bars of the cells of each concept, of the query to the left and of the key to the right."""
    number = len(concepts.shared)
    title = f'Cells of each concept\n({concepts.shared.sum()} of {number} in both views: contrasted)'
    axes.set_title(title, fontsize=10, loc='left')
    most = max(int(concepts.cells.max()), 1)
    middle = 0.16 * most
    for concept in range(number):
        fill = color_of(concept) if concepts.shared[concept] else _ABSENT
        for sign, count in zip((-1, 1), concepts.cells[:, concept], strict=True):
            axes.barh(concept, sign * count, left=sign * middle, height=0.62, fc=fill, ec=BLACK, lw=0.6)
            axes.annotate(
                str(count),
                (sign * (middle + count), concept),
                xytext=(3 * sign, 0),
                textcoords='offset points',
                ha='left' if sign > 0 else 'right',
                va='center',
                fontsize=9,
            )
        swatch = Rectangle((-0.7 * middle, concept - 0.31), 1.4 * middle, 0.62, fc=color_of(concept), ec='none')
        axes.add_patch(swatch)
        _write(axes, 0, concept, _marked(concept, concepts.shared), 11)
    for sign, name, color in ((-1, 'query', QUERY), (1, 'key', KEY)):
        axes.text(
            sign * middle, -0.75, name, ha='right' if sign < 0 else 'left', color=color, fontsize=10, fontweight='bold'
        )
    axes.set(xlim=(-1.35 * most - middle, 1.35 * most + middle), ylim=(number - 0.4, -1.1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
