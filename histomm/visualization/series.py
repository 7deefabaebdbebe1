"""Figures over a quantity, such as accuracy over the share of labels, beside published ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from histomm.visualization.colors import BLACK, CYCLE

_MARKERS = 'osD^vP*X'


class Series(NamedTuple):
    """One line."""

    ours: Sequence[tuple[float, float, float]]
    """Place, mean and standard deviation, by growing place."""
    published: Sequence[tuple[float, float]]
    """Place and figure, by growing place."""


def draw_series(
    series: Mapping[str, Series], xlabel: str, ylabel: str, size: tuple[float, float] = (6.8, 4.2)
) -> Figure:
    """Lines with bands of ± one standard deviation, published figures dashed in the same colour.

    The axis is logarithmic where the places range over more than two orders of magnitude.

    Args:
        series: By name; those without any figure are left out.
        xlabel: What the places are, with the unit.
        ylabel: What the figures are, likewise.
        size: Width and height in inches.

    Raises:
        ValueError: there is no figure at all.
    """
    shown = {name: one for name, one in series.items() if one.ours or one.published}
    if not shown:
        raise ValueError('series has no figures, expected some to draw')
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.add_subplot()
    for number, one in enumerate(shown.values()):
        _draw_line(axes, one, CYCLE[number % len(CYCLE)], _MARKERS[number % len(_MARKERS)])
    _set_places(axes, sorted({point[0] for one in shown.values() for point in (*one.ours, *one.published)}))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#e3e7ea', lw=0.8)
    axes.set_axisbelow(True)
    axes.legend(handles=_handles(shown), frameon=False, fontsize='small')
    return figure


def _draw_line(axes: Axes, one: Series, color: str, marker: str) -> None:
    if one.published:
        axes.plot(
            *zip(*one.published, strict=True), color=color, ls=(0, (4, 3)), lw=1.3, marker=marker, ms=4.5, mfc='white'
        )
    if one.ours:
        places, means, spreads = (np.array(part) for part in zip(*one.ours, strict=True))
        axes.plot(places, means, color=color, lw=1.8, marker=marker, ms=5)
        if len(places) > 1:
            axes.fill_between(places, means - spreads, means + spreads, color=color, alpha=0.16, lw=0)
        elif spreads[0]:
            axes.errorbar(places, means, spreads, color=color, capsize=3)


def _set_places(axes: Axes, places: Sequence[float]) -> None:
    """A tick at each place, but where they would overlap."""
    kept: list[float] = []
    if places[0] > 0 and places[-1] / places[0] > 100:
        axes.set_xscale('log')
    elif len(places) > 1:
        apart = (places[-1] - places[0]) / 25
        for place in places:
            if not kept or place - kept[-1] >= apart:
                kept.append(place)
    axes.xaxis.set_major_locator(FixedLocator(kept or places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))


def _handles(shown: Mapping[str, Series]) -> list[Line2D]:
    """A line for each name, and what full and dashed lines are."""
    handles = [
        Line2D([], [], color=CYCLE[i % len(CYCLE)], marker=_MARKERS[i % len(_MARKERS)], ms=5, lw=1.8, label=name)
        for i, name in enumerate(shown)
    ]
    if any(one.ours for one in shown.values()):
        handles.append(Line2D([], [], color=BLACK, lw=1.8, label='ours ± sd'))
    if any(one.published for one in shown.values()):
        handles.append(Line2D([], [], color=BLACK, lw=1.3, ls=(0, (4, 3)), label='published'))
    return handles
