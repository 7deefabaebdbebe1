"""Lymphoma (CLL, FL, MCL) to lists of images: python tools/dataset_converters/lymphoma.py data/lymphoma

Reads {CLL,FL,MCL}/<case>_<number>.tif. Images stay where they are: written are DATA/splits/{train,val,test}.csv
(50 : 25 : 25 %, stratified by class), train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of
each), summary.csv and conversion.json.

By default images are split at random, as published figures are. With --group-by case those of one case, as their names
have it, are in one part (DATA/splits_case).
"""

import argparse
from pathlib import Path

from histomm.datasets.class_photos import LYMPHOMA, find_photos, note_classes
from histomm.datasets.conversion import run_conversion
from histomm.evaluation.split_lists import Sample, write_lists


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of the class folders')
    parser.add_argument('--group-by', choices=('image', 'case'), default='image', help='what stays together')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: in DATA, by the options)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    by_case = args.group_by == 'case'
    photos = find_photos(args.data, LYMPHOMA, with_groups=by_case)
    note_classes(photos, LYMPHOMA)
    out = args.out or args.data / ('splits_case' if by_case else 'splits')
    recipe = dict(dataset='lymphoma', group_by=args.group_by)
    write_lists(out, [Sample(*photo) for photo in photos], recipe, args.seed, by_group=by_case)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('lymphoma', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
