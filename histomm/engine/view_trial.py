"""How long a few samples and their views take in the pipeline, and on the device."""

import copy
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import nn

from histomm.config_file import leaf_datasets
from histomm.datasets import pad_collate
from histomm.datasets.samplers import SampleIndex
from histomm.randomness import preserved_randomness
from histomm.registry import DATASETS, MODELS

_SAMPLES = 8
_REPEATS = 3


class ViewTimes(NamedTuple):
    """Seconds for all views of one image, from the file on.

    Attributes:
        pipeline: Of one core, to read the image and make its views.
        draws: Of one core, to read the image and draw for its views.
        device: Of the device, to make them.
        workers: How many cores make images ready at the same time.
    """

    pipeline: float
    draws: float
    device: float
    workers: int

    @property
    def device_is_faster(self) -> bool:
        """Whether workers and device together take less time; the device is then not free for the model."""
        return self.draws / self.workers + self.device < self.pipeline / self.workers

    def text(self, device: str) -> str:
        """What was measured, in words."""
        pipeline, draws, made = (f'{1e3 * seconds:.2f} ms' for seconds in self[:3])
        return (
            f'an image and its views take {pipeline} in the pipeline, or {draws} to read and draw there and {made} to '
            f'make on {device}, with {self.workers} worker{"s" * (self.workers > 1)}'
        )


def time_views(cfg: Config, placed: ConfigDict, device: str) -> ViewTimes:
    """Make views of the first samples both ways, after once to warm up; the shortest time of three counts.

    Args:
        cfg: With the views in the pipeline.
        placed: Its ``train_dataloader`` and ``model`` with the views on the device.
        device: Where the model will be.
    """
    with preserved_randomness(), DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        making = DATASETS.build(_innermost(cfg.train_dataloader.dataset))
        drawing = copy.copy(making)
        drawing.pipeline = Compose(_innermost(placed.train_dataloader.dataset).pipeline)
        preprocessor: nn.Module = MODELS.build(placed.model.data_preprocessor).to(device)
        numbers = range(min(_SAMPLES, len(making)))
        pipeline = _shortest(lambda: [making[SampleIndex(number)] for number in numbers]) / len(numbers)
        draws = _shortest(lambda: [drawing[SampleIndex(number)] for number in numbers]) / len(numbers)
        drawn = [drawing[SampleIndex(number)] for number in numbers]
        count = len(drawn) if device == 'cpu' else placed.train_dataloader.batch_size
        batch = pad_collate([drawn[number % len(drawn)] for number in range(count)])
        on_device = _shortest(lambda: preprocessor(batch, True), device) / count
    return ViewTimes(pipeline, draws, on_device, _workers(cfg.train_dataloader.num_workers))


def _innermost(dataset: ConfigDict) -> ConfigDict:
    """The data set that a wrapper wraps, or the first of them."""
    return next(leaf_datasets(dataset))[1]


def _shortest(run: Callable[[], object], device: str = 'cpu') -> float:
    seconds = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        run()
        if device != 'cpu':
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _workers(wanted: int) -> int:
    """Loader workers that have a core; one where the process reads its images itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(min(wanted, cores), 1)
