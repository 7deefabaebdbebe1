"""How long a step waits for a loader with worker processes."""

import time
from collections.abc import Callable, Sequence

import torch
from mmengine.dataset import default_collate
from step import build
from torch.utils.data import DataLoader, Dataset, Sampler

from histomm.engine.hooks.data_wait import WaitClock

WARM_UP = 4  # steps while worker processes start and fill their queues


def make_loader(dataset: Dataset, sampler: Sampler, workers: int, batch: int, device: torch.device) -> DataLoader:
    """As the shipped configs have it: pinned memory, workers that stay, two batches ahead for each."""
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        collate_fn=default_collate,
        pin_memory=device.type != 'cpu',
        persistent_workers=workers > 0,
        drop_last=True,
    )


def pause(seconds: float) -> Callable[[dict], None]:
    """A step that computes nothing, for a machine without the accelerator whose step it stands for."""
    return lambda batch: time.sleep(seconds)


class TrainingStep:
    """A whole step of MoCo-v2 with ResNet-18, of which the end is waited for.

    Args:
        device: Where it runs.
        switches: Names of those of ``tools/train.py`` that make steps faster.
    """

    def __init__(self, device: torch.device, switches: Sequence[str]) -> None:
        method = build('MoCo-v2', {}, device, switches=switches)
        self.device, self.model, self.optim = device, method.model, method.optim

    def __call__(self, batch: dict) -> None:
        """Train on a batch."""
        self.model.train_step(batch, self.optim)
        if self.device.type != 'cpu':
            torch.accelerator.synchronize(self.device)


def waits(
    loader: DataLoader, step: Callable[[dict], None], steps: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Percent of the time of ``steps`` steps that was spent waiting, and seconds of a step with it, ``repeats`` times.

    Args:
        loader: One that never ends.
        step: Takes a batch.
        steps: Of one measurement.
        repeats: Measurements, one after the other.
    """
    batches = iter(loader)
    for _ in range(WARM_UP):
        step(next(batches))
    shares, seconds = [], []
    for _ in range(repeats):
        clock = WaitClock(steps)
        begin = time.perf_counter()
        for _ in range(steps):
            batch = next(batches)
            clock.arrived()
            step(batch)
            clock.completed()
        seconds.append((time.perf_counter() - begin) / steps)
        shares.append(clock.share())
    return shares, seconds


def choose_step(step_ms: float | None, device: torch.device, switches: Sequence[str]) -> Callable[[dict], None]:
    """A pause of so many milliseconds, or a real step where none are given."""
    return TrainingStep(device, switches) if step_ms is None else pause(step_ms / 1e3)
