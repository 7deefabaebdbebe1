"""GlaS (Warwick-QU) to COCO instances: python tools/dataset_converters/glas.py data/glas

Reads train_N, testA_N, testB_N (bmp or png) and their *_anno label maps, from the folder given or from the one folder
inside it that holds them. Writes train.json, test.json (test A and test B together, the official test set), testA.json
and testB.json, and decodes each of them back.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from histomm.datasets.coco import ConversionError, Sample
from histomm.datasets.conversion import conversion_arguments, note_counts, run_conversion, write_splits
from histomm.datasets.patch_sources import walk_files

CATEGORY = 'gland'
OFFICIAL = {'train': 85, 'testA': 60, 'testB': 20}
SUFFIXES = ('.bmp', '.png')
NAME = re.compile(r'(train|testA|testB)_(\d+)$')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return conversion_arguments(parser).parse_args(argv)


def find_images(data: Path) -> tuple[Path, dict[str, Path]]:
    """The one folder that holds the images, and the images and label maps in it by stem; others are told and left out.

    Raises:
        ConversionError: no images, images in several folders, or one image or map in two formats.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder with train_1.bmp and train_1_anno.bmp')
    found = (data / path for path in sorted(walk_files(str(data))) if '__MACOSX' not in path.split('/'))
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    counts = Counter(path.parent for path in files if NAME.match(path.stem))
    if not counts:
        raise ConversionError(f'{data} holds no image named train_N, testA_N or testB_N (bmp or png); check the path')
    if len(counts) > 1:
        listed = ', '.join(f'{count} in {folder}' for folder, count in counts.items())
        raise ConversionError(
            f'{data} holds images in several folders ({listed}), expected one; give the one that is meant, and to the '
            'configs as data_root'
        )
    (folder,) = counts
    known = [path for path in files if path.parent == folder and NAME.match(path.stem.removesuffix('_anno'))]
    others = [path for path in files if path not in known]
    if others:
        print(f'note: {data} holds {len(others)} pictures of other names or folders, such as {others[0]}: left out')
    by_stem = {path.stem: path for path in known}
    doubled = [path.stem for path in known if by_stem[path.stem] != path]
    if doubled:
        raise ConversionError(f'{folder} holds {doubled[0]} both as bmp and as png; keep one of them')
    return folder, by_stem


def find_samples(data: Path) -> dict[str, list[Sample]]:
    """Images of each split by increasing number, each with the path of its label map.

    Raises:
        ConversionError: see :func:`find_images`, an image without a map, or a map without an image.
    """
    folder, files = find_images(data)
    images = sorted((stem for stem in files if NAME.match(stem)), key=lambda stem: int(NAME.match(stem)[2]))
    splits: dict[str, list[Sample]] = {split: [] for split in OFFICIAL}
    for stem in images:
        if f'{stem}_anno' not in files:
            raise ConversionError(f'image {files[stem]} has no label map {stem}_anno (bmp or png) beside it; add it')
        name = files[stem].relative_to(data).as_posix()
        splits[NAME.match(stem)[1]].append(Sample(files[stem], files[f'{stem}_anno'], name))
    lonely = files.keys() - images - {f'{stem}_anno' for stem in images}
    if lonely:
        stem = min(lonely)
        raise ConversionError(f'label map {files[stem]} has no image {stem.removesuffix("_anno")} in {folder}; add it')
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
