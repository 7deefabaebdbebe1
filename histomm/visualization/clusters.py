"""Pictures of clusters of features: the curve that chooses their number, their patches, and where they lie."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from histomm.visualization.colors import AREAS, BLUE, VERMILION

PATCH = 96
"""Side in px at which pictures show patches."""

_LEGEND = 24  # entries at most


def cluster_color(number: int) -> str:
    """A colour '#RRGGBB' for a cluster: eight that anybody tells apart, and further hues beyond."""
    if number < len(AREAS) - 1:
        return AREAS[number]
    # Steps of the golden angle never come back to the same hue; lightness changes beside it.
    hue = (number * 0.618034) % 1
    color = colorsys.hls_to_rgb(hue, (0.35, 0.5, 0.68)[number % 3], (0.85, 0.6)[number % 2])
    return '#' + ''.join(f'{round(255 * part):02X}' for part in color)


def draw_variance(ks: Sequence[int], variances: Sequence[float], elbow: int | None, chosen: int) -> Figure:
    """Explained variance over the number of clusters, the chord between its ends, and what was chosen."""
    figure = Figure(figsize=(6.4, 4), layout='constrained')
    axes = figure.subplots()
    percent = [100 * value for value in variances]
    axes.plot(ks, percent, 'o-', color=BLUE, label='explained variance')
    if len(ks) > 2:
        axes.plot([ks[0], ks[-1]], [percent[0], percent[-1]], ':', color='0.4', label='chord between the ends')
    if chosen in ks:
        rule = 'farthest from the chord' if chosen == elbow else 'as wanted'
        axes.plot(
            [chosen], [percent[list(ks).index(chosen)]], 'D', color=VERMILION, ms=9, label=f'k = {chosen:,}: {rule}'
        )
    axes.set(xlabel='number of clusters k', ylabel='1 − SSE/SST, %')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def draw_nearest(patches: Sequence[Sequence[np.ndarray]], titles: Sequence[str], colors: Sequence[str]) -> Figure:
    """Patches of clusters, a row of few for each, in three columns of clusters.

    Args:
        patches: For each cluster its patches, uint8 RGB of one size.
        titles: For each cluster what stands above them.
        colors: For each cluster the colour of its frame.
    """
    columns = min(3, len(patches))
    rows = -(-len(patches) // columns)
    wide = max(map(len, patches))
    figure = Figure(figsize=(columns * (wide * 1.05 + 0.15), rows * 1.32 + 0.1), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, members, title, color in zip(grid.flat, patches, titles, colors, strict=False):
        size = members[0].shape[0]
        gap = max(size // 24, 2)
        strip = np.full((size, wide * (size + gap) - gap, 3), 255, np.uint8)
        for number, patch in enumerate(members):
            strip[:, number * (size + gap) : number * (size + gap) + size] = patch
        axes.imshow(strip, interpolation='nearest')
        axes.set_title(title, loc='left', fontsize=9)
        axes.plot([-gap, -gap], [-0.5, size - 0.5], color=color, lw=5, solid_capstyle='butt', clip_on=False)
    return figure


def draw_painted(
    thumbnail: np.ndarray, boxes: np.ndarray, labels: np.ndarray, title: str, kind: str = 'cluster'
) -> Figure:
    """A slide beside the same with its tiles in the colours of their clusters.

    Args:
        thumbnail: (h, w, 3) uint8 RGB.
        boxes: (n, 4) x1, y1, x2, y2 of the tiles in pixels of the thumbnail.
        labels: (n,) clusters.
        title: What stands above it.
        kind: What the labels number.
    """
    painted = paint_tiles(thumbnail, boxes, labels)
    height, width = thumbnail.shape[:2]
    side = 5.2
    figure = Figure(figsize=(2 * side * min(1, width / height) + 1.8, side * min(1, height / width) + 0.5))
    figure.set_layout_engine('constrained')
    axes = figure.subplots(1, 2)
    for panel, picture, name in zip(axes, (thumbnail, painted), (title, f'{kind}s'), strict=True):
        panel.imshow(picture, interpolation='antialiased')
        panel.set_title(name, loc='left', fontsize=10)
        panel.set_axis_off()
    numbers, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind='stable')[:_LEGEND]
    handles = [
        Patch(color=cluster_color(int(numbers[i])), label=f'{numbers[i]}: {100 * counts[i] / len(labels):.0f} %')
        for i in order
    ]
    title = f'{_LEGEND} largest of {len(numbers)}' if len(numbers) > _LEGEND else kind
    figure.legend(handles=handles, loc='outside right upper', fontsize=8, frameon=False, title=title)
    return figure


def paint_tiles(thumbnail: np.ndarray, boxes: np.ndarray, labels: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """The thumbnail with the tiles in grey, tinted in the colours of their clusters: stain would mix with them.

    Args:
        thumbnail: (h, w, 3) uint8 RGB.
        boxes: (n, 4) x1, y1, x2, y2 in its pixels.
        labels: (n,) clusters.
        strength: Share of the colour, 0 to 1.
    """
    painted = thumbnail.copy()
    grey = cv2.cvtColor(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    for box, label in zip(np.round(boxes).astype(int).tolist(), labels, strict=True):
        color = cluster_color(int(label))
        tint = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        x1, y1 = max(box[0], 0), max(box[1], 0)
        place = np.s_[y1 : max(box[3], y1 + 1), x1 : max(box[2], x1 + 1)]
        painted[place] = np.round(grey[place] * (1 - strength) + tint * strength)
    return painted
