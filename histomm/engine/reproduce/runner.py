"""Runs what of a plan is not finished, in order or side by side, each stage as one of the repository's commands."""

import ctypes
import fcntl
import multiprocessing.connection
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from types import FrameType

from mmengine.config import Config

from histomm.config_file import used_scopes
from histomm.engine.provenance import commit, machine, versions

from .check import merged_config
from .plan import ROOT, WORK, Plan, Run, ancestors
from .recipe import RecipeError
from .record import Records

LAUNCHERS = ('none', 'pytorch', 'slurm')
PROGRESS_SECONDS = 30
GRACE_SECONDS = 10
_PROGRESS = re.compile(r'(?:Epoch|Iter)\((?:train|val|test)\).*')


class StageFailed(RuntimeError):
    """One or more stages ended with an error; the message names their logs."""


@dataclass(frozen=True)
class Launch:
    """How stages are started.

    Attributes:
        launcher: One of :data:`LAUNCHERS`, for trainings and tests.
        gpus: Processes of each training and test, with ``pytorch`` and ``slurm``. The batch is shared out among them.
        partition: Of Slurm.
        jobs: Stages side by side.
        keep_going: Go on with what does not need a stage that failed.
    """

    launcher: str = 'none'
    gpus: int = 1
    partition: str = ''
    jobs: int = 1
    keep_going: bool = False


@dataclass(frozen=True)
class Command:
    """What is typed in the repository.

    Attributes:
        argv: Program and arguments.
        env: Variables before it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The line, quoted for a shell."""
        return ' '.join([*(f'{name}={shlex.quote(value)}' for name, value in self.env.items()), shlex.join(self.argv)])


class Commands:
    """Command lines of the runs of a plan.

    Args:
        repo: Where configs and tools lie; commands are for this folder.
        root: Folder of the data.
        work: Folder of the results.
        launch: How to start.
    """

    def __init__(self, repo: Path, root: Path, work: Path, launch: Launch) -> None:
        self.repo, self.launch = repo, launch
        self.places = {ROOT: self._shown(root), WORK: self._shown(work)}

    def _shown(self, path: Path) -> str:
        path = path.absolute()
        return str(path.relative_to(self.repo)) if path.is_relative_to(self.repo) else str(path)

    def _fill(self, text: str) -> str:
        for name, place in self.places.items():
            text = text.replace(name, place)
        return text

    def of(self, run: Run) -> Command:
        """The command of a run."""
        if run.kind == 'command':
            return Command(('python', run.target, *map(self._fill, run.args)))
        options = [f'{key}={self._fill(value)}' for key, value in run.options.items()]
        if self.launch.gpus > 1 and run.kind == 'train':
            options.append(f'train_dataloader.batch_size={self._share(run)}')
        work, rest = self._fill(run.out), ['--cfg-options', *options] if options else []
        return self._test(run, work, rest) if run.kind == 'test' else self._train(run, work, ['--resume', *rest])

    def _train(self, run: Run, work: str, rest: list[str]) -> Command:
        gpus = self.launch.gpus
        if self.launch.launcher == 'pytorch':
            return Command(('bash', 'tools/dist_train.sh', run.target, str(gpus), '--work-dir', work, *rest))
        if self.launch.launcher == 'slurm':
            place = self.launch.partition, run.folder.replace('/', '_'), run.target, work
            return Command(('bash', 'tools/slurm_train.sh', *place, *rest), self._gpus())
        return Command(('python', 'tools/train.py', run.target, '--work-dir', work, *rest))

    def _test(self, run: Run, work: str, rest: list[str]) -> Command:
        checkpoint = self._fill(run.args[0])
        if self.launch.launcher == 'pytorch':
            processes = str(self.launch.gpus)
            return Command(('bash', 'tools/dist_test.sh', run.target, checkpoint, processes, '--work-dir', work, *rest))
        test = 'python', 'tools/test.py', run.target, checkpoint, '--work-dir', work, *rest
        if self.launch.launcher == 'slurm':
            return Command(('srun', '-p', self.launch.partition, '--gres=gpu:1', '--ntasks=1', *test))
        return Command(test)

    def _gpus(self) -> dict[str, str]:
        return {'GPUS': str(self.launch.gpus), 'GPUS_PER_NODE': str(min(8, self.launch.gpus))}

    def _share(self, run: Run) -> int:
        batch = merged_config(run, self.repo).train_dataloader.batch_size
        if batch % self.launch.gpus:
            raise RecipeError(
                f'{run.target}: the batch of {batch} cannot be shared out among --gpus {self.launch.gpus}; '
                'choose a number that divides it'
            )
        return batch // self.launch.gpus


