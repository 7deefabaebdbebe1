"""What ran, with what, and whether it still counts.

Each run has a record beside the results, with the parts of its fingerprint: command, config, data and the
fingerprints of the runs whose results it uses. It counts as finished if its record says so and the parts are those of
today. Places are left out of it, so data and results may be moved.
"""

import json
import shutil
import statistics
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.config import Config

from histomm.engine.fileio import write_atomic

from .check import merged_config
from .contents import Contents, digest_of
from .plan import ROOT, Plan, Run
from .recipe import Column


class Records:
    """Fingerprints and records of all runs of a plan.

    Args:
        plan: The plan, checked.
        repo: Where configs and tools lie.
        root: Folder of the data.
        work: Folder of the results.
    """

    def __init__(self, plan: Plan, repo: Path, root: Path, work: Path) -> None:
        self.plan, self.repo, self.root, self.work = plan, repo, root, work
        self.wanted = {folder: sorted(metrics) for folder, metrics in plan.goals().items()}
        self.drawn = {drawing.folder for drawing in plan.drawings}
        self.used = {need for run in plan.runs.values() for need in run.needs} | self.drawn
        self._contents = Contents(work / 'records' / '.contents.json')
        self.parts: dict[str, dict] = {}
        for folder, run in plan.runs.items():
            self.parts[folder] = self._parts(run)
        if self._contents.path.is_file():
            self._contents.keep()

    def _parts(self, run: Run) -> dict:
        command = [run.kind, run.target, *run.args, *(f'{key}={value}' for key, value in sorted(run.options.items()))]
        config = '' if run.kind == 'command' else digest_of(merged_config(run, self.repo).to_dict())
        data = {path: self._contents.digest(self._place(path)) for path in sorted(run.data() | self._own_files(run))}
        needs = {folder: digest_of(self.parts[folder]) for folder in run.needs}
        return dict(command=command, config=config, data=data, needs=needs)

    def _own_files(self, run: Run) -> set[str]:
        """Arguments of a command that are files in the repository, such as tables of folds."""
        return {text for text in run.args if run.kind == 'command' and text and (self.repo / text).is_file()}

    def _place(self, path: str) -> Path:
        return Path(path.replace(ROOT, str(self.root))) if path.startswith((ROOT, '/')) else self.repo / path

    def folder(self, run: Run) -> Path:
        """Where the results of a run lie."""
        return self.work / run.folder

    def log(self, run: Run) -> Path:
        """Where what a run says is kept."""
        return self.work / 'logs' / f'{_flat(run.folder)}.txt'

    def read(self, run: Run) -> dict:
        """The record of a run, whatever it was made with; empty if it never ran."""
        path = self._path(run)
        return json.loads(path.read_text()) if path.is_file() else {}

    def finished(self, run: Run) -> bool:
        """Whether the run, as it stands in the plan, came to its end with every metric that is wanted of it."""
        record = self.read(run)
        metrics = record.get('metrics', {})
        same = record.get('parts') == self.parts[run.folder]
        return same and 'seconds' in record and all(name in metrics for name in self.wanted.get(run.folder, ()))

    def values(self, row: str, name: str) -> list[float | None]:
        """What each run behind a cell gave, before scaling; of a column that averages others, their scaled means.

        None where it is not finished.
        """
        if self.plan.recipe.columns[name].average:
            return self._averages(row, self.plan.recipe.columns[name])
        metric = self.plan.recipe.metric(row, name)
        runs = [self.plan.runs[folder] for folder in self.plan.cells[row, name]]
        return [self.read(run)['metrics'][metric] if self.finished(run) else None for run in runs]

    def _averages(self, row: str, column: Column) -> list[float | None]:
        """For each seed the mean of the scaled values of other columns; None where one of them is not finished."""
        parts = []
        for name in column.average:
            values, scale = self.values(row, name), self.plan.recipe.columns[name].scale
            scaled = [None if value is None else value * scale for value in values]
            # what uses the seed nowhere has one value for all seeds
            parts.append(scaled * self.plan.seeds if len(scaled) == 1 else scaled)
        count = max(len(self.plan.cells[row, name]) for name in column.average)
        return [None if None in seed else statistics.fmean(seed) for seed in list(zip(*parts, strict=True))[:count]]

    def usable(self, run: Run) -> bool:
        """Whether it is finished, and its results are there for others to use."""
        return self.finished(run) and self.missing(run) is None

    def due(self) -> list[Run]:
        """Runs to do, in order: those behind what is not shown yet, as far back as results are missing."""
        found: set[str] = set()

        def visit(folder: str) -> None:
            if folder not in found:
                found.add(folder)
                for need in self.plan.runs[folder].needs:
                    if not self.usable(self.plan.runs[need]):
                        visit(need)

        for folder in self.wanted:
            run = self.plan.runs[folder]
            if not (self.usable(run) if folder in self.drawn else self.finished(run)):
                visit(folder)
        return [run for folder, run in self.plan.runs.items() if folder in found]

    def changes(self, run: Run) -> list[str]:
        """What is not as it was when the run was last begun, in words; empty for one that never was."""
        before, now = self.read(run).get('parts'), self.parts[run.folder]
        if not before:
            return []
        words = {'command': 'its command', 'config': 'its config'}
        found = [text for part, text in words.items() if before[part] != now[part]]
        for part, text in (('data', 'the data in'), ('needs', 'the stage')):
            keys = sorted(key for key in {**before[part], **now[part]} if before[part].get(key) != now[part].get(key))
            found += [f'{text} {str(self._place(key)) if part == "data" else key}' for key in keys]
        return found

    def state(self, run: Run) -> str:
        """How far the run is, in words."""
        if self.finished(run):
            return f'finished in {self.read(run)["seconds"]:.0f} s'
        if changes := self.changes(run):
            return f'to be run anew, as {changes[0]} has changed since it last ran'
        return 'begun' if self.read(run) else 'not run yet'

    def begin(self, run: Run) -> str | None:
        """Note the start and make room for it; what was set aside, if anything.

        Results of a command are removed. Those of a training stay, so that it goes on, unless they were made with
        something else: then they are set aside, and so are those of a test.
        """
        folder, aside = self.folder(run), None
        if folder.exists() and run.kind == 'command':
            shutil.rmtree(folder)
        elif folder.exists() and (self.changes(run) or not self.read(run)):
            aside = _unused(folder)
            folder.rename(aside)
            if self._path(run).is_file():
                self._path(run).rename(aside / 'record.json')
        elif run.kind == 'train':
            _forget_unmeasured_end(folder, self.wanted.get(run.folder, []), self._last(run))
        folder.mkdir(parents=True, exist_ok=True)
        self._contents.keep()
        self._write(run, dict(parts=self.parts[run.folder]))
        return str(aside) if aside else None

    def end(self, run: Run, seconds: float, about: dict) -> None:
        """Note the end of a run whose results are whole: its metrics, and what others use.

        Args:
            run: The run.
            seconds: How long it took.
            about: With what it was made.

        Raises:
            ValueError: something is missing or not whole.
        """
        if run.folder in self.used and (problem := self.missing(run)):
            raise ValueError(problem)
        metrics = (
            command_metrics(self.folder(run), run.metrics)
            if run.kind == 'command'
            else last_metrics(self.folder(run), run.kind)
        )
        lacking = [name for name in self.wanted.get(run.folder, ()) if name not in metrics]
        if lacking:
            raise ValueError(f'{self.folder(run)}: the last evaluation has no {lacking[0]}, only {", ".join(metrics)}')
        before = self.read(run)
        self._write(run, before | dict(seconds=round(seconds, 1), metrics=metrics, **about))

    def missing(self, run: Run) -> str | None:
        """What of the results that others may use is not there or not whole, in a sentence."""
        folder = self.folder(run)
        if run.kind == 'command':
            absent = [name for name in run.outputs if not (folder / name).exists()]
            return f'{folder / absent[0]} was not written' if absent else None
        if run.kind == 'train':
            path = folder / self._last(run)
            return None if path.is_file() and zipfile.is_zipfile(path) else f'{path} is missing or cut off'
        return None

    def _last(self, run: Run) -> str:
        return last_checkpoint_name(merged_config(run, self.repo))

    def _path(self, run: Run) -> Path:
        return self.work / 'records' / f'{_flat(run.folder)}.json'

    def _write(self, run: Run, record: dict) -> None:
        write_atomic(json.dumps(record, indent=1).encode(), self._path(run))


