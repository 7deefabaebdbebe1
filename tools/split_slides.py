"""Draw folds of a table of slides that keep the slides of a patient together and the classes in proportion.

    python tools/split_slides.py data/TCGA-NSCLC/slides.csv --folds 10

Fold i is tested on one piece of the patients, validated on the next and trained on the others; it is written as
splits_i.csv with the columns train, val and test, by default into the folder `splits` beside the table.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from histomm.datasets.slide_table import PARTS, check_classes, read_slide_table, write_fold
from histomm.evaluation.splits import kfold_splits


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('table', type=Path, help='CSV slide,patient,label')
    parser.add_argument('--folds', type=int, default=10, help='3 or more (default: %(default)s)')
    parser.add_argument(
        '--survival', action='store_true', help='the table has time and event; events are in proportion'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the draw (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='folder of the folds (default: splits beside the table)')
    return parser.parse_args(argv)


def split(args: argparse.Namespace) -> None:
    """Draw, check and write all folds, and say how many slides each part has."""
    rows = read_slide_table(args.table, args.survival)
    kinds = np.array([f'event={row.event}' if args.survival else row.label for row in rows])
    classes, labels = np.unique(kinds, return_inverse=True)
    out = args.out or args.table.parent / 'splits'
    folds = []
    for number, parts in enumerate(kfold_splits(labels, args.folds, args.seed, [row.patient for row in rows])):
        for part, members in zip(PARTS, parts, strict=True):
            check_classes(kinds[members].tolist(), classes.tolist(), f'the part {part!r} of fold {number}')
        folds.append(parts)
    for number, parts in enumerate(folds):
        path = out / f'splits_{number}.csv'
        write_fold(
            path, {part: [rows[row].slide for row in members] for part, members in zip(PARTS, parts, strict=True)}
        )
        counts = [Counter(kinds[members].tolist()) for members in parts]
        found = [f'{part} {", ".join(f"{count[name]} {name}" for name in classes)}'
                 for part, count in zip(PARTS, counts, strict=True)]  # fmt: skip
        print(f'{path}: {"; ".join(found)}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        split(args)
    except (OSError, ValueError) as error:
        sys.exit(f'split_slides: {error}')


if __name__ == '__main__':
    main()
