"""Stopping at a loss that is not finite."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from histomm.engine.fileio import write_atomic
from histomm.registry import HOOKS


def image_paths(batch: Any) -> list[str]:
    """``img_path`` of every data sample in a batch of any nesting, each once, in order.

    A data sample without a path is listed as ``<no img_path>``, so that the number of samples stays visible.
    """
    paths = (sample.get('img_path', '<no img_path>') for sample in _data_samples(batch))
    return list(dict.fromkeys(str(path) for path in paths))


def _data_samples(batch: Any) -> Iterator[BaseDataElement]:
    if isinstance(batch, BaseDataElement):
        yield batch
    elif isinstance(batch, dict):
        yield from _data_samples(list(batch.values()))
    elif isinstance(batch, (list, tuple)):
        for item in batch:
            yield from _data_samples(item)


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stops the run at the first loss that is NaN or infinite and says which images did it.

    After each step every output of the model whose name contains ``loss`` (what mmengine adds up to the total) is
    looked at. When one is not finite on any rank, ``nonfinite_batch.json`` in the work folder gets the iteration, the
    seed, and for each rank concerned the terms and the image files; then all ranks raise. It runs before the
    checkpoint hook, so the last checkpoint is the last good one.

    The cost is one number per loss term, which mmengine fetches from the device anyway to log it, and on several ranks
    the reduction of one flag.

    Raises:
        FloatingPointError: a loss is not finite.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of the step."""
        terms = {name: torch.as_tensor(value).item() for name, value in (outputs or {}).items() if 'loss' in name}
        bad = {name: str(value) for name, value in terms.items() if not math.isfinite(value)}
        flag = torch.tensor([len(bad)])
        all_reduce(flag, op='max')
        if flag.item():
            self._stop(runner, bad, data_batch)

    @staticmethod
    def _stop(runner: Runner, bad: dict[str, str], data_batch: Any) -> None:
        own = dict(rank=get_rank(), terms=bad, files=image_paths(data_batch)) if bad else None
        ranks = [entry for entry in all_gather_object(own) if entry]
        report = dict(iteration=runner.iter + 1, epoch=runner.epoch + 1, seed=runner.seed, ranks=ranks)
        path = Path(runner.work_dir, 'nonfinite_batch.json')
        if is_main_process():
            write_atomic(json.dumps(report, indent=2).encode(), path)
        terms = ', '.join(sorted({f'{name} is {value}' for entry in ranks for name, value in entry['terms'].items()}))
        files = [file for entry in ranks for file in entry['files']]
        raise FloatingPointError(
            f'iteration {runner.iter + 1}: {terms}; the batch of {len(files)} images ({", ".join(files[:3])}, ...) is '
            f'listed in {path}; look at these images, or lower the learning rate or turn off AMP'
        )
