"""BACH, part B (slides) to tiles for mmseg:

python tools/dataset_converters/bach_wsi.py data/BACH/WSI --out data/BACH_WSI

Reads A01.svs, ... with the outlines of Aperio ImageScope in A01.xml: ten slides. Slides without xml are left out. The
class of an outline is the word benign, in situ or invasive in its attributes, its text, or the name of its layer; what
is not outlined is normal. Outlines are filled in the order of the file, later ones win.

Tiles of 1024x1024 pixels of level 0. Those without outlines are left out where less than a twentieth is tissue
(--tissue). Beyond the slide a tile is white, with 255 in the mask, which is ignored. Of ten slides 5 are train, 3 val
and 2 test, drawn by the seed. Written are {train,val,test}/{img,mask}/<slide>_x<x>_y<y>.png (masks: 0 normal, 1 benign,
2 in situ, 3 invasive), train_<percent>_<draw>.txt (names of 5, 10, 20 and 50 % of the training tiles, 5 draws of each),
summary.csv and conversion.json, first to <out>.partial, which is renamed at the end; a run that was stopped goes on
there.
"""

import argparse
from pathlib import Path

from histomm.datasets.bach_slides import CLASSES, SHARES, find_outlined_slides
from histomm.datasets.conversion import run_conversion
from histomm.datasets.semantic_tiles import split_names, write_tiles

PUBLISHED = 10


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of the slides and their xml')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    parser.add_argument('--side', type=int, default=1024, help='of a tile in level-0 pixels (default 1024)')
    parser.add_argument('--stride', type=int, help='from a tile to the next (default: the side)')
    parser.add_argument('--tissue', type=float, default=0.05, help='share from which on a tile is taken (default .05)')
    parser.add_argument('--mpp', type=float, help='µm a pixel, where a slide does not say')
    parser.add_argument('--seed', type=int, default=0, help='of the split (default 0)')
    args = parser.parse_args(argv)
    args.stride = args.stride or args.side
    if not 0 < args.stride <= args.side:
        parser.error(f'--stride is {args.stride} and --side {args.side}, expected a stride from 1 to the side')
    if not 0 <= args.tissue <= 1:
        parser.error(f'--tissue is {args.tissue}, expected a share from 0 to 1')
    return args


def convert(args: argparse.Namespace) -> None:
    slides = find_outlined_slides(args.data, args.side, args.stride, args.tissue, args.mpp)
    if len(slides) != PUBLISHED:
        print(f'note: {len(slides)} slides with outlines, the published set has {PUBLISHED}')
    splits = split_names((slide.group for slide in slides), SHARES, args.seed)
    options = {name: getattr(args, name) for name in ('side', 'stride', 'tissue', 'mpp', 'seed')}
    write_tiles(slides, splits, CLASSES, args.out, dict(dataset='bach_wsi', **options))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('bach_wsi', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
