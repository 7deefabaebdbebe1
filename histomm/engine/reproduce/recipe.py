"""Recipes: the stages behind a paper's table, as a YAML file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml
from mmengine.config import Config

from .curve import Curve, read_curve
from .pictures import Picture, read_picture

FULL = 'full'
"""The budget of a recipe without any overrides: the paper's own."""

KINDS = {
    'command': ({'script': str, 'args': list, 'outputs': list}, {'metrics': str}),
    'train': ({'config': str}, {'options': dict}),
    'test': ({'config': str, 'checkpoint': str}, {'options': dict}),
}
"""Fields of each kind of stage beside ``kind`` and ``folder``: those it must have, and those it may have."""

STATISTICS = {
    'mean': np.mean,
    'median': np.median,
    'max': np.max,
    'percentile80': lambda values: np.percentile(values, 80),
}
"""What a column may show of the values of all seeds; beside the mean stands the standard deviation."""

_RECIPE = (
    {'title': str, 'paper': str, 'table': str, 'seeds': int, 'stages': dict, 'columns': dict, 'rows': dict},
    {'notes': list, 'names': dict, 'budgets': dict, 'figure': dict, 'pictures': dict, 'folds': int},
)
_COLUMN = {'stage': str, 'metric': str}, {'scale': (int, float), 'digits': int, 'statistic': str}
_AVERAGE = {'average': list}, {'digits': int, 'statistic': str}
_ROW = {}, {'names': dict, 'instead': dict, 'metrics': dict, 'published': dict}
_FIGURE = {'over': str, 'columns': str, 'xlabel': str, 'ylabel': str}, {}
_PICTURE = {'script': str, 'folder': str, 'args': list, 'caption': str}, {'rows': str, 'each': list}
_RESERVED = {'root', 'work', 'out', 'seed'}
_BUDGET = {'note': str}, {'names': dict, 'stages': dict, 'seeds': int}


class RecipeError(ValueError):
    """A recipe, or what it refers to, is not as it should be; the message names file and field."""


@dataclass(frozen=True)
class Stage:
    """One kind of step, with ``{names}`` still to be filled in.

    Attributes:
        kind: Key of :data:`KINDS`.
        folder: Where its results go, below the work directory; tells two runs of the stage apart.
        fields: What else its kind has.
    """

    kind: str
    folder: str
    fields: Mapping[str, object]


