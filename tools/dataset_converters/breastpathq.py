"""BreastPathQ to lists of images and cellularities: python tools/dataset_converters/breastpathq.py data/BreastPathQ

Reads datasets/train/<slide>_<rid>.tif with datasets/train_labels.csv (slide, rid, y), and datasets/validation with
val_labels.csv. The two parts are taken together and split anew, as the test set of the challenge has no labels. Images
stay where they are. Written are DATA/splits/{train,val,test}.csv (50 : 25 : 25 %), labels in percent, 0 to 100;
train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each), summary.csv and
conversion.json.

No slide is in two parts; with --group-by image patches are split at random (DATA/splits_image).
"""

import argparse
from pathlib import Path

from histomm.datasets.breastpathq import find_patches
from histomm.datasets.conversion import run_conversion
from histomm.evaluation.split_lists import Sample, write_lists


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folder datasets')
    parser.add_argument('--group-by', choices=('slide', 'image'), default='slide', help='what stays together')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: in DATA, by the options)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    by_slide = args.group_by == 'slide'
    samples = [Sample(*patch) for patch in find_patches(args.data)]
    out = args.out or args.data / ('splits' if by_slide else 'splits_image')
    recipe = dict(dataset='breastpathq', group_by=args.group_by)
    write_lists(out, samples, recipe, args.seed, by_group=by_slide)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('breastpathq', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
