"""Evaluate a checkpoint with the test settings of a config.

CHECKPOINT is a file, or the work directory of a training that kept its best checkpoint, best_<metric>_<epoch>.pth.
"""

import argparse
from pathlib import Path

from histomm.engine.launch import build_runner, common_arguments, leave_processes, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, .py or .yaml, with a test_dataloader and a test_evaluator')
    parser.add_argument('checkpoint', help='checkpoint file, or a work directory: the best checkpoint in it')
    return common_arguments(parser).parse_args(argv)


def find_checkpoint(path: Path) -> Path:
    """The file itself, or the one best checkpoint of a work directory.

    Raises:
        SystemExit: no such file, or a folder without a best checkpoint or with several.
    """
    if not path.is_dir():
        if not path.is_file():
            raise SystemExit(f'checkpoint {path}: no such file')
        return path
    best = sorted(path.glob('best_*.pth'))
    if len(best) != 1:
        found = ', '.join(file.name for file in best) or 'none'
        raise SystemExit(
            f'checkpoint {path}: expected one best_*.pth in the folder, as default_hooks.checkpoint.save_best leaves '
            f'it, found {found}; name the file'
        )
    return best[0]


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    checkpoint = find_checkpoint(Path(args.checkpoint))
    if cfg.get('test_dataloader') is None:
        raise SystemExit(
            f'{args.config}: found no test_dataloader, which testing needs; pre-training configs have none'
        )
    cfg.load_from = str(checkpoint)
    metrics = build_runner(cfg).test()
    leave_processes(cfg)
    return metrics


if __name__ == '__main__':
    main()
