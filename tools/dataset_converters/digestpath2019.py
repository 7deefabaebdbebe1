"""DigestPath 2019 to tiles for mmseg:

python tools/dataset_converters/digestpath2019.py data/DigestPath_raw --out data/DigestPath2019

Reads tissue-train-pos/<slide>-lv<level>-<x>-<y>-<width>-<height>.jpg, about 5000x5000, with ..._mask.jpg beside it: 250
pictures. Those of tissue-train-neg have no mask and are left out.

Tiles of 1024x1024 pixels; what one has beyond the picture is white, with 255 in the mask, which is ignored. Pictures of
50, 25 and 25 % of the slides are train, val and test, drawn by the seed; no slide is in two of them. Written are
{train,val,test}/{img,mask}/<picture>_x<x>_y<y>.png (masks: 0 normal, 1 lesion), train_<percent>_<draw>.txt
(names of 5, 10, 20 and 50 % of the training tiles, 5 draws of each), summary.csv and conversion.json, first to
<out>.partial, which is renamed at the end; a run that was stopped goes on there.
"""

import argparse
from pathlib import Path

from histomm.datasets.conversion import run_conversion
from histomm.datasets.digestpath import CLASSES, find_pictures
from histomm.datasets.semantic_tiles import split_names, write_tiles

PUBLISHED = 250
SHARES = (50, 25, 25)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with tissue-train-pos')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    parser.add_argument('--side', type=int, default=1024, help='of a tile in pixels (default 1024)')
    parser.add_argument('--stride', type=int, help='from a tile to the next (default: the side)')
    parser.add_argument('--seed', type=int, default=0, help='of the split (default 0)')
    args = parser.parse_args(argv)
    args.stride = args.stride or args.side
    if not 0 < args.stride <= args.side:
        parser.error(f'--stride is {args.stride} and --side {args.side}, expected a stride from 1 to the side')
    return args


def convert(args: argparse.Namespace) -> None:
    pictures = find_pictures(args.data, args.side, args.stride)
    if len(pictures) != PUBLISHED:
        print(f'note: {len(pictures)} pictures, the published set has {PUBLISHED}')
    splits = split_names((picture.group for picture in pictures), SHARES, args.seed)
    recipe = dict(dataset='digestpath2019', side=args.side, stride=args.stride, seed=args.seed)
    write_tiles(pictures, splits, CLASSES, args.out, recipe)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('digestpath2019', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
