"""BACH, part A (photographs) to lists of images: python tools/dataset_converters/bach.py data/BACH

Reads Photos/{Benign,InSitu,Invasive,Normal}/*.tif, and compares them with Photos/microscopy_ground_truth.csv where that
is there. Images stay where they are. Written are DATA/splits/{train,val,test}.csv (50 : 25 : 25 %, by class),
train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each), summary.csv and
conversion.json. The patients are not published, so images of one may be on both sides.

Other shares, and other lists in place of those draws, are those of Chhipa et al.:

    python tools/dataset_converters/bach.py data/BACH --out data/BACH/splits_mpcs --parts 60 20 20 \\
        --portions 3 6 12 24 36 48 60

gives train_3_each.csv to train_60_each.csv, with 3 to 60 images of each class, of the 60 there are in training.

tools/dataset_converters/bach_wsi.py converts part B, the slides.
"""

import argparse
from pathlib import Path

from histomm.datasets.class_photos import BACH, check_label_table, find_photos, note_classes
from histomm.datasets.conversion import run_conversion
from histomm.evaluation.split_lists import PARTS, Sample, write_lists

FOLDER = 'Photos'
TABLE = 'microscopy_ground_truth.csv'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folder Photos')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: DATA/splits)')
    parser.add_argument(
        '--parts', type=int, nargs=3, default=tuple(PARTS.values()), help='shares of train, val and test (50 25 25)'
    )
    parser.add_argument('--portions', type=int, nargs='+', default=(), help='images of each class in training lists')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    photos = find_photos(args.data, BACH, FOLDER)
    note_classes(photos, BACH)
    table = args.data / FOLDER / TABLE
    if table.is_file():
        check_label_table(table, photos)
    samples = [Sample(*photo) for photo in photos]
    parts = dict(zip(PARTS, args.parts, strict=True))
    out = args.out or args.data / 'splits'
    write_lists(out, samples, dict(dataset='bach'), args.seed, parts=parts, portions=args.portions)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('bach', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
