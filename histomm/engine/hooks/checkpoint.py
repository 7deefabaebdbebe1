"""Checkpoints that an interruption cannot spoil, and finding the one to go on from."""

import logging
import re
import zipfile
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from histomm.engine.fileio import AtomicLocalBackend, remove_partial, write_atomic
from histomm.engine.hooks.features import bare_model
from histomm.registry import HOOKS

RESUMABLE = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for local folders, hardened. It takes the same arguments.

    - A checkpoint, and ``last_checkpoint``, is written to a temporary file in the same folder, flushed to the disk
      and renamed. A process killed in mid-write leaves the previous checkpoints as they were.
    - Outdated checkpoints (``max_keep_ckpts``, the previous best) are removed after the new one is complete and
      ``last_checkpoint`` names it; mmengine removes them before it writes.
    - Leftovers of interrupted writes are removed when training starts.
    - Weights with NaN or infinite values are not saved: the run stops, on all ranks, and the last good checkpoint
      stays.

    Raises:
        ValueError: the checkpoints would go to a remote store; use mmengine's ``CheckpointHook`` there.
        FloatingPointError: a trained parameter is not finite when a checkpoint is due.
    """

    file_backend: AtomicLocalBackend

    def before_train(self, runner: Runner) -> None:
        """Choose the backend and clean the folder."""
        target = self.out_dir or runner.work_dir
        given = self.file_client_args or self.backend_args
        if self.file_client_args or not isinstance(get_file_backend(target, backend_args=given), LocalBackend):
            raise ValueError(
                f'AtomicCheckpointHook writes to local folders, found out_dir={str(target)!r} with backend {given}; '
                "use type='CheckpointHook' for other stores, where a write is atomic already"
            )
        self.backend_args = dict(backend='histomm.atomic')
        super().before_train(runner)
        if is_main_process():
            for folder in {str(self.out_dir), runner.work_dir}:
                if left := remove_partial(folder):
                    runner.logger.warning(f'Removed what interrupted writes left in {folder}: {", ".join(left)}')

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self.file_backend.deferred_removal():
            super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        _refuse_nonfinite(runner, name)
        with self.file_backend.deferred_removal():
            self._keep(runner, step)
            self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
            runner.message_hub.update_info('last_ckpt', self.last_ckpt)
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_atomic(str(self.last_ckpt).encode(), Path(runner.work_dir, 'last_checkpoint'))

    def _keep(self, runner: Runner, step: int) -> None:
        """Enter ``step`` into the checkpoints to keep and hand the outdated ones to the deferred removal."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            outdated = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids[0]))
            if is_main_process() and self.file_backend.isfile(outdated):
                self.file_backend.remove(outdated)
        self.keep_ckpt_ids.append(step)  # a deque of max_keep_ckpts: the oldest falls out
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))


def _refuse_nonfinite(runner: Runner, checkpoint: str) -> None:
    model = bare_model(runner)
    bad = [name for name, weight in model.named_parameters() if weight.requires_grad and not weight.isfinite().all()]
    flag = torch.tensor([len(bad)])
    all_reduce(flag, op='max')
    if flag.item():
        where = f'{bad[0]} and {len(bad) - 1} more' if bad else 'another rank'
        raise FloatingPointError(
            f'the weights are not finite (in {where}), so {checkpoint} is not written; '
            'go on from the last checkpoint with a lower learning rate or in float32'
        )


def latest_good_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint to resume from: the one ``last_checkpoint`` names, else the newest that is whole.

    Whole means that the file is a zip archive, as ``torch.save`` writes it, whose checksums are right. Only
    ``epoch_N.pth`` and ``iter_N.pth`` are candidates of the fallback, by descending N: best and published checkpoints
    lack the optimizer. A work folder that was moved is found, because a name that is not where ``last_checkpoint``
    says is looked up beside it.

    Args:
        work_dir: Work folder of the run.

    Returns:
        Path of the checkpoint; ``None`` where nothing was saved yet, so that training starts from the beginning.

    Raises:
        ValueError: ``last_checkpoint`` stands, but neither the file that it names nor any other can be loaded.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    folders, problem = [work_dir], f'{pointer} is missing'
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        for path in (named, work_dir / named.name):
            if (fault := _fault(path)) is None:
                return str(path)
        folders.append(named.parent)
        problem = f'{pointer} names {str(named)!r}, which {fault}'
    for path in _by_number(folders):
        if _fault(path) is None:
            print_log(f'{problem}; going on from {path}', logger='current', level=logging.WARNING)
            return str(path)
    if pointer.is_file():
        raise ValueError(
            f'{problem}, and there is no other whole checkpoint; remove {pointer.name} to start from the beginning'
        )
    return None


def _by_number(folders: list[Path]) -> list[Path]:
    files = {path for folder in folders for path in folder.glob('*.pth')}
    found = [(int(match[1]), path) for path in files if (match := RESUMABLE.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _fault(path: Path) -> str | None:
    """What keeps ``path`` from being loaded, or ``None``."""
    if not path.is_file():
        return 'does not exist'
    if not zipfile.is_zipfile(path):
        return 'is cut off or no checkpoint'
    with zipfile.ZipFile(path) as archive:
        return None if archive.testzip() is None else 'is damaged'
