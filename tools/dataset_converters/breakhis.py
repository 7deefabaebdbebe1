"""BreakHis to lists of images: python tools/dataset_converters/breakhis.py data/BreaKHis_v1

Reads SOB_<B|M>_<subtype>-<year>-<slide>-<magnification>-<number>.png from all folders below the one given. Images stay
where they are: written are DATA/splits/{train,val,test}.csv (50 : 25 : 25 %, stratified into benign and malignant, all
magnifications together), train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each),
summary.csv and conversion.json.

By default images are split at random, as published figures are: images of a patient are on both sides. With --group-by
patient nobody is in two parts (DATA/splits_patient); with --group-by case slides that differ in their letters only,
such as 14-21998AB and 14-21998CD, count as one patient too (DATA/splits_case).
"""

import argparse
from collections import Counter
from pathlib import Path

from histomm.datasets.breakhis import CLASSES, find_breakhis
from histomm.datasets.conversion import run_conversion
from histomm.evaluation.split_lists import Sample, write_lists

PUBLISHED = {'benign': 2480, 'malignant': 5429}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='data root; paths in the lists are relative to it')
    parser.add_argument('--group-by', choices=('image', 'patient', 'case'), default='image', help='what stays together')
    parser.add_argument('--magnification', type=int, choices=(40, 100, 200, 400), help='only images of this one')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: in DATA, by the options)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    found = find_breakhis(args.data)
    counts = Counter(name.label for name in found.values())
    for label in CLASSES:
        if counts[label] != PUBLISHED[label]:
            print(f'note: {counts[label]} {label} images, the published set has {PUBLISHED[label]}')
    samples = [
        Sample(path, name.label, name.case if args.group_by == 'case' else name.patient)
        for path, name in found.items()
        if args.magnification in (None, name.magnification)
    ]
    default = '_'.join(['splits', *([args.group_by] * (args.group_by != 'image'))])
    default += f'_{args.magnification}X' if args.magnification else ''
    recipe = dict(dataset='breakhis', group_by=args.group_by, magnification=args.magnification)
    write_lists(args.out or args.data / default, samples, recipe, args.seed, by_group=args.group_by != 'image')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('breakhis', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
