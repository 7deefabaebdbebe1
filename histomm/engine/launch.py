"""From a config file and command-line options to a runner: what ``tools/train.py`` and ``tools/test.py`` share."""

import argparse
import gc
import logging
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from histomm.config_file import read_config, require_libraries
from histomm.engine.hooks.empty_epoch import require_batches
from histomm.engine.speed import compile_modules, in_memory_format, keep_own_form
from histomm.engine.view_placement import place_views


def common_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that training and testing share."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default work_dirs/<name of the config>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that override the config, e.g. train_dataloader.batch_size=64 model.loss_lambda=1.0',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torchrun passes it to the script on old versions; the launcher reads it from the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def load_config(path: str, work_dir: str | None, options: dict | None, launcher: str) -> Config:
    """Read a ``.py`` or ``.yaml`` config and apply the common options.

    A hook of ``default_hooks`` that is None is turned off.

    Raises:
        FileNotFoundError: there is no such config.
        ModuleNotFoundError: a library that the config uses is missing.
        ValueError: an option names a field of a list without the number of the entry.
    """
    if '::' not in path and not Path(path).is_file():
        raise FileNotFoundError(f'config {path}: no such file; give a path, or <package>::<path>, e.g. histomm::plm/…')
    cfg = read_config(path)
    require_libraries(cfg, path)
    cfg.launcher = launcher
    if options:
        _check_entries_of_lists(cfg, options)
        cfg.merge_from_dict(options)
    if work_dir:
        cfg.work_dir = work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    _drop_hooks_turned_off(cfg)
    return cfg


def _check_entries_of_lists(cfg: Config, options: dict) -> None:
    """Ask for the number of an entry where an option goes through a list; mmengine fails without naming the option."""
    for option in options:
        node, parts = cfg._cfg_dict, option.split('.')
        for depth, part in enumerate(parts):
            if isinstance(node, (list, tuple)):
                if not part.isdigit():
                    place = '.'.join(parts[:depth])
                    raise ValueError(
                        f'--cfg-options {option}: {place} is a list of {len(node)}, expected the number of an entry, '
                        f'such as {place}.0.{".".join(parts[depth:])}'
                    )
                node = node[int(part)] if int(part) < len(node) else None
            else:
                node = node.get(part) if isinstance(node, dict) else None


def _drop_hooks_turned_off(cfg: Config) -> None:
    """Leave out hooks that are None, but for mmengine's own, which the runner adds unless it sees the None."""
    own = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
    for name in [name for name, hook in cfg.get('default_hooks', {}).items() if hook is None and name not in own]:
        del cfg.default_hooks[name]


class _Runner(Runner):
    """mmengine's runner, with a word on epochs without a batch and what makes steps faster.

    Schedules counted in iterations cannot be built for epochs that have none, which it says itself. The model takes the
    memory format of its images. A resumed optimiser keeps the form that the config gives it. ``compile`` of the config
    compiles parts of the model instead of the whole of ``train_step``, which torch cuts at data samples, queues and the
    optimiser.
    """

    def build_model(self, model: Any) -> nn.Module:
        return in_memory_format(super().build_model(model))

    def build_param_scheduler(self, scheduler: Any) -> Any:
        require_batches(self)
        return super().build_param_scheduler(scheduler)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        wrapper = super().build_optim_wrapper(optim_wrapper)
        for part in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
            if isinstance(part, OptimWrapper):
                keep_own_form(part.optimizer)
        return wrapper

    def _maybe_compile(self, target: str) -> None:
        found = compile_modules(self.model, self.cfg.get('compile'))
        if found:
            self.logger.info(f'compiled in their first calls, which take minutes: {", ".join(found)}')


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names, mmengine's by default; also for several processes without a GPU."""
    place_views(cfg)
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else _Runner.from_cfg(cfg)


def _distribute_on_cpu(cfg: Config) -> None:
    """Let processes started by torchrun talk over gloo: what mmengine does by default asks for CUDA devices."""
    if not dist.is_initialized():
        print_log('no CUDA device found: the processes talk over gloo', level=logging.WARNING)
        dist.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.setdefault('model_wrapper_cfg', wrapper)


def leave_processes(cfg: Config) -> None:
    """End the talk between the processes of a launcher, when all have come here and the runner is gone.

    Threads of gloo may still be letting go of the tensors of the last exchange when the interpreter ends, which
    aborts the process after its work is done; ended here, they are joined before.
    """
    if cfg.launcher != 'none' and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        gc.collect()
