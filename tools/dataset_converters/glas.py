"""GlaS (Warwick-QU) to COCO instances: python tools/dataset_converters/glas.py data/glas

Reads train_N, testA_N, testB_N (bmp or png) and their *_anno label maps, from the folder given or from the one folder
inside it that holds them. Writes train.json, test.json (test A and test B together, the official test set), testA.json
and testB.json, and decodes each of them back.
"""

import argparse
import re
from pathlib import Path

from histomm.datasets.coco import ConversionError, Sample
from histomm.datasets.conversion import conversion_arguments, note_counts, run_conversion, write_splits

CATEGORY = 'gland'
OFFICIAL = {'train': 85, 'testA': 60, 'testB': 20}
SUFFIXES = ('.bmp', '.png')
NAME = re.compile(r'(train|testA|testB)_(\d+)$')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return conversion_arguments(parser).parse_args(argv)


def find_samples(data: Path) -> dict[str, list[Sample]]:
    """Images of each split by increasing number, each with the path of its label map.

    Raises:
        ConversionError: no images, images in several folders, one image in two formats, or a map without an image.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder with train_1.bmp and train_1_anno.bmp')
    files = sorted(path for path in data.rglob('*') if path.suffix.lower() in SUFFIXES)
    images = [path for path in files if NAME.match(path.stem)]
    if not images:
        raise ConversionError(f'{data} holds no image named train_N, testA_N or testB_N (bmp or png); check the path')
    folders = sorted({str(path.parent) for path in images})
    if len(folders) > 1:
        raise ConversionError(f'{data} holds images in several folders ({", ".join(folders)}); give one of them')
    stems = [path.stem for path in images]
    doubled = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubled:
        raise ConversionError(f'{folders[0]} holds {doubled[0]} both as bmp and as png; keep one of them')
    for path in files:
        if path.stem.endswith('_anno') and path.stem.removesuffix('_anno') not in stems:
            raise ConversionError(f'label map {path} has no image {path.stem.removesuffix("_anno")} beside it')
    splits: dict[str, list[Sample]] = {split: [] for split in OFFICIAL}
    for path in sorted(images, key=lambda path: int(NAME.match(path.stem)[2])):
        label = path.with_name(f'{path.stem}_anno{path.suffix}')
        split = NAME.match(path.stem)[1]
        splits[split].append(Sample(path, label, path.relative_to(data).as_posix()))
    return splits


def convert(args: argparse.Namespace) -> None:
    splits = find_samples(args.data)
    note_counts(splits, OFFICIAL)
    present = [split for split in ('testA', 'testB') if splits[split]]
    if len(present) < 2:
        print(f'note: test.json holds {" and ".join(present) or "nothing and is not written"}')
    write_splits({**splits, 'test': splits['testA'] + splits['testB']}, CATEGORY, args)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('glas', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
