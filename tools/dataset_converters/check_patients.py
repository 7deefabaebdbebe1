"""Say whether a TCGA participant is on both sides: python tools/dataset_converters/check_patients.py PRETRAIN TEST

Each side is a folder, of whose files the paths are read, or a text file with a path or barcode a line. Exit code 1 if a
participant is on both sides, or if a side has no barcode at all, so that nothing can be told.
"""

import argparse
import sys
from pathlib import Path

from histomm.datasets.patients import check_disjoint, participants_of, read_names


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pretrain', type=Path, help='folder or list of the pre-training images')
    parser.add_argument('test', type=Path, help='folder or list of the test images, or a participants.txt')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        sides = [read_names(source) for source in (args.pretrain, args.test)]
        check_disjoint(*sides, labels=(f'pre-training ({args.pretrain})', f'test ({args.test})'))
    except (OSError, ValueError) as error:
        print(f'check_patients: {error}', file=sys.stderr)
        return 1
    for source, names in zip((args.pretrain, args.test), sides, strict=True):
        found, unnamed = participants_of(names)
        print(f'{source}: {len(names)} names, {len(found)} participants, {len(unnamed)} names without a barcode')
    print('no participant is on both sides')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
