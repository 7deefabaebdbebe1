"""NCT-CRC-HE-100K to lists of images: python tools/dataset_converters/nct.py data/NCT-CRC-HE-100K

Reads <CLASS>/*.tif of the nine classes. Images stay where they are: written are DATA/splits/{train,val}.csv (75 : 25 %,
stratified by class), train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training images, 5 draws of each),
summary.csv and conversion.json. The names do not say of which patient an image is, so images of one are on both sides.

With --test data/CRC-VAL-HE-7K that set, of other patients, is looked through as well: it is the test set, read from its
class folders.
"""

import argparse
from pathlib import Path

from histomm.datasets.class_photos import NCT, NCT_TEST_IMAGES, find_photos, note_classes
from histomm.datasets.conversion import run_conversion
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.split_lists import Sample, write_lists

PARTS = {'train': 75, 'val': 25}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of the class folders')
    parser.add_argument('--test', type=Path, help='folder CRC-VAL-HE-7K, to be looked through')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: DATA/splits)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    photos = find_photos(args.data, NCT)
    note_classes(photos, NCT)
    if args.test:
        tested = find_photos(args.test, NCT)
        shared = {Path(photo.path).name for photo in photos} & {Path(photo.path).name for photo in tested}
        if shared:
            raise ConversionError(
                f'{len(shared)} images, such as {min(shared)}, are in {args.data} and in {args.test}, expected none; '
                'is it the test set?'
            )
        if len(tested) != NCT_TEST_IMAGES:
            print(f'note: {len(tested)} images in {args.test}, the published set has {NCT_TEST_IMAGES}')
    samples = [Sample(*photo) for photo in photos]
    write_lists(args.out or args.data / 'splits', samples, dict(dataset='nct'), args.seed, parts=PARTS)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('nct', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
