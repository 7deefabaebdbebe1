"""A lock belongs to one process, and to nobody once that has ended."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from histomm.wsi.locks import LockedError, file_lock

HOLD = """
import sys, time
from histomm.wsi.locks import file_lock
with file_lock(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, repo):
    """A process that holds ``tmp_path / 'sub' / 'a.lock'``."""
    command = [sys.executable, '-c', HOLD, str(tmp_path / 'sub' / 'a.lock')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repo) as process:
        assert process.stdout.readline() == 'held\n'
        yield process
        process.kill()


def test_lock_of_another_process_is_respected(tmp_path, holder):
    with (
        pytest.raises(LockedError, match=rf'a\.lock is held by process {holder.pid} on '),
        file_lock(tmp_path / 'sub' / 'a.lock'),
    ):
        pass
    with file_lock(tmp_path / 'sub' / 'b.lock'):
        pass


def test_lock_of_a_dead_process_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / 'sub' / 'a.lock').exists()
    with file_lock(tmp_path / 'sub' / 'a.lock'):
        pass


def test_lock_is_left_on_success_and_failure(tmp_path):
    path = tmp_path / 'a.lock'
    with file_lock(path):
        assert str(os.getpid()) in path.read_text()
        with pytest.raises(LockedError), file_lock(path):
            pass
    assert not path.exists()
    with pytest.raises(RuntimeError), file_lock(path):
        raise RuntimeError
    assert not path.exists()


def test_waits_for_a_while(tmp_path, holder):
    path = tmp_path / 'sub' / 'a.lock'
    with pytest.raises(LockedError), file_lock(path, patience=0.1):
        pass
    threading.Timer(0.2, holder.kill).start()
    with file_lock(path, patience=30):
        assert holder.wait() == -signal.SIGKILL
