"""Processes of stages: forked from a server that has the imports done, or started; both end with the runner."""

import ctypes
import multiprocessing.connection
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

from mmengine.config import Config

from histomm.config_file import used_scopes

from .commands import Command, Launch

GRACE_SECONDS = 10


def _die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone, however it went (PR_SET_PDEATHSIG)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _end_with(runner: int) -> None:
    """End this process and its children when the runner is gone."""
    multiprocessing.connection.wait([runner])
    os.killpg(0, signal.SIGTERM)


def _fork(argv: tuple[str, ...], folder: str, log: str, start_method: str) -> None:
    """In a process forked from a server that has the imports done: be ``python argv``."""
    os.setsid()
    # It would start processes of its own by another server, which had to import everything once more.
    multiprocessing.set_start_method(start_method, force=True)
    # The server outlives a runner that was killed as long as it has children, so these have to look out themselves.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    with open(log, 'ab', buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.argv = list(argv)
    sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    runpy.run_path(argv[0], run_name='__main__')


class Started:
    """A process with a session of its own, so that all that it starts can be ended with it."""

    def __init__(self, command: Command, repo: Path, log: Path, forked: bool) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file:
            file.write(f'$ {command.text()}\n')
        self._fork = self._popen = None
        if forked and command.argv[0] == 'python':
            server = multiprocessing.get_context('forkserver')
            self._fork = server.Process(
                target=_fork, args=(command.argv[1:], str(repo), str(log), multiprocessing.get_start_method())
            )
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


def start_fork_server(configs: list[Config], log: Path) -> None:
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


def may_fork(launch: Launch) -> bool:
    """Forked stages save the imports; after the imports a fork cannot use CUDA any more."""
    import torch

    return launch.launcher == 'none' and sys.platform == 'linux' and not torch.cuda.is_available()
