"""How long the views of a few samples take in the pipeline, and on the device."""

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

from histomm.datasets import pad_collate
from histomm.datasets.samplers import SampleIndex
from histomm.randomness import preserved_randomness
from histomm.registry import DATASETS, MODELS

_SAMPLES = 8
_REPEATS = 3


class ViewTimes(NamedTuple):
    """Seconds for all views of one image, whose reading counts in neither place.

    Attributes:
        pipeline: Of one core, for the views of the pipeline.
        draws: Of one core, for the draws of views on the device.
        device: Of the device, for the views.
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
        ms = (f'{1e3 * seconds:.2f} ms' for seconds in (self.pipeline, self.draws, self.device))
        pipeline, draws, made = ms
        return (
            f'the views of an image take {pipeline} in the pipeline, or {draws} to draw there and {made} to make on '
            f'{device}, with {self.workers} worker{"s" * (self.workers > 1)}'
        )


def time_views(cfg: Config, placed: ConfigDict, device: str) -> ViewTimes:
    """Make views of the first samples both ways, after once to warm up; the shortest time of three counts.

    Args:
        cfg: With the views in the pipeline.
        placed: Its ``train_dataloader`` and ``model`` with the views on the device.
        device: Where the model will be.
    """
    with preserved_randomness(), DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        samples = _samples(cfg.train_dataloader.dataset)
        make, draw = (
            Compose(_last_steps(loader.dataset)) for loader in (cfg.train_dataloader, placed.train_dataloader)
        )
        preprocessor: nn.Module = MODELS.build(placed.model.data_preprocessor).to(device)
        count = len(samples) if device == 'cpu' else placed.train_dataloader.batch_size
        drawn = [draw(dict(sample)) for sample in samples]
        batch = pad_collate([drawn[number % len(drawn)] for number in range(count)])
        pipeline = _shortest(lambda: [make(dict(sample)) for sample in samples]) / len(samples)
        draws = _shortest(lambda: [draw(dict(sample)) for sample in samples]) / len(samples)
        on_device = _shortest(lambda: preprocessor(batch, True), device) / count
    return ViewTimes(pipeline, draws, on_device, _workers(cfg.train_dataloader.num_workers))


def _innermost(dataset: ConfigDict) -> ConfigDict:
    while 'pipeline' not in dataset:
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    return dataset


def _last_steps(dataset: ConfigDict) -> list[dict]:
    """Transforms that make views or draw them, and pack."""
    return _innermost(dataset).pipeline[-2:]


def _samples(dataset: ConfigDict) -> list[dict]:
    """The first samples, read and ready for their views."""
    dataset = copy.deepcopy(_innermost(dataset))
    dataset.pipeline = dataset.pipeline[:-2]
    built = DATASETS.build(dataset)
    return [built[SampleIndex(number)] for number in range(min(_SAMPLES, len(built)))]


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
