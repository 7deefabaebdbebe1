"""Batch-norm statistics of the present weights, before they are evaluated and saved."""

import copy
from itertools import islice

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from histomm.engine.hooks.features import bare_model
from histomm.randomness import preserved_randomness
from histomm.registry import HOOKS


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Replaces running batch-norm statistics by their means over training batches, with the weights held fixed.

    Running averages trail behind the weights. As in Detectron2, the mean over batches of the batch means and of the
    (unbiased) batch variances is taken, over all processes. Only layers in training mode take part. Batches come from
    a loader of the hook's own, made from the training loader's config, so that training goes on with the batches
    and the random draws it would have had.

    The hook runs before the checkpoint of the same iteration, and before the validation that follows.

    Args:
        interval: Iterations between two runs, that of validation and checkpoints.
        num_iters: Batches for the means.

    Raises:
        ValueError: an argument below 1.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, interval: int, num_iters: int = 200) -> None:
        if interval < 1 or num_iters < 1:
            raise ValueError(f'PreciseBNHook: interval={interval} and num_iters={num_iters}, expected 1 or more')
        self.interval = interval
        self.num_iters = num_iters
        self._loader = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Run every ``interval`` iterations and after the last."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            with preserved_randomness():
                self._update(runner)

    @torch.no_grad()
    def _update(self, runner: Runner) -> None:
        model = bare_model(runner)
        layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
        if not layers:
            return
        means = [torch.zeros_like(layer.running_mean) for layer in layers]
        variances = [torch.zeros_like(layer.running_var) for layer in layers]
        momenta = [layer.momentum for layer in layers]
        counters = [layer.num_batches_tracked.clone() for layer in layers]
        for layer in layers:
            layer.momentum = 1.0
        count = 0
        for data in islice(self._batches(runner), self.num_iters):
            self._forward(model, data)
            count += 1
            for layer, mean, variance in zip(layers, means, variances, strict=True):
                mean += layer.running_mean
                variance += layer.running_var
        for layer, mean, variance, momentum, counter in zip(layers, means, variances, momenta, counters, strict=True):
            layer.running_mean.copy_(self._average(mean, count))
            layer.running_var.copy_(self._average(variance, count))
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(counter)
        runner.logger.info(f'PreciseBN: statistics of {len(layers)} batch norms from {count} batches')

    @staticmethod
    def _average(total: torch.Tensor, count: int) -> torch.Tensor:
        average = total / count
        all_reduce(average, op='mean')
        return average

    def _batches(self, runner: Runner):
        if self._loader is None:
            config = copy.deepcopy(runner.cfg.train_dataloader)
            config['persistent_workers'] = False
            self._loader = runner.build_dataloader(config, seed=runner.seed)
        return self._loader

    @staticmethod
    def _forward(model: nn.Module, data: dict) -> None:
        """Only as far as there are batch norms: backbone and neck of a detector or segmentor."""
        inputs = model.data_preprocessor(data, True)['inputs']
        model.extract_feat(inputs)
