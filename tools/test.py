"""Evaluate a checkpoint with the test settings of a config."""

import argparse
from pathlib import Path

from histomm.engine.launch import build_runner, common_arguments, leave_processes, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, .py or .yaml, with a test_dataloader and a test_evaluator')
    parser.add_argument('checkpoint', help='checkpoint file')
    return common_arguments(parser).parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    if not Path(args.checkpoint).is_file():
        raise SystemExit(f'checkpoint {args.checkpoint}: no such file')
    if cfg.get('test_dataloader') is None:
        raise SystemExit(
            f'{args.config}: found no test_dataloader, which testing needs; pre-training configs have none'
        )
    cfg.load_from = args.checkpoint
    metrics = build_runner(cfg).test()
    leave_processes(cfg)
    return metrics


if __name__ == '__main__':
    main()
