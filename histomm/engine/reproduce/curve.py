"""Pictures that a recipe wants of its table: figures over the numbers in headings of rows or columns."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

OVER = ('rows', 'columns')

_NUMBERED = re.compile(r'(?P<line>.*?),?\s*(?P<place>\d+(?:\.\d+)?)\s*%?')


class Point(NamedTuple):
    """Where a cell of the table stands in the picture."""

    line: str
    place: float
    row: str
    column: str


@dataclass(frozen=True)
class Curve:
    """What the picture shows.

    Attributes:
        over: Whose headings end in the numbers: of rows, such as ``Fixed, 5 %``, where what stands before the number
            names the line; or of columns, such as ``5 %``, where each row is a line.
        columns: Pattern of the columns to show, as in :mod:`fnmatch`.
        xlabel: What the numbers are.
        ylabel: What the figures are.
    """

    over: str
    columns: str
    xlabel: str
    ylabel: str

    def points(self, rows: Iterable[str], columns: Iterable[str]) -> list[Point]:
        """All cells that are shown, in the order of the table."""
        shown = [name for name in columns if fnmatchcase(name, self.columns)]
        found = []
        for row in rows:
            for column in shown:
                match = _NUMBERED.fullmatch(row if self.over == 'rows' else column)
                line = row
                if self.over == 'rows':
                    line = ', '.join(filter(None, (match['line'], column if shown[1:] or not match['line'] else '')))
                found.append(Point(line, float(match['place']), row, column))
        return found


def read_curve(
    node: Mapping[str, str], rows: Sequence[str], columns: Sequence[str], fail: Callable[[str, str], Exception]
) -> Curve:
    """The picture that a recipe wants.

    Args:
        node: Its fields, all there and text.
        rows: Headings.
        columns: Headings.
        fail: Makes the error of a field and a problem.

    Raises:
        RecipeError: ``over`` is neither, the pattern fits no column, or a heading does not end in a number.
    """
    curve = Curve(**node)
    if curve.over not in OVER:
        raise fail('figure.over', f'is {curve.over!r}, expected one of {", ".join(OVER)}')
    shown = [name for name in columns if fnmatchcase(name, curve.columns)]
    if not shown:
        raise fail('figure.columns', f'{curve.columns!r} fits none of {", ".join(columns)}')
    for name in rows if curve.over == 'rows' else shown:
        if not _NUMBERED.fullmatch(name):
            raise fail('figure.over', f'is {curve.over!r}, but {name!r} does not end in a number such as 5 %')
    return curve
