"""A plan held against tools, configs and data, before anything runs."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from histomm.config_file import read_config, require_libraries

from .plan import ROOT, WORK, Plan, Run
from .recipe import RecipeError

_COCO = re.compile(r'(?:(\w+)/)?(bbox|segm)_mAP(?:_50|_75|_s|_m|_l)?')
_JACCARD_DICE = re.compile(r'(?:(\w+)/)?(?:jaccard|dice)_(micro|macro|batch_mean)')


@cache
def _read(path: str) -> Config:
    return read_config(path)


def merged_config(run: Run, repo: Path) -> Config:
    """The config of a training or test with its options, places still unfilled."""
    path = run.target if '::' in run.target else str(repo / run.target)
    cfg = Config(_read(path).to_dict())
    cfg.merge_from_dict({key: parse_option(value) for key, value in run.options.items()})
    return cfg


def parse_option(text: str) -> object:
    """What ``--cfg-options NAME=text`` makes of a text."""
    return DictAction._parse_iterable(text)


def check_plan(plan: Plan, repo: Path, root: Path, work: Path) -> None:
    """Raise for the first thing that would fail, or be ignored, later.

    Args:
        plan: The plan.
        repo: Where configs and tools lie.
        root: Folder of the data.
        work: Folder of the results.

    Raises:
        RecipeError: a missing script, config, option or library, a metric that the config's evaluator
            does not give, or a text that cannot be written on a command line.
    """
    _read.cache_clear()
    goals = plan.goals()
    for folder, run in plan.runs.items():
        part = 'pictures' if run.stage in plan.recipe.pictures else 'stages'
        where = f'recipe {plan.recipe.path}: {part}.{run.stage}'
        if run.kind == 'command':
            if not (repo / run.target).is_file():
                raise RecipeError(f'{where}.script: {run.target}: no such file')
            if run.metrics and run.metrics not in run.outputs:
                raise RecipeError(f'{where}.metrics: {run.metrics!r} is none of its outputs, {", ".join(run.outputs)}')
        else:
            _check_config(run, repo, where)
            for metric in sorted(goals.get(folder, ())):
                _check_metric(metric, run, repo, plan)
    for folder in (root, work):
        if re.search(r'[\s,()\[\]=]', str(folder)):
            raise RecipeError(
                f'{folder}: has a space, bracket, comma or = in its path, which config options cannot hold'
            )


def check_data(plan: Plan, root: Path) -> None:
    """Raise :class:`RecipeError` with all data that are read, have to be there, and do not exist."""
    places = {path.replace(ROOT, str(root)) for run in plan.runs.values() for path in run.data() - run.optional()}
    missing = sorted(place for place in places if not Path(place).exists())
    if missing:
        raise RecipeError(
            f'recipe {plan.recipe.path}: reads {", ".join(missing)}, found nothing there; put the data there, say with '
            '--data-root or --set where they are, or choose what to run with --rows and --columns'
        )


def _check_config(run: Run, repo: Path, where: str) -> None:
    try:
        path = run.target if '::' in run.target else str(repo / run.target)
        if '::' not in path and not Path(path).is_file():
            raise FileNotFoundError('no such file')
        present = _read(path)
        require_libraries(present, run.target)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise RecipeError(f'{where}.config: {run.target}: {error}') from error
    for key, text in run.options.items():
        field = f'{where}.options.{key}'
        if (key not in run.new) != has_field(present, key):
            raise RecipeError(
                f'{field}: {run.target} has this field already; leave out the +' if key in run.new
                else f'{field}: {run.target} has no such field; to add it, write +{key}'
            )  # fmt: skip
        plain = text.replace(ROOT, '').replace(WORK, '')
        if re.search(r'\s', plain):
            raise RecipeError(f'{field}: {text!r} has white space, which config options cannot hold')


def has_field(cfg: Config | ConfigDict, dotted: str) -> bool:
    """Whether the config has the field that an option names."""
    node = cfg
    for part in dotted.split('.'):
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                return False
            node = node[int(part)]
        elif isinstance(node, Mapping | Config) and part in node:
            node = node[part]
        else:
            return False
    return True


def _check_metric(metric: str, run: Run, repo: Path, plan: Plan) -> None:
    part = 'val_evaluator' if run.kind == 'train' else 'test_evaluator'
    given = merged_config(run, repo).get(part)
    evaluators = given if isinstance(given, (list, tuple)) else [given] if given else []
    if not any(_gives(evaluator, metric) for evaluator in evaluators):
        columns = [column for row, column in plan.cells if plan.recipe.metric(row, column) == metric]
        found = ', '.join(str(evaluator.type) for evaluator in evaluators) or 'none'
        raise RecipeError(
            f'recipe {plan.recipe.path}: columns.{columns[0]}.metric: {metric!r} is not given by the {part} of '
            f'{run.target} (found: {found}); name a metric that it logs'
        )


def _gives(evaluator: ConfigDict, metric: str) -> bool:
    """Whether an evaluator may log a metric; certain for those known here, by the prefix for others."""
    kind = str(evaluator.type).rpartition('.')[2]
    if kind == 'CocoMetric':
        found = _COCO.fullmatch(metric)
        kinds = evaluator.get('metric', 'bbox')
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return bool(found) and found[1] == evaluator.get('prefix', 'coco') and found[2] in kinds
    if kind == 'JaccardDiceMetric':
        found = _JACCARD_DICE.fullmatch(metric)
        given = {'micro', 'macro', *(['batch_mean'] if evaluator.get('batch_mean') else [])}
        return bool(found) and found[1] == evaluator.get('prefix') and found[2] in given
    return 'prefix' not in evaluator or metric.rpartition('/')[0] == (evaluator.prefix or '')
