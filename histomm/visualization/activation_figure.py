"""Class activation maps of several classifiers side by side, over the images that they saw."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from histomm.visualization.colors import BLACK, VERMILION

HEAT = 'turbo'
"""Scale of colours of the evidence."""

_WIDTH = 2.15  # inches of a panel
_LETTERS = 27  # that fit above it


class Panel(NamedTuple):
    """An image as a classifier saw it, and what it made of it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    map: np.ndarray
    """(H, W) from 0 to 1."""
    title: str
    """What was predicted."""
    right: bool | None = None
    """Whether that is so; ``None`` where nobody knows."""


class Line(NamedTuple):
    """An image and its panels, one for each classifier."""

    title: str
    """What is known of the image, such as its magnification and class."""
    name: str
    """Which image it is."""
    panels: list[Panel]


def overlay(image: np.ndarray, evidence: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The image in grey, with the evidence in colour over it: colours of the stain would mix with it.

    The more evidence, the stronger the colour, so that tissue without any stays as it is.

    Args:
        image: (H, W, 3) uint8 RGB.
        evidence: (H, W) from 0 to 1.
        strength: Share of the colour where the evidence is 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    share = strength * np.sqrt(evidence)[..., None]
    heat = 255 * colormaps[HEAT](evidence)[..., :3]
    return np.clip(np.round((1 - share) * grey + share * heat), 0, 255).astype(np.uint8)


def draw_activations(lines: Sequence[Line], names: Sequence[str], quantity: str) -> Figure:
    """A row for each image: the image as the first classifier saw it, and the evidence of each classifier.

    Args:
        lines: At least one.
        names: Of the classifiers, one for each panel of a line.
        quantity: What is shown in colour, in a few words.
    """
    columns = len(names) + 1
    heights = [_WIDTH * line.panels[0].image.shape[0] / line.panels[0].image.shape[1] for line in lines]
    size = (columns * (_WIDTH + 0.08) + 0.85, sum(heights) + 0.48 * len(lines) + 0.45)
    figure = Figure(figsize=size, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.04, rect=(0, 0, 1, 1 - 0.16 / size[1]))
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for axes, line in zip(grid, lines, strict=True):
        _show(axes[0], line.panels[0].image, '\n'.join(filter(None, (shorten(line.title), shorten(line.name)))), BLACK)
        for place, panel in zip(axes[1:], line.panels, strict=True):
            color = VERMILION if panel.right is False else BLACK
            _show(place, overlay(panel.image, panel.map), shorten(panel.title), color)
    for axes, name in zip(grid[0], ('image', *names), strict=True):
        axes.annotate(
            shorten(name, _LETTERS - 4), (0, 1), xytext=(0, 34), xycoords='axes fraction', textcoords='offset points',
            fontsize=10.5, fontweight='bold', annotation_clip=False,
        )  # fmt: skip
    bar = figure.colorbar(
        ScalarMappable(cmap=HEAT), ax=grid, shrink=min(1, 2.6 / sum(heights)), aspect=16, pad=0.015, ticks=[0, 1]
    )
    bar.ax.set_yticklabels(['none', 'most'], fontsize=8)
    bar.set_label(shorten(quantity, 44), fontsize=9)
    if any(panel.right is False for line in lines for panel in line.panels):
        figure.supxlabel('red: another class than the image has', x=0.005, ha='left', fontsize=8.5, color=VERMILION)
    return figure


def shorten(text: str, letters: int = _LETTERS) -> str:
    """The text with its middle left out where it is too long; ends tell names of files and classes apart."""
    if len(text) <= letters:
        return text
    return f'{text[: (letters - 1) // 2]}…{text[len(text) - letters // 2 :]}'


def _show(axes: Axes, picture: np.ndarray, title: str, color: str) -> None:
    axes.imshow(picture, interpolation='antialiased')
    axes.set_title(title, fontsize=8.5, loc='left', color=color, pad=3)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_anchor('NW')
