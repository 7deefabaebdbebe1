"""Naming the files that a data set skipped."""

from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from histomm.engine.fileio import write_atomic
from histomm.registry import HOOKS


@HOOKS.register_module()
class UnreadableFilesHook(Hook):
    """Reports at the end of training which images could not be read and were skipped.

    It asks the training data set for ``unreadable_files()``, as :class:`~histomm.datasets.PatchDataset` with
    ``unreadable='skip'`` offers, on all ranks; other data sets are left alone. The names go to
    ``unreadable_files.txt`` in the work folder, one a line, their number and the first to the log.
    """

    def after_train(self, runner: Runner) -> None:
        """Collect and report."""
        dataset = runner.train_dataloader.dataset
        own = dataset.unreadable_files() if hasattr(dataset, 'unreadable_files') else []
        names = sorted({name for part in all_gather_object(own) for name in part})
        if names and is_main_process():
            path = Path(runner.work_dir, 'unreadable_files.txt')
            write_atomic(''.join(f'{name}\n' for name in names).encode(), path)
            runner.logger.warning(
                f'{len(names)} of {len(dataset)} images could not be read and were skipped, the first {names[0]}; '
                f'all are listed in {path}'
            )
