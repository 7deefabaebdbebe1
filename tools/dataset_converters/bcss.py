"""BCSS to patches for mmseg: python tools/dataset_converters/bcss.py data/BCSS_rois --out data/BCSS

Reads the regions as distributed, images/TCGA-..._xmin..._ymin..._MPP-0.2500.png and masks of the same names in masks.
Cuts them into patches of 512x512 pixels, and reduces image and mask to 256x256 at 0.5 µm a pixel. Codes stay as they
are. What a patch has beyond the region is white, with code 0. Patches with no other code than 0 are not written.

Writes {train,val,test}/{img,mask}/<participant>/<region>_x<x>_y<y>.png, x and y in pixels of the region; summary.csv (a
row a region), classes.csv (pixels of each code), participants.txt and conversion.json. Regions of the institutes OL,
LL, E2, EW, GM and S3 are the test set; of the other participants a tenth, drawn by the seed, is val. All is written to
<out>.partial, which is renamed at the end; a run that was stopped goes on there.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from histomm.datasets.bcss import CLASSES, OUTSIDE
from histomm.datasets.bcss_regions import MPP, Region, cut, find_regions, read_region, split_participants
from histomm.datasets.conversion import claim, convert_each, run_conversion, write_png
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.patients import check_disjoint, participants_of, read_names

PUBLISHED = 151
SPLITS = ('train', 'val', 'test')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folders of images and masks')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    parser.add_argument('--images', default='images', help='folder of the images in DATA (default images)')
    parser.add_argument('--masks', default='masks', help='folder of the masks in DATA (default masks)')
    parser.add_argument('--patch', type=int, default=512, help='side of a patch in the region (default 512)')
    parser.add_argument('--size', type=int, default=256, help='side of a patch as written (default 256)')
    parser.add_argument(
        '--border',
        choices=('pad', 'drop'),
        default='pad',
        help='patches that reach beyond the region: fill them up (default), or leave them out',
    )
    parser.add_argument('--val-share', type=float, default=0.1, help='share of the train participants (default 0.1)')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of val')
    parser.add_argument(
        '--pretrain',
        type=Path,
        help='folder of pre-training images, or a list of their paths: refuse if a participant is in the test set',
    )
    args = parser.parse_args(argv)
    if not 0 < args.size <= args.patch or args.patch % args.size:
        parser.error(f'--patch is {args.patch} and --size {args.size}, expected a multiple of the size')
    if not 0 < args.val_share < 1:
        parser.error(f'--val-share is {args.val_share}, expected a share between 0 and 1')
    return args


def check_pretraining(source: Path, splits: dict[str, str]) -> None:
    """Refuse pre-training images of participants who are in the test set.

    Raises:
        ConversionError: there are such, or nothing is there to compare.
    """
    test = [name for name, split in splits.items() if split == 'test']
    if not test:
        raise ConversionError(
            '--pretrain: no region is of the test set, so nothing can be compared; leave --pretrain out'
        )
    try:
        names = read_names(source)
        check_disjoint(names, test)
    except (OSError, ValueError) as error:
        raise ConversionError(f'--pretrain: {error}') from error
    pretrained, _ = participants_of(names)
    shared = sum(name in splits for name in pretrained)
    print(f'{source}: {len(pretrained)} participants, none of them in the test set, {shared} in train or val')


def write_region(region: Region, split: str, out: Path, args: argparse.Namespace) -> dict:
    """Write the patches of a region, and say how many there are of each kind and how many pixels each code has."""
    image, mask = read_region(region)
    factor = args.patch // args.size
    counts = dict(patches=0, filled_up=0, outside=0, border_dropped=0)
    pixels = np.zeros(len(CLASSES) + 1, int)
    for patch in cut(image, mask, args.patch, factor):
        if not patch.mask.any():
            counts['outside'] += 1
            continue
        if patch.filled_up and args.border == 'drop':
            counts['border_dropped'] += 1
            continue
        counts['patches'] += 1
        counts['filled_up'] += patch.filled_up
        pixels += np.bincount(patch.mask.ravel(), minlength=len(pixels))
        name = f'{region.name}_MPP-{MPP * factor:.4f}_x{patch.x}_y{patch.y}.png'
        write_png(out / split / 'img' / region.participant / name, cv2.cvtColor(patch.image, cv2.COLOR_RGB2BGR))
        write_png(out / split / 'mask' / region.participant / name, patch.mask)
    row = dict(region=region.name, participant=region.participant, institute=region.institute, split=split)
    return row | dict(width=mask.shape[1], height=mask.shape[0]) | counts | dict(pixels=pixels.tolist())


# ---- the whole set


def recipe_of(regions: list[Region], args: argparse.Namespace) -> dict:
    """What the result depends on."""
    options = {name: getattr(args, name) for name in ('patch', 'size', 'border', 'val_share', 'seed')}
    files = {region.name: [region.image.stat().st_size, region.mask.stat().st_size] for region in regions}
    return dict(version=1, **options, bytes_of_image_and_mask=files)


def pixel_sums(rows: list[dict]) -> dict[str, np.ndarray]:
    """Pixels of each code in each split."""
    sums = {split: np.zeros(len(CLASSES) + 1, int) for split in SPLITS}
    for row in rows:
        sums[row['split']] += row['pixels']
    return sums


def write_tables(out: Path, rows: list[dict], participants: list[str]) -> None:
    """Write summary.csv, classes.csv and participants.txt."""
    with open(out / 'summary.csv', 'w', newline='') as file:
        table = csv.DictWriter(file, [name for name in rows[0] if name != 'pixels'], extrasaction='ignore')
        table.writeheader()
        table.writerows(rows)
    sums = pixel_sums(rows)
    with open(out / 'classes.csv', 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['code', 'class', *SPLITS])
        for code, name in enumerate((OUTSIDE, *CLASSES)):
            table.writerow([code, name, *(sums[split][code] for split in SPLITS)])
    (out / 'participants.txt').write_text(''.join(f'{name}\n' for name in participants))


def print_sums(rows: list[dict]) -> None:
    """Say what is in each split, and what was left out."""
    sums = pixel_sums(rows)
    for split in SPLITS:
        own = [row for row in rows if row['split'] == split]
        count = {key: sum(row[key] for row in own) for key in ('patches', 'filled_up', 'outside', 'border_dropped')}
        print(
            f'{split}: {len({row["participant"] for row in own})} participants, {len(own)} regions, '
            f'{count["patches"]} patches ({count["filled_up"]} filled up at borders); left out: '
            f'{count["outside"]} with code 0 alone, {count["border_dropped"]} at borders'
        )
        absent = [name for name, pixels in zip(CLASSES, sums[split][1:], strict=True) if pixels == 0]
        if own and absent:
            print(f'  without a pixel of {", ".join(absent)}')


def check_files(out: Path, rows: list[dict]) -> None:
    """Raise ConversionError unless as many images and masks lie in ``out`` as were written."""
    for split in SPLITS:
        expected = sum(row['patches'] for row in rows if row['split'] == split)
        for kind in ('img', 'mask'):
            found = sum(1 for _ in (out / split / kind).rglob('*.png'))
            if found != expected:
                raise ConversionError(f'{out / split / kind} holds {found} patches, expected {expected}; remove {out}')


def convert(args: argparse.Namespace) -> None:
    regions = find_regions(args.data / args.images, args.data / args.masks)
    if len(regions) != PUBLISHED:
        print(f'note: {len(regions)} regions, the published set has {PUBLISHED}')
    splits = split_participants(regions, args.val_share, args.seed)
    if args.pretrain:
        check_pretraining(args.pretrain, splits)
    partial = claim(args.out, recipe_of(regions, args))
    if partial is None:
        print(f'{args.out} holds these patches already')
        return
    named = {region.name: region for region in regions}
    rows = convert_each(
        partial,
        list(named),
        lambda name: write_region(named[name], splits[named[name].participant], partial, args),
    )
    if not any(row['patches'] for row in rows):
        outside, dropped = (sum(row[key] for row in rows) for key in ('outside', 'border_dropped'))
        raise ConversionError(
            f'{args.data} gives no patch: {outside} have code 0 alone and --border leaves out {dropped}, expected one '
            'or more; check the masks, or choose a smaller --patch'
        )
    check_files(partial, rows)
    write_tables(partial, rows, sorted(splits))
    print_sums(rows)
    partial.replace(args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('bcss', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
