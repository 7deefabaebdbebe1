"""Steps of a method in several processes on one machine: what they send, counted, and how long they take."""

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from _collectives import Collective
from mmengine.model import MMDistributedDataParallel
from step import build, make_batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Imported once by a server that the processes are forked from, instead of by each of them.
multiprocessing.set_forkserver_preload(['histomm.models'])

_COUNTED = {
    'allreduce_': ('all-reduce', 0),
    'allgather_': ('all-gather', 1),
    'broadcast_': ('broadcast', 0),
    'alltoall_base_': ('all-to-all', 1),
}
"""Collectives of torch: kind, and which argument has what this process puts in."""


class Job(NamedTuple):
    """What each process does.

    Attributes:
        method: Name in ``step.CONFIGS``.
        batch: Images of a process.
        size: Side of a view.
        queue: Negatives in place of those of the config; none keeps them.
        repeats: Turns that count.
    """

    method: str
    batch: int
    size: int
    queue: int | None
    repeats: int


class Counting(TorchDispatchMode):
    """Notes each collective that runs inside, those of DistributedDataParallel in C++ too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Collective] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run ``func``; raise NotImplementedError if it is a collective that is not counted."""
        if func.namespace == 'c10d':
            name = func._schema.name.removeprefix('c10d::')
            if name not in _COUNTED:
                raise NotImplementedError(f'a step called {name}, of which bytes are not counted')
            kind, at = _COUNTED[name]
            tensors = [args[at]] if isinstance(args[at], Tensor) else args[at]
            self.seen.append(Collective(kind, sum(tensor.numel() * tensor.element_size() for tensor in tensors)))
        return func(*args, **(kwargs or {}))


def totals(collectives: Sequence[Collective]) -> Counter:
    """Bytes put into the collectives of each kind."""
    found: Counter = Counter()
    for one in collectives:
        found[one.kind] += one.payload
    return found


def run(world: int, job: Job, folder: Path) -> dict:
    """Start ``world`` processes, one a core if there are enough, and return what the first has found.

    Returns:
        ``parameters`` with gradient; ``seen``, kinds and bytes of the collectives of a step; ``alone`` and
        ``together``, for each turn the wall and processor seconds of a step in one and in all processes.
    """
    mp.start_processes(_child, args=(world, str(folder), job), nprocs=world, start_method='forkserver')
    return json.loads((folder / 'found.json').read_text())


def _child(rank: int, world: int, folder: str, job: Job) -> None:
    torch.set_num_threads(1)
    if hasattr(os, 'sched_setaffinity'):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= world:
            os.sched_setaffinity(0, {cores[rank]})
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    try:
        found = _measure(rank, job)
        dist.barrier()
    finally:
        dist.destroy_process_group()
    if rank == 0:
        Path(folder, 'found.json').write_text(json.dumps(found))


def _measure(rank: int, job: Job) -> dict:
    data, device = make_batch(job.batch, job.size), torch.device('cpu')
    alone, shared = (build(job.method, data, device, job.queue) for _ in range(2))
    wrapped = MMDistributedDataParallel(shared.model, broadcast_buffers=False)

    def together() -> None:
        wrapped.train_step(data, shared.optim)

    for _ in range(2):  # after the first step the buckets of gradients are laid out anew, and sent round
        together()
    with Counting() as counting:
        together()
    times: dict[str, list] = {'alone': [], 'together': []}
    for turn in range(job.repeats + 1):
        found = {'alone': _in_one(rank, alone.step)}
        dist.barrier()
        found['together'] = _seconds(together)
        dist.barrier()
        if turn:
            for name, both in found.items():
                times[name].append(both)
    parameters = sum(one.numel() for one in shared.model.parameters() if one.requires_grad)
    return {'parameters': parameters, 'seen': counting.seen, **times}


def _in_one(rank: int, step: Callable[[], object]) -> tuple[float, float]:
    """A step of the first process as if there were no others, which wait."""
    if rank:
        return 0.0, 0.0
    with mock.patch.object(dist, 'is_initialized', return_value=False):
        return _seconds(step)


def _seconds(step: Callable[[], object]) -> tuple[float, float]:
    start = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start[0], time.process_time() - start[1]
