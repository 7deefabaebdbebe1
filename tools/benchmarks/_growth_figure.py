"""How time and memory grow, as a figure with logarithmic axes and the exponents of the growth."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from histomm.visualization.colors import BLACK, CYCLE

FITTED = 3
_MARKERS = 'so'


class Curve(NamedTuple):
    """One quantity of one form over growing places.

    Attributes:
        places: By growing size, at least one, all above 0.
        low, middle, high: Of each place.
    """

    places: Sequence[float]
    low: Sequence[float]
    middle: Sequence[float]
    high: Sequence[float]


def exponent(curve: Curve) -> float:
    """p of the power law c·x^p through the last :data:`FITTED` middles, by least squares of logarithms.

    What a call costs at any size bends the curve at small places, hence the last ones alone. NaN of one place.
    """
    if len(curve.places) < 2:
        return float('nan')
    return float(_fit(curve)[0])


def _fit(curve: Curve) -> np.ndarray:
    return np.polyfit(*(np.log(values[-FITTED:]) for values in (curve.places, curve.middle)), 1)


def draw_growth(panels: Mapping[str, Mapping[str, Curve]], xlabel: str, title: str) -> Figure:
    """A panel for each quantity with a line for each form; the power law that is fitted is dotted over the places it is
    fitted to.

    Args:
        panels: Label of the y axis, such as 'time (ms)', to the curves by form; the forms have the same colours in all.
        xlabel: What the places are.
        title: Over the figure.
    """
    forms = list(dict.fromkeys(form for curves in panels.values() for form in curves))
    figure = Figure(figsize=(4.5 * len(panels), 3.7), layout='constrained')
    figure.suptitle(title, fontsize=11)
    for axes, (label, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for form, curve in curves.items():
            _draw_curve(axes, form, curve, forms.index(form))
        _set_axes(axes, sorted({place for curve in curves.values() for place in curve.places}))
        axes.set(xlabel=xlabel, ylabel=label)
        axes.legend(frameon=False, fontsize='small', loc='upper left')
    return figure


def _draw_curve(axes: Axes, form: str, curve: Curve, number: int) -> None:
    color, power = CYCLE[number % len(CYCLE)], exponent(curve)
    label = form if np.isnan(power) else f'{form}, exponent {power:.2f}'
    axes.plot(curve.places, curve.middle, color=color, marker=_MARKERS[number % 2], ms=5, lw=1.8, label=label)
    axes.fill_between(curve.places, curve.low, curve.high, color=color, alpha=0.16, lw=0)
    if not np.isnan(power):
        ends = np.array([curve.places[-FITTED:][0], curve.places[-1]], float)
        axes.plot(ends, np.exp(np.polyval(_fit(curve), np.log(ends))), color=BLACK, lw=1, ls=(0, (1, 2)))


def _set_axes(axes: Axes, places: Sequence[float]) -> None:
    axes.set(xscale='log', yscale='log')
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.0f}'))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.0f}' if value >= 1 else f'{value:g}'))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.25)  # room for the legend
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color='#e3e7ea', lw=0.8)
    axes.set_axisbelow(True)
