"""The share of time spent waiting for data."""

import time
from collections import deque
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from histomm.registry import HOOKS


class WaitClock:
    """Says how much of the time of the last steps was spent waiting for data.

    Args:
        window: Number of steps that the share is taken over.

    Attributes:
        wait: Seconds that the running step waited, or the last one that did.
    """

    def __init__(self, window: int) -> None:
        self.wait = 0.0
        self._steps: deque[tuple[float, float]] = deque(maxlen=window)
        self.start()

    def start(self) -> None:
        """From now on the step waits for data."""
        self._begin = time.perf_counter()

    def arrived(self) -> None:
        """The data are there."""
        self.wait = time.perf_counter() - self._begin

    def completed(self) -> None:
        """The step is complete, and the next one waits."""
        begin = self._begin
        self.start()
        self._steps.append((self.wait, self._begin - begin))

    def share(self) -> float | None:
        """Percent of the steps' time; None before the first step is complete."""
        if not self._steps:
            return None
        wait, total = (sum(column) for column in zip(*self._steps, strict=True))
        return 100 * wait / total


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
        self._clock = WaitClock(window)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._clock.start()

    def after_val(self, runner: Runner) -> None:
        """Do not count validation."""
        self._clock.start()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Stop the wait; publish the share over the steps completed."""
        self._clock.arrived()
        share = self._clock.share()
        if share is not None:
            runner.message_hub.update_scalar('train/data_wait', share)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Complete the step."""
        self._clock.completed()
