"""Pictures that a recipe wants beside its table, each drawn by a tool from what the cells were made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

FILE = 'picture.png'
"""What the command of a picture leaves in its folder."""


@dataclass(frozen=True)
class Picture:
    """One picture for each row, or one of all rows side by side.

    Attributes:
        script: Tool that draws it.
        folder: Where it goes, below the work directory.
        args: Arguments, with ``{names}`` still to be filled in; ``{out}/picture.png`` is what is to be written.
        caption: What it shows.
        rows: Pattern of the rows, as in :mod:`fnmatch`.
        each: Arguments that come once for each row after the others, which are those of the first row; if there are
            none, each row has a picture of its own.
    """

    script: str
    folder: str
    args: Sequence[str]
    caption: str
    rows: str = '*'
    each: Sequence[str] = ()


def read_picture(
    node: Mapping[str, object], where: str, rows: Sequence[str], fail: Callable[[str, str], Exception]
) -> Picture:
    """A picture that a recipe wants.

    Args:
        node: Its fields, known and of their types.
        where: What to call them in errors.
        rows: Headings.
        fail: Makes the error of a field and a problem.

    Raises:
        RecipeError: the pattern fits no row, or no argument says where the picture goes.
    """
    picture = Picture(**node)
    if not any(fnmatchcase(row, picture.rows) for row in rows):
        raise fail(f'{where}.rows', f'{picture.rows!r} fits none of {", ".join(rows)}')
    if f'{{out}}/{FILE}' not in picture.args:
        raise fail(f'{where}.args', f'do not say where the picture goes; expected {{out}}/{FILE} among them')
    return picture
