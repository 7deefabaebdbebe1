"""What a run logged, and plots of it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from histomm.visualization.colors import CYCLE, DASHES

Curve = tuple[list[float], list[float]]
"""Steps and values."""


def read_scalars(work_dir: str | Path) -> dict[str, Curve]:
    """Everything that the runs in a work directory wrote to ``vis_data/scalars.json``.

    A resumed run has several such files; where two of them hold a step, the later file counts. Steps without a value
    of a name are left out of its curve, and so are values that are not finite. A name that has lines of its own (a
    measurement that is written when it is made, such as ``knn_top1``) is taken from these alone, because the other
    lines repeat the last value.

    Args:
        work_dir: Work directory of ``tools/train.py``.

    Returns:
        Name (``loss``, ``rankme``, ``coco/bbox_mAP``, …) to steps and values, by increasing step.

    Raises:
        FileNotFoundError: there is no such file.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} holds no */vis_data/scalars.json; give a work directory of tools/train.py')
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    alone = {name for record in records if len(values := _values(record)) == 1 for name in values}
    curves: dict[str, dict[float, float]] = {}
    for record in records:
        values = _values(record)
        for name, value in values.items():
            if name not in alone or len(values) == 1:
                curves.setdefault(name, {})[record['step']] = value
    return {name: (sorted(points), [points[step] for step in sorted(points)]) for name, points in curves.items()}


def _values(record: dict) -> dict[str, float]:
    """What a line logs, without its counters; empty if it has no step."""
    if 'step' not in record:
        return {}
    return {
        name: value
        for name, value in record.items()
        if name not in ('step', 'iter', 'epoch') and isinstance(value, int | float) and math.isfinite(value)
    }


def read_metrics(work_dir: str | Path) -> dict[str, float]:
    """The last evaluation in a work directory, whether of ``tools/test.py`` or at the end of training.

    Returns:
        Names with a slash, such as ``coco/segm_mAP_50``, to values; empty if nothing was evaluated.
    """
    files = [path for path in Path(work_dir).rglob('*.json') if path.parent.name == path.stem]  # mmengine's names
    for file in sorted(files, key=lambda path: path.stem, reverse=True):
        record = json.loads(file.read_text().splitlines()[-1])
        found = {name: value for name, value in record.items() if '/' in name and isinstance(value, int | float)}
        if found:
            return found
    curves = read_scalars(work_dir) if list(Path(work_dir).glob('*/vis_data/scalars.json')) else {}
    return {name: values[-1] for name, (_, values) in curves.items() if '/' in name}


def plot_curves(
    curves: Mapping[str, Curve],
    ylabel: str,
    xlabel: str = 'iteration',
    size: tuple[float, float] = (5.4, 3.2),
    colors: Sequence[str] = CYCLE,
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """Curves over one pair of axes, told apart by colour and by dashes; a legend where there are several.

    Args:
        curves: Label to steps and values. A single point is drawn as a dot.
        ylabel: Quantity and unit.
        xlabel: Likewise.
        size: Width and height in inches.
        colors: Of the curves in turn.
        ylim: Range of the values shown; where they lie if left out.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError('curves is empty, expected at least one curve to plot')
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.add_subplot()
    for number, (label, (steps, values)) in enumerate(curves.items()):
        style = dict(color=colors[number % len(colors)], ls=DASHES[number % len(DASHES)], lw=1.7)
        axes.plot(steps, values, label=label, marker='o' if len(steps) < 12 else None, markersize=4, **style)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(ylim)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#e3e7ea', lw=0.8)
    axes.set_axisbelow(True)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize='small')
    return figure
