"""One function for many items: in this process, in processes of this machine, or on a Ray cluster.

All give (item, result) as they come, in any order. A worker that dies, killed for its memory or by a fault of a
library, costs the item it worked on and no other: its result is a :class:`WorkerDiedError`.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

import cv2

START_METHODS = ('spawn', 'forkserver', 'fork')
"""How processes can be started; ``fork`` is quick, and unsafe where the calling process has threads."""

Outcomes = Iterator[tuple[Any, Any]]
"""Items with their results."""


class WorkerDiedError(RuntimeError):
    """The process that worked on an item has ended."""

    def __init__(self) -> None:
        super().__init__('its worker process died; was it killed for want of memory?')


def in_this_process(function: Callable, items: Iterable) -> Outcomes:
    """One item after the other."""
    for item in items:
        yield item, function(item)


def in_processes(function: Callable, items: Iterable, workers: int, start_method: str = 'spawn') -> Outcomes:
    """In ``workers`` processes of this machine, which end with this one.

    When one dies, the items under way are tried again, each in a process of its own, to see which of them kills it.

    Args:
        function: Importable by its name; its exceptions are raised here.
        items: What to call it with; can be pickled.
        workers: How many processes.
        start_method: One of :data:`START_METHODS`.
    """
    waiting = iter(items)
    while True:
        suspects = yield from _pool(function, waiting, workers, start_method)
        if not suspects:
            return
        for item in suspects:
            if (yield from _pool(function, iter([item]), 1, start_method)):
                yield item, WorkerDiedError()


def _pool(
    function: Callable, items: Iterator, workers: int, start_method: str
) -> Generator[tuple[Any, Any], None, list]:
    """Results until no items are left or a process has died; returns the items that were under way then."""
    context = multiprocessing.get_context(start_method)
    running: dict[Future, Any] = {}
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        while True:
            while len(running) < workers and (item := next(items, _END)) is not _END:
                try:
                    running[pool.submit(function, item)] = item
                except BrokenProcessPool:
                    return [*running.values(), item]
            if not running:
                return []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    return list(running.values())
                yield running.pop(future), result


_END = object()


def _begin_worker() -> None:
    cv2.setNumThreads(0)  # there are as many workers as cores
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the calling process says that it was interrupted
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent does, even when that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def on_ray(function: Callable, items: Iterable, address: str | None = None) -> Outcomes:
    """On a Ray cluster, one core each.

    Its machines need this package, and what the items name at the same paths.

    Args:
        function: Its exceptions are raised here.
        items: What to call it with; can be pickled.
        address: Of the cluster; by default that of ``RAY_ADDRESS`` or of this machine, or else one is started here.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at ``address``.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError('a Ray cluster needs ray; install it with: pip install ray') from error
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    remote, shared = ray.remote(max_retries=0, num_cpus=1)(_call), ray.put(function)
    waiting = iter(items)
    running: dict[Any, Any] = {}
    limit = 2 * max(1, int(ray.cluster_resources().get('CPU', 1)))
    while True:
        while len(running) < limit and (item := next(waiting, _END)) is not _END:
            running[remote.remote(shared, item)] = item
        if not running:
            return
        done, _ = ray.wait(list(running), num_returns=1)
        try:
            result = ray.get(done[0])
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except ray.exceptions.RayError:
            result = WorkerDiedError()
        yield running.pop(done[0]), result


def _call(function: Callable, item: Any) -> Any:
    cv2.setNumThreads(0)
    return function(item)
