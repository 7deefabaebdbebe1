"""Train from a config: pre-training, and fine-tuning with mmdet, mmseg or mmpretrain."""

import argparse
import logging

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from histomm.engine.hooks.checkpoint import latest_good_checkpoint
from histomm.engine.launch import build_runner, common_arguments, leave_processes, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, .py or .yaml')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint; without a value, from the newest good one in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision in bfloat16 (needs a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    return common_arguments(parser).parse_args(argv)


def enable_amp(cfg: Config) -> None:
    """Wrap the optimiser for bfloat16 autocast, if the config does not do so already."""
    if not torch.cuda.is_available():
        raise SystemExit('--amp: found no CUDA device, which mixed precision needs; run without --amp')
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper == 'AmpOptimWrapper':
        return
    if wrapper != 'OptimWrapper':
        raise SystemExit(f'--amp: optim_wrapper.type is {wrapper}, expected OptimWrapper; set it in the config')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.dtype = 'bfloat16'


def enable_auto_scale_lr(cfg: Config) -> None:
    """Switch on linear scaling from the batch size that the config was written for."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise SystemExit('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size to scale from; add it')
    cfg.auto_scale_lr.enable = True


def resume_from(cfg: Config, resume: str) -> None:
    """Point the config at the checkpoint to go on from."""
    checkpoint = latest_good_checkpoint(cfg.work_dir) if resume == 'auto' else resume
    if checkpoint is None:
        print_log(f'--resume: no checkpoint in {cfg.work_dir}, training starts anew', level=logging.WARNING)
        return
    cfg.load_from, cfg.resume = str(checkpoint), True


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.resume:
        resume_from(cfg, args.resume)
    build_runner(cfg).train()
    leave_processes(cfg)


if __name__ == '__main__':
    main()