@dataclass(frozen=True)
class Column:
    """A figure of the table: ``metric`` of ``stage``, times ``scale``, with so many ``digits`` after the point.

    ``statistic`` is a key of :data:`STATISTICS` and says what becomes of the values of all seeds. A column with
    ``average`` has neither stage nor metric: for each seed it is the mean of the figures of other columns, as shown.
    """

    stage: str = ''
    metric: str = ''
    scale: float = 1
    digits: int = 1
    statistic: str = 'mean'
    average: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        names: Values that are this row's own.
        instead: Stages to be replaced by others in this row.
        metrics: Column to the metric that this row shows there instead of the column's own.
        published: Column to figure, as printed.
    """

    names: Mapping[str, object]
    instead: Mapping[str, str]
    metrics: Mapping[str, str]
    published: Mapping[str, float | None]


@dataclass(frozen=True)
class Recipe:
    """A table, how to get at its figures, and what was published.

    Attributes:
        path: File.
        title: What is compared.
        paper: Where the published figures stand.
        table: Table or figure of the paper.
        notes: Sentences that a reader of the table should know.
        seeds: How many seeds, 0 and upwards.
        names: Values that stages may refer to.
        stages: By name.
        columns: By heading.
        rows: By heading.
        budget: Name of the budget.
        budget_note: What it cuts down; empty for :data:`FULL`.
        figure: Picture of the table, if it has one.
        folds: Most seeds that there can be, where a seed is a fold; 0 for any number.
        pictures: By heading.
    """

    path: Path
    title: str
    paper: str
    table: str
    notes: tuple[str, ...]
    seeds: int
    names: Mapping[str, object]
    stages: Mapping[str, Stage]
    columns: Mapping[str, Column]
    rows: Mapping[str, Row]
    budget: str
    budget_note: str
    figure: Curve | None = None
    folds: int = 0
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    def metric(self, row: str, column: str) -> str:
        """What a cell shows."""
        return self.rows[row].metrics.get(column, self.columns[column].metric)


def read_recipe(path: str | Path, budget: str = FULL, names: Mapping[str, str] = MappingProxyType({})) -> Recipe:
    """Read a recipe with the overrides of one of its budgets.

    Args:
        path: YAML file; it may inherit others by ``_base_``, as configs do.
        budget: :data:`FULL`, or a key of the recipe's ``budgets``.
        names: Values that replace those of ``names``. A relative path in place of a folder counts from where the
            command is given.

    Raises:
        RecipeError: no such file or budget, no YAML, or a field that is unknown, missing or of another type.
    """
    path = Path(path)
    content = _load(path)
    fail = _failing(path)
    _fields(content, '', _RECIPE, fail)
    budgets = content.pop('budgets', {})
    for name, overrides in budgets.items():
        _fields(overrides, f'budgets.{name}', _BUDGET, fail)
    if budget != FULL and budget not in budgets:
        raise fail('budgets', f'found no {budget!r}, only {", ".join([FULL, *budgets])}')
    overrides = budgets.get(budget, {})
    note = overrides.pop('note', '')
    content = _merged(content, overrides)
    stages = {name: _stage(node, f'stages.{name}', fail) for name, node in content['stages'].items()}
    columns = {name: _column(node, f'columns.{name}', stages, fail) for name, node in content['columns'].items()}
    for name, column in columns.items():
        _check_average(column, columns, f'columns.{name}.average', fail)
    rows = {name: _row(node, f'rows.{name}', stages, columns, fail) for name, node in content['rows'].items()}
    figure = None
    if 'figure' in content:
        _fields(content['figure'], 'figure', _FIGURE, fail)
        figure = read_curve(content['figure'], list(rows), list(columns), fail)
    pictures = {}
    for name, node in content.get('pictures', {}).items():
        _fields(node, f'pictures.{name}', _PICTURE, fail)
        pictures[name] = read_picture(node, f'pictures.{name}', list(rows), fail)
    known = content.get('names', {})
    for name in names:
        _known(name, known, 'names', 'name', fail)
    for name in sorted(set(known) & (set(stages) | _RESERVED)):
        raise fail(f'names.{name}', 'is the name of a stage, or of what the tool itself gives; choose another')
    if content['seeds'] < 1:
        raise fail('seeds', f'is {content["seeds"]}, expected at least 1')
    return Recipe(
        path, content['title'], content['paper'], content['table'], tuple(content.get('notes', ())), content['seeds'],
        {**known, **{name: _place(value, known[name]) for name, value in names.items()}}, stages, columns, rows,
        budget, note, figure, content.get('folds', 0), pictures,
    )  # fmt: skip


def _load(path: Path) -> dict:
    if not path.is_file():
        raise RecipeError(f'recipe {path}: no such file')
    try:
        return Config.fromfile(str(path), use_predefined_variables=False).to_dict()
    except (yaml.YAMLError, KeyError, FileNotFoundError, TypeError, ValueError) as error:
        raise RecipeError(f'recipe {path}: cannot be read, {" ".join(str(error).split())}') from error


def _place(value: str, instead_of: object) -> str:
    """A path that replaces a folder, which is one that begins with a name in braces, as an absolute path."""
    return value if value.startswith('{') or not str(instead_of).startswith('{') else str(Path(value).absolute())


def _failing(path: Path) -> Callable[[str, str], RecipeError]:
    return lambda field, problem: RecipeError(f'recipe {path}: {field}: {problem}')


def _fields(node: object, where: str, allowed: tuple[dict, dict], fail: Callable[[str, str], RecipeError]) -> None:
    """Raise unless ``node`` is a dict with all required fields, no unknown ones, each of its type."""
    required, optional = allowed
    known = required | optional
    if not isinstance(node, dict):
        raise fail(where, f'is {node!r}, expected fields ({", ".join(known)})')
    for name, value in node.items():
        field = f'{where}.{name}' if where else str(name)
        if name not in known:
            raise fail(field, f'is no known field, expected one of {", ".join(known)}')
        if not isinstance(value, known[name]) or isinstance(value, bool):
            kinds = known[name] if isinstance(known[name], tuple) else (known[name],)
            raise fail(field, f'is {value!r}, expected {" or ".join(kind.__name__ for kind in kinds)}')
    for name in required:
        if name not in node:
            raise fail(where or 'the file', f'has no field {name!r}, which it needs')


def _merged(base: dict, over: Mapping) -> dict:
    """``base`` with the entries of ``over``; dicts are merged, everything else is replaced."""
    both = {name: _merged(base[name], value) if isinstance(value, Mapping) and isinstance(base.get(name), dict)
            else value for name, value in over.items()}  # fmt: skip
    return base | both


def _stage(node: object, where: str, fail: Callable[[str, str], RecipeError]) -> Stage:
    kind = node.get('kind') if isinstance(node, dict) else None
    if kind not in KINDS:
        raise fail(f'{where}.kind', f'is {kind!r}, expected one of {", ".join(KINDS)}')
    required, optional = KINDS[kind]
    _fields(node, where, ({'kind': str, 'folder': str} | required, optional), fail)
    fields = {name: value for name, value in node.items() if name not in ('kind', 'folder')}
    return Stage(kind, node['folder'], fields)


def _column(node: object, where: str, stages: Mapping, fail: Callable[[str, str], RecipeError]) -> Column:
    is_average = isinstance(node, dict) and 'average' in node
    _fields(node, where, _AVERAGE if is_average else _COLUMN, fail)
    column = Column(**(node | {'average': tuple(node['average'])} if is_average else node))
    _known(column.statistic, STATISTICS, f'{where}.statistic', 'statistic', fail)
    if is_average:
        if not column.average:
            raise fail(f'{where}.average', 'names no columns, expected some')
        return column
    _known(column.stage, stages, f'{where}.stage', 'stage', fail)
    if stages[column.stage].kind == 'command' and 'metrics' not in stages[column.stage].fields:
        raise fail(
            f'{where}.stage',
            f'{column.stage!r} is a command without the field metrics, so it has no figures; name its file of figures, '
            'or a train or test stage',
        )
    return column


def _check_average(column: Column, columns: Mapping[str, Column], where: str, fail: Callable) -> None:
    for part in column.average:
        _known(part, columns, where, 'column', fail)
        if columns[part].average:
            raise fail(where, f'{part!r} is an average itself, expected columns with a stage')


def _row(node: object, where: str, stages: Mapping, columns: Mapping, fail: Callable[[str, str], RecipeError]) -> Row:
    _fields(node, where, _ROW, fail)
    row = Row(*(node.get(name, {}) for name in ('names', 'instead', 'metrics', 'published')))
    for name in row.names:
        if name in stages or name in _RESERVED:
            raise fail(f'{where}.names.{name}', 'is the name of a stage, or of what the tool itself gives')
    for name, other in row.instead.items():
        _known(name, stages, f'{where}.instead', 'stage', fail)
        _known(other, stages, f'{where}.instead.{name}', 'stage', fail)
    for name in row.metrics:
        _known(name, columns, f'{where}.metrics', 'column', fail)
        if columns[name].average:
            raise fail(f'{where}.metrics.{name}', 'is an average of columns, which has no metric of its own')
    for name, value in row.published.items():
        _known(name, columns, f'{where}.published', 'column', fail)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise fail(f'{where}.published.{name}', f'is {value!r}, expected a number or null')
    return row


def _known(name: str, known: Mapping, where: str, what: str, fail: Callable[[str, str], RecipeError]) -> None:
    if name not in known:
        raise fail(where, f'{name!r} is no {what}, expected one of {", ".join(known)}')
