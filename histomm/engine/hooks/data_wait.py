"""The share of time spent waiting for data."""

import time
from collections import deque
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from histomm.registry import HOOKS


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Logs ``data_wait``: percent of the last steps' time in which the model waited for the loader.

    The wait is the time between the end of one iteration's hooks and the beginning of the next iteration's, so
    validation, checkpoints and monitors do not count as waiting, unlike in mmengine's ``data_time``; the step's time
    runs from end to end. Near 0 the model is the bottleneck; above, say, 20 more ``num_workers`` or smaller source
    images help.

    Args:
        window: Number of steps that the share is taken over.
    """

    priority = 'LOWEST'

    def __init__(self, window: int = 50) -> None:
        if window < 1:
            raise ValueError(f'DataWaitHook: window is {window}, expected 1 or more')
        self._steps: deque[tuple[float, float]] = deque(maxlen=window)

    def _mark(self) -> None:
        self._end = time.perf_counter()

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._mark()

    def after_val(self, runner: Runner) -> None:
        """Do not count validation."""
        self._mark()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Stop the wait; publish the share over the steps completed."""
        self._wait = time.perf_counter() - self._end
        if self._steps:
            wait, total = (sum(column) for column in zip(*self._steps, strict=True))
            runner.message_hub.update_scalar('train/data_wait', 100 * wait / total)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Complete the step."""
        begin = self._end
        self._mark()
        self._steps.append((self._wait, self._end - begin))
