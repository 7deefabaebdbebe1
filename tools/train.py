"""Train from a config: pre-training, and fine-tuning with mmdet, mmseg or mmpretrain."""

import argparse
import logging

from mmengine.config import Config
from mmengine.logging import print_log

from histomm.engine.hooks.checkpoint import latest_good_checkpoint
from histomm.engine.launch import build_runner, common_arguments, leave_processes, load_config
from histomm.engine.speed import SWITCHES


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
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision in bfloat16')
    parser.add_argument('--channels-last', action='store_true', help='images and convolutions in this memory format')
    parser.add_argument('--fused', action='store_true', help='the fused form of the optimiser')
    parser.add_argument('--compile', action='store_true', help='run the backbone through torch.compile')
    parser.add_argument(
        '--profile',
        nargs='?',
        const=10,
        type=int,
        metavar='N',
        help='trace N steps (default 10) into profile/ of the work dir and print what takes longest',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    return common_arguments(parser).parse_args(argv)


def enable_auto_scale_lr(cfg: Config) -> None:
    """Switch on linear scaling from the batch size that the config was written for."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise SystemExit('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size to scale from; add it')
    cfg.auto_scale_lr.enable = True


def switch_on(cfg: Config, name: str) -> None:
    """Switch on what makes a step faster."""
    try:
        SWITCHES[name](cfg)
    except ValueError as error:
        raise SystemExit(f'--{name.replace("_", "-")}: {error}') from error


def enable_profile(cfg: Config, steps: int) -> None:
    """Have some steps traced."""
    if steps < 1:
        raise SystemExit(f'--profile: the number of steps is {steps}, expected at least 1')
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='histomm.ProfileHook', steps=steps)]


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
    for name in SWITCHES:
        if getattr(args, name):
            switch_on(cfg, name)
    if args.profile is not None:
        enable_profile(cfg, args.profile)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.resume:
        resume_from(cfg, args.resume)
    build_runner(cfg).train()
    leave_processes(cfg)


if __name__ == '__main__':
    main()
