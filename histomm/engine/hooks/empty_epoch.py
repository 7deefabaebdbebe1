"""Refusing to train on nothing."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from histomm.registry import HOOKS


def require_batches(runner: Runner) -> None:
    """Raise ValueError if an epoch has no iteration; loops that count iterations repeat the data and are left alone."""
    loader = runner.train_dataloader
    if isinstance(runner.train_loop, EpochBasedTrainLoop) and len(loader) == 0:
        raise ValueError(
            f'train_dataloader has no full batch: {len(loader.dataset)} samples over {runner.world_size} '
            f'processes, batch_size={loader.batch_size}; lower batch_size, or use more images'
        )


@HOOKS.register_module()
class EmptyEpochHook(Hook):
    """Stops a run whose epochs have no iteration.

    With ``drop_last`` a data set smaller than one batch gives none. The epochs would go by in no time and leave
    checkpoints of random weights.

    Raises:
        ValueError: the training loader has no batch.
    """

    def before_train(self, runner: Runner) -> None:
        """Look at the length of the loader."""
        require_batches(runner)