def last_checkpoint_name(cfg: Config) -> str:
    """Name of the checkpoint that a training of this config ends with."""
    epochs = cfg.train_cfg.get('max_epochs')
    return f'epoch_{epochs}.pth' if epochs else f'iter_{cfg.train_cfg.max_iters}.pth'


def last_metrics(folder: Path, kind: str) -> dict[str, float]:
    """Metrics of a finished test, or of the evaluation that a training ended with; empty if it ended without one."""
    pattern = '*/vis_data/scalars.json' if kind == 'train' else '*/*.json'
    files = [path for path in folder.glob(pattern) if kind == 'train' or path.stem == path.parent.name]
    written = [lines for path in sorted(files) if (lines := path.read_text().splitlines())]
    if not written:
        return {}
    row = json.loads(written[-1][-1])
    if kind == 'train' and 'loss' in row:
        return {}
    return {name: value for name, value in row.items() if isinstance(value, int | float) and name != 'step'}


def command_metrics(folder: Path, name: str) -> dict[str, float]:
    """Figures in the JSON file that a command left; those in dicts within dicts are called ``outer/inner``.

    Raises:
        ValueError: There is no such file, or it holds no JSON object.
    """
    if not name:
        return {}
    path = folder / name
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} was not written, or is no JSON: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected an object with figures')
    return dict(_figures(content, ''))


def _figures(node: dict, prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _figures(value, f'{prefix}{name}/')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f'{prefix}{name}', value


def _forget_unmeasured_end(folder: Path, wanted: Iterable[str], last: str) -> None:
    """Remove the last checkpoint of a training that was stopped before its last evaluation.

    A resumed training that has nothing left to train does not evaluate either, so it goes back to the one before.
    """
    metrics = last_metrics(folder, 'train')
    if (folder / last).is_file() and not all(name in metrics for name in wanted):
        (folder / last).unlink()
        (folder / 'last_checkpoint').unlink(missing_ok=True)


def _unused(folder: Path) -> Path:
    number = 1
    while (path := folder.with_name(f'{folder.name}.old{number}')).exists():
        number += 1
    return path


def _flat(folder: str) -> str:
    return folder.replace('/', '--')
