"""Run a function in two processes that talk over gloo."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Imported once by a server that the processes are forked from, instead of twice by each pair of them.
multiprocessing.set_forkserver_preload(['histomm.engine', 'histomm.models'])


def _child(rank: int, world_size: int, store: str, function: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=world_size)
    try:
        function(rank, *args)
    finally:
        dist.destroy_process_group()


def run_two_processes(function: Callable, *args: object) -> None:
    """Call ``function(rank, *args)`` in each of two processes; a failure of either fails the caller."""
    with tempfile.TemporaryDirectory() as folder:
        args = (2, os.path.join(folder, 'store'), function, args)
        mp.start_processes(_child, args=args, nprocs=2, start_method='forkserver')
