"""From a recipe to the runs behind each cell of its table."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .recipe import Column, Recipe, RecipeError, Row

ROOT, WORK = '<root>', '<work>'
"""What stands in a plan for the folder of the data and that of the results, so that both can be moved."""

_NAME = re.compile(r'\{([\w-]+)\}')


@dataclass(frozen=True)
class Run:
    """One stage with everything filled in but :data:`ROOT` and :data:`WORK`.

    Attributes:
        stage: Its name in the recipe.
        kind: Key of :data:`~.recipe.KINDS`.
        folder: Where its results go, below the work directory. No two runs share one.
        target: Script of a command; config of a training or test.
        args: Arguments of a command; the checkpoint of a test.
        options: Config options of a training or test, as on the command line: dotted name to text.
        new: Which of them the config does not have yet.
        outputs: Files that a command leaves in its folder.
        metrics: The one of them with its figures, a JSON file; empty for those that give none, and for other kinds.
        needs: Folders of the runs whose results it uses.
    """

    stage: str
    kind: str
    folder: str
    target: str
    args: tuple[str, ...]
    options: Mapping[str, str]
    new: frozenset[str]
    outputs: tuple[str, ...]
    metrics: str
    needs: tuple[str, ...]

    @property
    def out(self) -> str:
        """Its folder, with :data:`WORK` before it."""
        return f'{WORK}/{self.folder}'

    def data(self) -> set[str]:
        """What it reads below :data:`ROOT`, or elsewhere outside the work directory."""
        return {text for text in (*self.args, *self.options.values()) if text.startswith((ROOT, '/'))}

    def optional(self) -> set[str]:
        """Weights that it starts from if they are there."""
        kinds = {key for key, value in self.options.items() if value == 'histomm.PretrainedIfPresent'}
        return {self.options.get(f'{key.removesuffix(".type")}.checkpoint', '') for key in kinds}


@dataclass(frozen=True)
class Drawing:
    """A picture beside the table.

    Attributes:
        heading: Its name in the recipe.
        row: That it is of; empty for one of several rows.
        folder: Of the run that draws it.
        caption: What it shows.
    """

    heading: str
    row: str
    folder: str
    caption: str

    def title(self) -> str:
        """What it is called among others."""
        return f'{self.heading}, {self.row}' if self.row else self.heading


@dataclass(frozen=True)
class Plan:
    """All runs of a table.

    Attributes:
        recipe: The recipe.
        seeds: How many seeds.
        runs: By folder, each after those that it needs.
        cells: (row, column) to the folders of the runs that give its figure: one for each seed, or one alone where the
            seed is used nowhere. Columns that average others have none of their own.
        drawings: Pictures beside the table.
    """

    recipe: Recipe
    seeds: int
    runs: dict[str, Run] = field(default_factory=dict)
    cells: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    drawings: tuple[Drawing, ...] = ()

    def rows(self) -> list[str]:
        """Headings of the rows that are run."""
        return list(dict.fromkeys(row for row, _ in self.cells))

    def columns(self) -> list[str]:
        """Headings of the columns whose figures come of it, averages included."""
        run = {name for _, name in self.cells}
        return [name for name, column in self.recipe.columns.items() if run.issuperset(column.average or (name,))]

    def goals(self) -> dict[str, set[str]]:
        """Folders of the runs that give figures, with the metrics that are wanted of each, and of those that draw."""
        found: dict[str, set[str]] = {drawing.folder: set() for drawing in self.drawings}
        for (row, column), folders in self.cells.items():
            for folder in folders:
                found.setdefault(folder, set()).add(self.recipe.metric(row, column))
        return found


def make_plan(
    recipe: Recipe, seeds: int | None = None, rows: tuple[str, ...] = ('*',), columns: tuple[str, ...] = ('*',)
) -> Plan:
    """Fill in the stages for every row, column and seed.

    Args:
        recipe: The recipe.
        seeds: How many, instead of the recipe's.
        rows: Patterns of the rows to run, as in :mod:`fnmatch`.
        columns: Likewise. An average brings the columns that it is of.

    Raises:
        RecipeError: an unknown name in braces, stages that need each other in a circle, two runs that differ in one
            folder, patterns that fit nothing, or more seeds than folds.
    """
    plan = Plan(recipe, recipe.seeds if seeds is None else seeds)
    if recipe.folds and plan.seeds > recipe.folds:
        raise _error(plan, 'seeds', f'found {plan.seeds}, but each is one of {recipe.folds} folds; choose fewer')
    for row in _chosen('rows', recipe.rows, rows, recipe):
        for column in _with_parts(_chosen('columns', recipe.columns, columns, recipe), recipe):
            stage = recipe.columns[column].stage
            folders = [_add(plan, stage, recipe.rows[row], seed, ()) for seed in range(plan.seeds)]
            plan.cells[row, column] = list(dict.fromkeys(folders))
    return plan


def _chosen(what: str, known: Mapping[str, Row | Column], patterns: tuple[str, ...], recipe: Recipe) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise RecipeError(f'recipe {recipe.path}: {what}: {pattern!r} fits none of {", ".join(known)}')
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _with_parts(columns: list[str], recipe: Recipe) -> list[str]:
    """Columns with a stage: those chosen, and those whose average was chosen, in the order of the table."""
    wanted = {part for name in columns for part in recipe.columns[name].average or (name,)}
    return [name for name in recipe.columns if name in wanted]


def _add(plan: Plan, name: str, row: Row, seed: int, path: tuple[str, ...]) -> str:
    """Add a stage for a row and seed, after what it needs; its folder."""
    name = row.instead.get(name, name)
    stage = plan.recipe.stages[name]
    if name in path:
        raise _error(plan, f'stages.{name}', f'needs itself by way of {", ".join(path[path.index(name) :])}')
    values = Values(plan, row, seed, (*path, name))
    folder = values.fill(stage.folder, f'stages.{name}.folder')
    values.out = f'{WORK}/{folder}'

    def text(part: str, value: object) -> str:
        return values.fill(value, f'stages.{name}.{part}')

    options = {key: text(f'options.{key}', value) for key, value in stage.fields.get('options', {}).items()}
    target = 'script' if stage.kind == 'command' else 'config'
    args = [stage.fields['checkpoint']] if stage.kind == 'test' else stage.fields.get('args', [])
    run = Run(
        stage=name,
        kind=stage.kind,
        folder=folder,
        target=text(target, stage.fields[target]),
        args=tuple(text('args', value) for value in args),
        options={key.removeprefix('+'): value for key, value in options.items()},
        new=frozenset(key[1:] for key in options if key.startswith('+')),
        outputs=tuple(text('outputs', value) for value in stage.fields.get('outputs', [])),
        metrics=text('metrics', stage.fields.get('metrics', '')),
        needs=tuple(dict.fromkeys(values.needs)),
    )  # fmt: skip
    put(plan, run, f'stages.{name}.folder')
    return folder


def put(plan: Plan, run: Run, where: str) -> None:
    """Add a run to a plan, once.

    Raises:
        RecipeError: its folder is that of another one.
    """
    other = plan.runs.setdefault(run.folder, run)
    if other != run:
        difference = _difference(other, run)
        problem = f'{run.folder!r} is that of two different runs ({difference}); put what tells them apart into it'
        raise _error(plan, where, problem)


def _difference(one: Run, two: Run) -> str:
    if one.options != two.options:
        keys = [key for key in {**one.options, **two.options} if one.options.get(key) != two.options.get(key)]
        return f'options.{keys[0]}: {one.options.get(keys[0])} and {two.options.get(keys[0])}'
    name = next(name for name in vars(one) if getattr(one, name) != getattr(two, name))
    return f'{name}: {getattr(one, name)} and {getattr(two, name)}'


class Values:
    """Values of the names in braces, for one run.

    Args:
        plan: Where the stages that are named are added.
        row: Of the table.
        seed: Number.
        path: Stages on the way here, the run's own last.
    """

    def __init__(self, plan: Plan, row: Row, seed: int, path: tuple[str, ...]) -> None:
        self.plan, self.row, self.path = plan, row, path
        self.out: str | None = None
        self.fixed = {'root': ROOT, 'work': WORK, 'seed': str(seed)}
        self.names = {**plan.recipe.names, **row.names}
        self.needs: list[str] = []

    def fill(self, value: object, where: str, within: tuple[str, ...] = ()) -> str:
        """A value as text for the command line, with every name in it replaced by its value."""
        if isinstance(value, list):
            return '[' + ','.join(self.fill(part, where, within) for part in value) + ']'
        return _NAME.sub(lambda match: self._value(match[1], where, within), str(value))

    def _value(self, name: str, where: str, within: tuple[str, ...]) -> str:
        if name in self.fixed:
            return self.fixed[name]
        if name == 'out' and self.out:
            return self.out
        if name in within:
            raise _error(self.plan, where, f'{{{name}}} refers to itself')
        if name in self.names:
            return self.fill(self.names[name], where, (*within, name))
        if name in self.plan.recipe.stages:
            folder = _add(self.plan, name, self.row, int(self.fixed['seed']), self.path)
            self.needs.append(folder)
            return f'{WORK}/{folder}'
        known = ', '.join([*self.fixed, 'out', *self.names, *self.plan.recipe.stages])
        raise _error(self.plan, where, f'{{{name}}} is no stage and no name, expected one of {known}')


def _error(plan: Plan, field: str, problem: str) -> RecipeError:
    return RecipeError(f'recipe {plan.recipe.path}: {field}: {problem}')


def ancestors(plan: Plan, folder: str) -> Iterator[str]:
    """Folders of all runs that lead to one, each once, the nearest first."""
    seen, queue = set(), list(plan.runs[folder].needs)
    while queue:
        current = queue.pop(0)
        if current not in seen:
            seen.add(current)
            yield current
            queue += plan.runs[current].needs
