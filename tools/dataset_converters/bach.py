"""BACH, part A (photographs) to lists of images: python tools/dataset_converters/bach.py data/BACH

Reads Photos/{Benign,InSitu,Invasive,Normal}/*.tif, and compares them with Photos/microscopy_ground_truth.csv where that
is there. Images stay where they are. Written are DATA/splits/{train,val,test}.csv (50 : 25 : 25 %, by class),
train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each), summary.csv and
conversion.json. The patients are not published, so images of one may be on both sides.

tools/dataset_converters/bach_wsi.py converts part B, the slides.
"""

import argparse
from pathlib import Path

from histomm.datasets.class_photos import BACH, check_label_table, find_photos, note_classes
from histomm.datasets.conversion import run_conversion
from histomm.evaluation.split_lists import Sample, write_lists

FOLDER = 'Photos'
TABLE = 'microscopy_ground_truth.csv'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folder Photos')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: DATA/splits)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    photos = find_photos(args.data, BACH, FOLDER)
    note_classes(photos, BACH)
    table = args.data / FOLDER / TABLE
    if table.is_file():
        check_label_table(table, photos)
    samples = [Sample(*photo) for photo in photos]
    write_lists(args.out or args.data / 'splits', samples, dict(dataset='bach'), args.seed)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('bach', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
