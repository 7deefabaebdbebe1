"""GlaS (Warwick-QU) to COCO instances: python tools/dataset_converters/glas.py data/glas

Reads train_N, testA_N, testB_N (bmp or png) and their *_anno label maps, from the folder given or from the one folder
inside it that holds them. Writes train.json, test.json (test A and test B together, the official test set), testA.json
and testB.json, and decodes each of them back.
"""

import argparse
import re
import sys
from pathlib import Path

from histomm.datasets.coco import ConversionError, Fragment, Sample, build_coco, check_coco, write_coco

CATEGORY = 'gland'
OFFICIAL = {'train': 85, 'testA': 60, 'testB': 20}
SUFFIXES = ('.bmp', '.png')
NAME = re.compile(r'(train|testA|testB)_(\d+)$')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='data root; image names in the files are relative to it')
    parser.add_argument('--out', type=Path, help='folder of the COCO files (default: DATA/annotations)')
    parser.add_argument(
        '--keep-disconnected',
        action='store_true',
        help='one object per id; otherwise each connected part is one, as some test B maps give all glands the id 1',
    )
    parser.add_argument('--min-area', type=int, default=10, help='leave out smaller parts, in pixels (default 10)')
    return parser.parse_args(argv)


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


def describe_splits(splits: dict[str, list[Sample]]) -> None:
    """Say where the folder differs from the official split."""
    for split, samples in splits.items():
        if len(samples) != OFFICIAL[split]:
            print(f'note: {split} has {len(samples)} images, officially {OFFICIAL[split]}')
    present = [split for split in ('testA', 'testB') if splits[split]]
    if len(present) < 2:
        print(f'note: test.json holds {" and ".join(present) or "nothing and is not written"}')


def convert(name: str, samples: list[Sample], out: Path, split_disconnected: bool, min_area: int) -> list[Fragment]:
    """Write and check one COCO file."""
    coco, fragments = build_coco(samples, CATEGORY, split_disconnected, min_area)
    path = out / f'{name}.json'
    write_coco(coco, path)
    check = check_coco(path, samples, fragments)
    print(
        f'{path}: {check.images} images ({check.empty_images} without glands), {check.objects} glands, IoU with the '
        f'source mask min {check.min_iou:.4f} mean {check.mean_iou:.4f}, {len(fragments)} fragments left out'
    )
    return fragments


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    out = args.out or args.data / 'annotations'
    try:
        splits = find_samples(args.data)
        describe_splits(splits)
        files = {**splits, 'test': splits['testA'] + splits['testB']}
        for name, samples in files.items():
            if not samples:
                continue
            fragments = convert(name, samples, out, not args.keep_disconnected, args.min_area)
            if name != 'test':
                for fragment in fragments:
                    print(f'  left out: {fragment.label} id {fragment.instance_id}, {fragment.area} px')
    except ConversionError as error:
        print(f'glas: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
