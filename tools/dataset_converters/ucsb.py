"""UCSB breast cancer cells to lists of images: python tools/dataset_converters/ucsb.py data/BreastCancerCell_dataset

Reads ytma<array>_<date>_<benign|malignant><number>_ccd.tif from all folders below the one given, but for Masks. Images
stay where they are: written are DATA/splits/{train,val,test}.csv (60 : 20 : 20 %, stratified into benign and
malignant), train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each), summary.csv and
conversion.json. No split is published; other seeds give others.

Patients are not published. With --group-by array the images of a tissue microarray stay together (DATA/splits_array).
"""

import argparse
from collections import Counter
from pathlib import Path

from histomm.datasets.conversion import run_conversion
from histomm.datasets.ucsb import PUBLISHED, find_ucsb
from histomm.evaluation.split_lists import PARTS, Sample, write_lists


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='data root; paths in the lists are relative to it')
    parser.add_argument('--group-by', choices=('image', 'array'), default='image', help='what stays together')
    parser.add_argument('--parts', type=int, nargs=3, default=(60, 20, 20), help='shares of train, val and test')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: in DATA, by the options)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    found = find_ucsb(args.data)
    counts = Counter(name.label for name in found.values())
    for label, published in PUBLISHED.items():
        if counts[label] != published:
            print(f'note: {counts[label]} {label} images, the published set has {published}')
    by_array = args.group_by == 'array'
    samples = [Sample(path, name.label, name.array) for path, name in found.items()]
    out = args.out or args.data / ('splits_array' if by_array else 'splits')
    recipe = dict(dataset='ucsb', group_by=args.group_by)
    write_lists(out, samples, recipe, args.seed, by_array, dict(zip(PARTS, args.parts, strict=True)))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('ucsb', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
