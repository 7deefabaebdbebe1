"""Spread and rank of the features during training."""

from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from histomm.engine.hooks.features import find_module, pool_features
from histomm.evaluation import feature_std, rankme
from histomm.registry import HOOKS


@HOOKS.register_module()
class FeatureMonitorHook(Hook):
    """Logs ``feature_std`` and ``rankme`` of the backbone's features and warns when they collapse.

    The features are those of the training batches: of each step the module's first call (in the contrastive methods
    the query view), pooled over space. The last ``num_samples`` are kept in a float32 ring buffer, on the main process
    only. See :func:`~histomm.evaluation.feature_std` and :func:`~histomm.evaluation.rankme` for the two numbers. The
    training is not touched, and the buffer is not saved: after resuming it fills anew.

    A ResNet-18 with random weights on tissue has a feature_std of 0.3 and, over 256 samples, a RankMe of 119.

    Args:
        interval: Iterations between two measurements.
        num_samples: Size of the buffer; RankMe cannot exceed it.
        module: Dotted path of the module in the model.
        min_std: Below this ``feature_std`` the features count as collapsed: they no longer tell samples apart.
        min_rankme: Below this ``rankme`` likewise: they use only so many directions.

    Raises:
        ValueError: an argument is out of range, or the model has no such module.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        interval: int = 100,
        num_samples: int = 1024,
        module: str = 'backbone',
        min_std: float = 0.05,
        min_rankme: float = 5.0,
    ) -> None:
        if interval < 1 or num_samples < 2:
            raise ValueError(
                f'FeatureMonitorHook: interval is {interval} and num_samples {num_samples}, expected at least 1 and 2'
            )
        self.interval = interval
        self.num_samples = num_samples
        self.module = module
        self.min_std = min_std
        self.min_rankme = min_rankme
        self._buffer: Tensor | None = None
        self._seen = 0
        self._armed = False
        self._collapsed = False

    def before_train(self, runner: Runner) -> None:
        """Attach to the module."""
        module = find_module(runner, self.module)
        if is_main_process():
            self._handle = module.register_forward_hook(self._capture)

    def after_train(self, runner: Runner) -> None:
        """Detach from the module."""
        if is_main_process():
            self._handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Wait for the module's next call."""
        self._armed = True

    def _capture(self, module: torch.nn.Module, args: tuple, output: Any) -> None:
        if not self._armed:
            return
        self._armed = False
        features = pool_features(output)[: self.num_samples]
        if self._buffer is None:
            self._buffer = features.new_zeros(self.num_samples, features.shape[1])
        rows = torch.arange(self._seen, self._seen + len(features), device=features.device) % self.num_samples
        self._buffer[rows] = features
        self._seen += len(features)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Measure and judge, every ``interval`` iterations."""
        self._armed = False
        if not self.every_n_train_iters(runner, self.interval) or self._seen < 2:
            return
        features = self._buffer[: self._seen]
        std, rank = feature_std(features), rankme(features)
        runner.message_hub.update_scalar('train/feature_std', std)
        runner.message_hub.update_scalar('train/rankme', rank)
        collapsed = not (std >= self.min_std and rank >= self.min_rankme)
        if collapsed and not self._collapsed:
            runner.logger.warning(
                f'The features collapse at iteration {runner.iter + 1}: over {len(features)} samples feature_std is '
                f'{std:.4f} (warned below {self.min_std}), rankme {rank:.1f} (warned below {self.min_rankme}). The '
                'backbone maps different images to nearly the same vector; lower the learning rate, or check the '
                'augmentation and, without negatives, the teacher momentum. Said once until they recover.'
            )
        self._collapsed = collapsed
