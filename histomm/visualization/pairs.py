"""All cells of two views at once: the pairs that nearest location keeps, and the weights of precise location."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config

from histomm.models.matchers import DenseView, LocationMatcher, PreciseLocationMatcher
from histomm.registry import MODELS
from histomm.visualization.colors import BLACK, GREEN
from histomm.visualization.matching import View
from histomm.visualization.panels import (
    KEY,
    QUERY,
    draw_frame,
    draw_grid,
    halo,
    seen_box,
    show_image,
)

_LEGEND = (
    'Green: cells that count. Nearest location takes the pairs whose centres are closest, each here with one number in '
    'both\nviews, and leaves out the others, also where the views overlap. Precise location takes every cell that the '
    'other view\ncovers, each as much as its share in per cent.'
)


@dataclass(frozen=True)
class LocationPairs:
    """What the location matchers say of all cells.

    Attributes:
        pairs: (P, 2, 2) int, row and column as seen of each query cell that is kept, and of its key cell.
        covered: (H, W) float for query and key, as seen: the share of each cell that the other view covers.
    """

    pairs: np.ndarray
    covered: tuple[np.ndarray, np.ndarray]


def location_matcher(cfg: Config) -> LocationMatcher:
    """The one of a config, which says how many pairs are kept, or the default one."""
    matchers = cfg.model.get('matchers') or cfg.model.get('dense', {}).get('matchers', [])
    built = (MODELS.build(matcher) for matcher in matchers)
    return next((matcher for matcher in built if isinstance(matcher, LocationMatcher)), LocationMatcher())


@torch.no_grad()
def match_locations(
    query: View, key: View, size_q: tuple[int, int], size_k: tuple[int, int], matcher: LocationMatcher
) -> LocationPairs:
    """Match all cells of the query view to the key view, and reckon the weights of both."""
    dense = []
    for view, size in ((query, size_q), (key, size_k)):
        # the matchers carry along what stands in the cells: here the number of the cell as seen
        number = view.seen_order(size).view(1, 1, *size).float()
        dense.append(DenseView(number, number, view.geometry.box))
    matched = matcher.align(*dense)
    pairs = [
        np.stack(np.unravel_index(rows.flatten().long().numpy(), size), axis=1)
        for rows, size in ((matched.anchor, size_q), (matched.positive, size_k))
    ]
    precise = PreciseLocationMatcher()
    covered = [
        view.as_seen(precise.align(target, source).weight.view(target.size)).numpy()
        for view, target, source in ((query, *dense), (key, *reversed(dense)))
    ]
    return LocationPairs(np.stack(pairs, axis=1), tuple(covered))


def draw_pairs(query: View, key: View, found: LocationPairs) -> Figure:
    """Two rows of query and key view: the pairs of nearest location, numbered, and the weights of precise location.

    Args:
        query: Query view.
        key: Key view.
        found: See :func:`match_locations`.
    """
    figure = Figure(figsize=(8.2, 9.5), layout='constrained')
    panels = figure.subplots(2, 2)
    figure.supxlabel(_LEGEND, x=0.01, ha='left', fontsize=9)
    size_q = found.covered[0].shape
    notes = (
        f'Nearest location: {len(found.pairs)} of {size_q[0] * size_q[1]} cells kept',
        'Precise location: share covered',
    )
    for axes, note in zip(panels, notes, strict=True):
        for panel, view, cells, color, name in (
            (axes[0], query, found.covered[0], QUERY, 'query'),
            (axes[1], key, found.covered[1], KEY, 'key'),
        ):
            show_image(panel, view.image, f'{note}\n({name} view, {view.describe()})')
            draw_frame(panel, color)
            draw_grid(panel, view.image.shape[:2], cells.shape)
    for number, (view, covered) in enumerate(zip((query, key), found.covered, strict=True)):
        _draw_numbers(panels[0, number], view, found.pairs[:, number], covered.shape)
        _draw_shares(panels[1, number], view, covered)
    return figure


def _draw_numbers(axes: Axes, view: View, cells: np.ndarray, size: tuple[int, int]) -> None:
    """Fill the cells (P, 2) of the pairs and number them; a cell of several pairs bears all their numbers."""
    numbers: dict[tuple[int, int], list[str]] = {}
    for number, cell in enumerate(cells.tolist(), start=1):
        numbers.setdefault(tuple(cell), []).append(str(number))
    for cell, names in numbers.items():
        box = seen_box(view, cell, size)
        _fill(axes, box, 0.5)
        rows = [' '.join(names[start : start + 3]) for start in range(0, len(names), 3)]
        _write(axes, box, '\n'.join(rows), max(size))


def _draw_shares(axes: Axes, view: View, covered: np.ndarray) -> None:
    """Fill each cell by its share, and write it in per cent."""
    for cell, share in np.ndenumerate(covered):
        if share < 0.005:
            continue
        box = seen_box(view, cell, covered.shape)
        _fill(axes, box, 0.1 + 0.5 * share)
        _write(axes, box, f'{100 * share:.0f}', max(covered.shape))


def _fill(axes: Axes, box: tuple[float, float, float, float], alpha: float) -> None:
    x1, y1, x2, y2 = box
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fc=GREEN, alpha=alpha, ec='none', lw=0))


def _write(axes: Axes, box: tuple[float, float, float, float], text: str, cells: int) -> None:
    """Text in the middle of a cell, fit for so many cells a side."""
    x1, y1, x2, y2 = box
    style = dict(fontsize=min(9.5, 70 / cells), fontweight='bold', color=BLACK, path_effects=[halo(3)])
    axes.text((x1 + x2) / 2, (y1 + y2) / 2, text, ha='center', va='center', **style)
