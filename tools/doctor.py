"""Say whether the installation is sound, and with a config whether data, classes and weights fit it.

    python tools/doctor.py [CONFIG] [--cfg-options KEY=VALUE ...] [--need-ops]

Exit status 1 and one line for each fault with what to do about it; 0 and "no faults" otherwise.
"""

import argparse
import sys
from importlib.util import find_spec


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config file to check as well')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config before checking'
    )
    parser.add_argument('--need-ops', action='store_true', help='take missing compiled ops of mmcv for a fault')
    return parser.parse_args()


def main() -> int:
    missing = [name for name in ('torch', 'mmengine', 'histomm') if find_spec(name) is None]
    if missing:
        print(f'FAULT   {", ".join(missing)}: not installed in {sys.prefix}; run `make setup` (docs/install.md)')
        return 1
    from histomm.doctor.environment import check_environment
    from histomm.doctor.findings import Report

    args = parse_args()
    report = Report()
    check_environment(report, args.need_ops)
    if args.config:
        from histomm.doctor.config_check import check_config

        check_config(report, args.config, args.cfg_options)
    print(report.text())
    return 1 if report.faults else 0


if __name__ == '__main__':
    sys.exit(main())
