"""Parameters that keep their first learning rate."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from histomm.registry import HOOKS


@HOOKS.register_module()
class FixedLRHook(Hook):
    """Keeps the learning rate of parameters marked ``fix_lr`` from following the schedule (SimSiam's predictor).

    Mark them in the config with ``paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)})``. They keep the
    optimizer's rate, scaled with the batch size where ``auto_scale_lr`` is on; mmpretrain's ``SimSiamHook`` needs
    the rate a second time and does not follow when the first is changed.

    Raises:
        ValueError: no parameter is marked.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the marked groups."""
        self._groups = [group for group in runner.optim_wrapper.param_groups if group.get('fix_lr')]
        if not self._groups:
            raise ValueError(
                'FixedLRHook: no parameter is marked, expected fix_lr=True in '
                'optim_wrapper.paramwise_cfg.custom_keys; mark some or turn the hook off'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Undo what the schedule did."""
        for group in self._groups:
            group['lr'] = group['initial_lr']