def script(plan: Plan, records: Records, commands: Commands) -> str:
    """All commands of a plan as a shell script, with what is known of each."""
    lines = ['# All stages in order, to be typed or sourced in the folder of the repository.']
    for run in plan.runs.values():
        state = f'finished in {records.read(run)["seconds"]:.0f} s' if records.finished(run) else 'not finished'
        lines += ['', f'# {run.folder}: {state}', commands.of(run).text()]
    return '\n'.join(lines) + '\n'


# ---- processes


def _die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone, however it went (PR_SET_PDEATHSIG)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _end_with(runner: int) -> None:
    """End this process and its children when the runner is gone."""
    multiprocessing.connection.wait([runner])
    os.killpg(0, signal.SIGTERM)


def _fork(argv: tuple[str, ...], folder: str, log: str) -> None:
    """In a process forked from a server that has the imports done: be ``python argv``."""
    os.setsid()
    # The server outlives a runner that was killed as long as it has children, so these have to look out themselves.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    with open(log, 'ab', buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.argv = list(argv)
    sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    runpy.run_path(argv[0], run_name='__main__')


class _Started:
    """A process with a session of its own, so that all that it starts can be ended with it."""

    def __init__(self, command: Command, repo: Path, log: Path, forked: bool) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file:
            file.write(f'$ {command.text()}\n')
        self._fork = self._popen = None
        if forked and command.argv[0] == 'python':
            server = multiprocessing.get_context('forkserver')
            self._fork = server.Process(target=_fork, args=(command.argv[1:], str(repo), str(log)))
            self._fork.start()
            self.pid = self._fork.pid
            return
        program = sys.executable if command.argv[0] == 'python' else command.argv[0]
        # The scripts of tools/ call `python`, which shall be this one.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
        with log.open('ab') as file:
            self._popen = subprocess.Popen(
                [program, *command.argv[1:]], cwd=repo, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                env={**os.environ, 'PATH': path, **command.env}, start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self.pid = self._popen.pid

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._fork.exitcode if self._fork else self._popen.poll()

    def stop(self) -> None:
        """End it and what it started, politely first."""
        for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            end = time.monotonic() + patience
            while self.status() is None and time.monotonic() < end:
                time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _start_fork_server(configs: list[Config], log: Path) -> None:
    """Have a server import once what all stages import; what it says goes to ``log``."""
    scopes = {scope for cfg in configs for scope in used_scopes(cfg)}
    libraries = [f'{name}.{part}' for name in sorted(scopes - {'mmengine'}) for part in ('models', 'datasets')]
    multiprocessing.set_forkserver_preload(['histomm.engine.reproduce', *libraries])
    sys.stdout.flush()
    kept = [os.dup(stream) for stream in (1, 2)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        forkserver.ensure_running()
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)


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


# ---- the run


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
        self.running: dict[str, _Started] = {}
        self.since: dict[str, float] = {}
        self.shown: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.about = dict(commit=commit(commands.repo), machine=machine(), versions=versions())
        self.forked = _may_fork(commands.launch)
        if self.forked:
            configs = [merged_config(run, commands.repo) for run in self.due.values() if run.kind != 'command']
            _start_fork_server(configs, records.work / 'logs' / 'server.txt')

    def loop(self) -> None:
        """Start what can be started, until nothing is left."""
        done = [run.folder for run in self.plan.runs.values() if self.records.finished(run)]
        self.say(f'{len(done)} of {len(self.plan.runs)} stages are finished, {self.total} are to be run')
        self.after()
        while self.due or self.running:
            launch = self.commands.launch
            if not (self.failed and not launch.keep_going):
                for run in self._ready()[: launch.jobs - len(self.running)]:
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
        self.running[run.folder] = _Started(command, self.commands.repo, log, self.forked)

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


def _may_fork(launch: Launch) -> bool:
    """Forked stages save the imports; after the imports a fork cannot use CUDA any more."""
    import torch

    return launch.launcher == 'none' and sys.platform == 'linux' and not torch.cuda.is_available()
