"""What the time of training steps goes into."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile, schedule

from histomm.engine.hooks.data_wait import WaitClock
from histomm.registry import HOOKS

WAIT, WARMUP = 3, 2


@HOOKS.register_module()
class ProfileHook(Hook):
    """Traces a few steps by torch's profiler, prints their longest operations, and lets training go on.

    Three steps run as they are, in which loaders fill and libraries choose their kernels, two more warm the profiler
    up, then ``steps`` are traced, of the main process. Into ``profile`` in the work directory go

    - ``train.pt.trace.json``, for https://ui.perfetto.dev, chrome://tracing or TensorBoard's plugin for profiles;
    - ``summary.txt``: the operations by the time that they take themselves, on the GPU if there is one, and the percent
      of the traced time in which the model waited for data. It is printed, too.

    A traced step takes longer than others, so the trace tells shares; for times see ``tools/benchmarks``. mmengine's
    ``ProfilerHook`` says nothing of waiting, and ends its trace with the first epoch, complete or not.

    Args:
        steps: Traced, at least 1.
        rows: Operations in the table, at least 1.

    Raises:
        ValueError: an argument is below 1, or the run has too few iterations left.
    """

    priority = 'LOWEST'

    def __init__(self, steps: int = 10, rows: int = 25) -> None:
        if steps < 1 or rows < 1:
            raise ValueError(f'ProfileHook: steps is {steps} and rows {rows}, expected at least 1 of each')
        self.steps, self.rows = steps, rows
        self._profiler: profile | None = None

    def before_train(self, runner: Runner) -> None:
        """Start, on the main process."""
        needed, left = WAIT + WARMUP + self.steps, runner.max_iters - runner.iter
        if left < needed:
            raise ValueError(
                f'ProfileHook: {self.steps} steps are to be traced after {WAIT + WARMUP} others, expected at least '
                f'{needed} iterations, the run has {left} left; trace fewer or train longer'
            )
        if not is_main_process():
            return
        self._device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._folder, self._logger = Path(runner.work_dir) / 'profile', runner.logger
        self._clock = WaitClock(self.steps)
        self._profiler = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._device == 'cuda' else [])],
            schedule=schedule(wait=WAIT, warmup=WARMUP, active=self.steps, repeat=1),
            on_trace_ready=self._write,
        )
        self._profiler.start()

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin to wait for data."""
        if self._profiler:
            self._clock.start()

    def after_val(self, runner: Runner) -> None:
        """Do not count validation as waiting."""
        if self._profiler:
            self._clock.start()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The data are there."""
        if self._profiler:
            self._clock.arrived()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """End the step; after the last one the trace is written."""
        if not self._profiler:
            return
        if self._device == 'cuda':
            torch.cuda.synchronize()  # what a step has started belongs to it
        self._clock.completed()
        self._profiler.step()
        if self._profiler.step_num == WAIT + WARMUP + self.steps:
            self._profiler.stop()
            self._profiler = None

    def _write(self, profiler: profile) -> None:
        """Write the trace and the summary, and print the latter."""
        self._folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self._folder / 'train.pt.trace.json'))
        operations = profiler.key_averages().table(f'self_{self._device}_time_total', row_limit=self.rows)
        summary = f'{self.steps} steps, {self._clock.share():.1f} % of their time spent waiting for data\n{operations}'
        (self._folder / 'summary.txt').write_text(summary, encoding='utf-8')
        self._logger.info(f'Profile in {self._folder}: {summary}')
