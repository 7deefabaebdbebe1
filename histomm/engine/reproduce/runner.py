"""Runs what of a plan is not finished, in order or side by side."""

import fcntl
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from histomm.engine.provenance import commit, machine, versions

from .check import merged_config
from .commands import Commands
from .plan import Plan, Run, ancestors
from .processes import Started, may_fork, start_fork_server
from .record import Records

PROGRESS_SECONDS = 30
_PROGRESS = re.compile(r'(?:Epoch|Iter)\((?:train|val|test)\).*')


class StageFailed(RuntimeError):
    """One or more stages ended with an error; the message names their logs."""


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Keep a second run out of the same folder."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / '.lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StageFailed(f'{work} is in use by another run; wait for it, or choose another --work-dir') from error
        yield


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def run_plan(
    plan: Plan,
    records: Records,
    commands: Commands,
    say: Callable[[str], None] = print,
    after_stage: Callable[[], None] = lambda: None,
) -> None:
    """Run what is not finished.

    Args:
        plan: The plan, checked.
        records: What is finished.
        commands: Its command lines.
        say: Where progress goes.
        after_stage: Called at the beginning and after each stage.

    Raises:
        StageFailed: a stage ended with an error, or another process works in the folder.
    """
    with _locked(records.work):
        before = signal.signal(signal.SIGTERM, _terminated)
        session = _Session(plan, records, commands, say, after_stage)
        try:
            session.loop()
        finally:
            for started in session.running.values():
                started.stop()
            signal.signal(signal.SIGTERM, before)
    if session.failed:
        raise StageFailed('\n'.join(session.failed.values()))


class _Session:
    """One call of :func:`run_plan`."""

    def __init__(
        self, plan: Plan, records: Records, commands: Commands, say: Callable[[str], None], after: Callable[[], None]
    ) -> None:
        self.plan, self.records, self.commands, self.say, self.after = plan, records, commands, say, after
        self.due = {run.folder: run for run in records.due()}
        self.total, self.begun = len(self.due), 0
        self.running: dict[str, Started] = {}
        self.since: dict[str, float] = {}
        self.shown: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.about = dict(commit=commit(commands.repo), machine=machine(), versions=versions())
        self.forked = bool(self.due) and may_fork(commands.launch)
        if self.forked:
            configs = [merged_config(run, commands.repo) for run in self.due.values() if run.kind != 'command']
            start_fork_server(configs, records.work / 'logs' / 'server.txt')

    def loop(self) -> None:
        """Start what can be started, until nothing is left; a picture that failed stops nothing else."""
        done = [run.folder for run in self.plan.runs.values() if self.records.finished(run)]
        self.say(f'{len(done)} of {len(self.plan.runs)} stages are finished, {self.total} are to be run')
        self.after()
        launch = self.commands.launch
        while self.due or self.running:
            free = launch.jobs - len(self.running)
            if free and (launch.keep_going or not self.failed.keys() - self.records.drawn):
                for run in self._ready()[:free]:
                    self._start(run)
            if not self.running:
                return
            time.sleep(0.05)
            for folder, started in list(self.running.items()):
                if (status := started.status()) is not None:
                    del self.running[folder]
                    self._finish(self.plan.runs[folder], status)
                    self.after()
                else:
                    self._show(self.plan.runs[folder])

    def _ready(self) -> list[Run]:
        waiting = {*self.due, *self.running, *self.failed}
        return [run for run in self.due.values() if not waiting & set(ancestors(self.plan, run.folder))]

    def _start(self, run: Run) -> None:
        del self.due[run.folder]
        self.begun += 1
        command = self.commands.of(run)
        for change in self.records.changes(run)[:1]:
            self.say(f'{run.folder}: {change} has changed since it last ran, so it runs anew')
        if aside := self.records.begin(run):
            self.say(f'{run.folder}: what was there is now in {aside}')
        self.say(f'[{self.begun}/{self.total}] {run.folder}\n  $ {command.text()}')
        log = self.records.log(run)
        self.since[run.folder] = self.shown[run.folder] = time.monotonic()
        self.running[run.folder] = Started(command, self.commands.repo, log, self.forked)

    def _finish(self, run: Run, status: int) -> None:
        seconds, log = time.monotonic() - self.since[run.folder], self.records.log(run)
        problem = f'ended with status {status}' if status else None
        if not problem:
            try:
                self.records.end(run, seconds, self.about)
                self.say(f'  {run.folder}: {seconds:.0f} s')
                return
            except ValueError as error:
                problem = f'ended well, but {error}'
        tail = ''.join(f'    {line}\n' for line in log.read_text(errors='replace').splitlines()[-25:])
        self.say(f'{tail}  {run.folder}: {problem}, see {log}')
        self.failed[run.folder] = f'the stage {run.folder} {problem}, see {log}; mend it and give the command again'

    def _show(self, run: Run) -> None:
        """Now and then the last line of progress."""
        if time.monotonic() - self.shown[run.folder] < PROGRESS_SECONDS:
            return
        self.shown[run.folder] = time.monotonic()
        with self.records.log(run).open('rb') as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = _PROGRESS.findall(file.read().decode(errors='replace'))
        if lines:
            self.say(f'    {run.folder}: {" ".join(lines[-1].split())[:110]}')
