"""The picture of a recipe's table: what is finished, with its spread, beside what was published."""

import statistics

from matplotlib.figure import Figure

from histomm.visualization.series import Series, draw_series

from .curve import Curve
from .plan import Plan
from .recipe import STATISTICS
from .record import Records

CAPTION = 'Lines: ours, with a band of the standard deviation over seeds. Dashes: as published.'


def series(plan: Plan, records: Records, curve: Curve) -> dict[str, Series]:
    """Lines of the picture: ours as far as it is finished, and what was published."""
    found: dict[str, Series] = {}
    for line, place, row, column in curve.points(plan.rows(), plan.columns()):
        one = found.setdefault(line, Series([], []))
        if point := _point(plan, records, row, column):
            one.ours.append((place, *point))
        if (printed := plan.recipe.rows[row].published.get(column)) is not None:
            one.published.append((place, float(printed)))
    return {line: Series(sorted(one.ours), sorted(one.published)) for line, one in found.items()}


def _point(plan: Plan, records: Records, row: str, name: str) -> tuple[float, float] | None:
    """Statistic over the seeds that are finished, and their standard deviation beside a mean of several."""
    column = plan.recipe.columns[name]
    values = [value * column.scale for value in records.values(row, name) if value is not None]
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 and column.statistic == 'mean' else 0.0
    return float(STATISTICS[column.statistic](values)), spread


def figure_of(plan: Plan, records: Records) -> Figure | None:
    """The picture; ``None`` if the recipe has none, or there is nothing to show yet."""
    curve = plan.recipe.figure
    if curve is None:
        return None
    shown = series(plan, records, curve)
    return draw_series(shown, curve.xlabel, curve.ylabel) if any(map(any, shown.values())) else None


def alt_text(plan: Plan) -> str:
    """What the picture shows, for those who do not see it."""
    curve = plan.recipe.figure
    lines = dict.fromkeys(point.line for point in curve.points(plan.rows(), plan.columns()))
    return f'{curve.ylabel} against {curve.xlabel}: {", ".join(lines)}'
