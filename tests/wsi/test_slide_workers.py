"""Every way to work through a list gives every result, and a worker that dies costs its own item only."""

import os
import time

import pytest
from dying_workers import die_on_three, leave_pid, square

from histomm.wsi.workers import WorkerDiedError, in_processes, in_this_process

SQUARES = {number: number**2 for number in range(7)}


def test_all_results():
    assert list(in_this_process(square, range(7))) == list(SQUARES.items())
    assert dict(in_processes(square, range(7), 2, 'fork')) == SQUARES
    assert dict(in_processes(square, range(7), 3)) == SQUARES
    assert list(in_processes(square, [], 2, 'fork')) == []


@pytest.mark.parametrize('workers', [1, 2])
def test_dying_worker_costs_its_own_item(workers):
    results = dict(in_processes(die_on_three, range(7), workers, 'fork'))
    assert isinstance(results.pop(3), WorkerDiedError)
    assert results == {number: value for number, value in SQUARES.items() if number != 3}


def test_errors_are_raised():
    with pytest.raises(TypeError):
        list(in_processes(square, ['a'], 2, 'fork'))


def test_workers_end_with_a_killed_parent(tmp_path):
    parent = os.fork()
    if not parent:
        list(in_processes(leave_pid, [tmp_path / 'a', tmp_path / 'b'], 2))
        os._exit(0)
    pids = []
    deadline = time.monotonic() + 30
    while len(pids) < 2 and time.monotonic() < deadline:
        pids = [int(path.name.split('-')[1]) for path in tmp_path.iterdir()]
        time.sleep(0.02)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    while any(os.path.exists(f'/proc/{pid}') for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not any(os.path.exists(f'/proc/{pid}') for pid in pids)
