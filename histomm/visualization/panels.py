"""Parts of pictures of views: images with cells, boxes, frames and arrows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histomm import functional
from histomm.visualization.colors import BLACK, BLUE, VERMILION
from histomm.visualization.matching import View

QUERY, KEY = BLUE, VERMILION
"""Colours of the two views."""

SUFFIXES = ('.png', '.svg', '.pdf', '.jpg')
"""What pictures can be written as."""


def check_picture_path(path: Path) -> None:
    """Raise ``ValueError`` unless a picture can be written under this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f'--out {path} has the suffix {path.suffix!r}, expected one of {", ".join(SUFFIXES)}')


def write_picture(figure: Figure, path: Path) -> None:
    """Save a figure, and make its folder if need be.

    Pictures of pixels have 120 an inch. JPEG has fewer and loses detail that nobody misses, so that it is small enough
    for a page.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == '.jpg':
        figure.savefig(path, dpi=96, pil_kwargs=dict(quality=42, optimize=True, progressive=True))
    else:
        figure.savefig(path, dpi=120)


def show_image(axes: Axes, image: np.ndarray, title: str) -> None:
    """The image with pixel i at [i, i + 1)."""
    axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0), interpolation='nearest')
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_anchor('N')


def draw_frame(axes: Axes, color: str) -> None:
    """The edge of a panel."""
    axes.spines[:].set(visible=True, color=color, linewidth=2.5)


def draw_box(axes: Axes, box: Sequence[float], color: str, name: str, dashed: bool = False) -> None:
    """A rectangle of the source, named inside: at its lower right corner if it is the key's, else at the upper left."""
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


def draw_outline(axes: Axes, box: Sequence[float], color: str) -> None:
    """A rectangle with a white edge that keeps it apart from any tissue."""
    x1, y1, x2, y2 = box
    for edge, width in (('white', 4.5), (color, 2.5)):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=edge, lw=width))


def draw_grid(axes: Axes, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Edges of the cells of a view as seen."""
    for position in np.linspace(0, shape[1], size[1] + 1)[1:-1]:
        axes.axvline(position, color='white', lw=0.8, alpha=0.85)
    for position in np.linspace(0, shape[0], size[0] + 1)[1:-1]:
        axes.axhline(position, color='white', lw=0.8, alpha=0.85)


def seen_box(view: View, cell: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
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


def draw_up_arrow(axes: Axes, view: View) -> None:
    """A small arrow in the upper left corner of a view that points to where the source has its top."""
    dx, dy = source_up(view)
    height, width = view.image.shape[:2]
    length = 0.06 * min(height, width)
    x, y = 0.09 * width, 0.09 * height
    axes.annotate(
        '',
        (x + dx * length, y + dy * length),
        (x - dx * length, y - dy * length),
        arrowprops=dict(arrowstyle='-|>', color=BLACK, lw=1.6, path_effects=[halo(4)]),
    )


def halo(width: float) -> patheffects.withStroke:
    """White around letters and lines."""
    return patheffects.withStroke(linewidth=width, foreground='white')
