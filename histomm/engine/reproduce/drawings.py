"""The pictures of a recipe as runs of its plan."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from .pictures import FILE, Picture
from .plan import WORK, Drawing, Plan, Run, Values, put


def with_pictures(plan: Plan) -> Plan:
    """The plan with the pictures of its recipe, of seed 0, after all that its cells need.

    Pictures bring commands, but neither trainings nor tests: a row whose trainings are not in the plan, because other
    columns were chosen, is left out of them.

    Raises:
        RecipeError: see :func:`~.plan.make_plan`.
    """
    for heading, picture in plan.recipe.pictures.items():
        rows = [row for row in plan.rows() if fnmatchcase(row, picture.rows)]
        for group in [rows] if picture.each else [[row] for row in rows]:
            plan = _with_picture(plan, heading, picture, group)
    return plan


def _with_picture(plan: Plan, heading: str, picture: Picture, rows: Sequence[str]) -> Plan:
    """The plan with one picture of these rows, as far as they are trained in it."""
    grown, filled = plan, []
    for row in rows:
        trial = replace(grown, runs=dict(grown.runs))
        values = Values(trial, plan.recipe.rows[row], 0, ())
        one = _filled(values, heading, picture)
        if all(run.kind == 'command' for folder, run in trial.runs.items() if folder not in grown.runs):
            grown = trial
            filled.append((row, one, values.needs))
    if not filled:
        return plan
    (row, (folder, script, args, _), _) = filled[0]
    run = Run(
        stage=heading,
        kind='command',
        folder=folder,
        target=script,
        args=(*args, *(text for _, (_, _, _, each), _ in filled for text in each)),
        options={},
        new=frozenset(),
        outputs=(FILE,),
        metrics='',
        needs=tuple(dict.fromkeys(need for _, _, needs in filled for need in needs)),
    )
    put(grown, run, f'pictures.{heading}.folder')
    drawing = Drawing(heading, '' if picture.each else row, folder, picture.caption)
    known = {(one.heading, one.folder) for one in plan.drawings}
    return grown if (heading, folder) in known else replace(grown, drawings=(*plan.drawings, drawing))


def _filled(values: Values, heading: str, picture: Picture) -> tuple[str, str, list[str], list[str]]:
    """Folder, script, arguments, and those of a row."""
    where = f'pictures.{heading}'
    folder = values.fill(picture.folder, f'{where}.folder')
    values.out = f'{WORK}/{folder}'
    args, each = (
        [values.fill(text, f'{where}.{name}') for text in getattr(picture, name)] for name in ('args', 'each')
    )
    return folder, values.fill(picture.script, f'{where}.script'), args, each
