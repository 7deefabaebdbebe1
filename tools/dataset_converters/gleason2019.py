"""Gleason2019 to tiles of one grade:

python tools/dataset_converters/gleason2019.py data/Gleason2019_raw --out data/Gleason2019

Reads Train_imgs/slide001_core003.jpg, and slide001_core003_classimg_nonconvex.png of each expert who graded the core in
Maps1_T to Maps6_T. Of each pixel counts what most experts say, of codes with as many votes the lowest; of each tile the
class that most of its pixels have, background (0) not counted. Tiles of background alone are left out.

Tiles do not overlap; --side is a multiple of 224, to which they are reduced. The other options say which tiles count.
Written are tiles/<core>/<core>_x<x>_y<y>.png, and in splits the lists of train, val and test (50 : 25 : 25 % of the
tiles, no core in two of them) and train_<percent>_<draw>.csv (5, 10, 20 and 50 % of the training tiles, 5 draws of
each). All is written to <out>.partial, which is renamed at the end; a run that was stopped goes on there.
"""

import argparse
from pathlib import Path

import cv2

from histomm.datasets.conversion import claim, convert_each, run_conversion, write_png
from histomm.datasets.gleason import GRADES, Core, core_tiles, find_cores
from histomm.datasets.label_maps import ConversionError
from histomm.evaluation.split_lists import Sample, write_lists

PUBLISHED = 244
SIZE = 224


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with Train_imgs and Maps1_T to Maps6_T')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    parser.add_argument('--side', type=int, default=SIZE, help=f'of a tile in the core, a multiple of {SIZE} (default)')
    parser.add_argument(
        '--min-graded', type=float, default=0.0, help='share of a tile that must not be background (default 0)'
    )
    parser.add_argument(
        '--recode',
        nargs='+',
        default=[],
        metavar='CODE=CODE',
        help='codes of the maps that are to count as others, such as 6=1',
    )
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default 0)')
    args = parser.parse_args(argv)
    if args.side < SIZE or args.side % SIZE:
        parser.error(f'--side is {args.side}, expected a multiple of {SIZE}')
    if not 0 <= args.min_graded <= 1:
        parser.error(f'--min-graded is {args.min_graded}, expected a share from 0 to 1')
    try:
        args.recode = {int(old): int(new) for old, new in (word.split('=') for word in args.recode)}
    except ValueError:
        parser.error(f'--recode is {" ".join(args.recode)}, expected CODE=CODE such as 6=1')
    wrong = sorted(set(args.recode.values()) - {0, *GRADES})
    if wrong:
        parser.error(f'--recode makes codes {wrong[0]}, expected 0 or one of {", ".join(map(str, GRADES))}')
    return args


def write_core(core: Core, out: Path, args: argparse.Namespace) -> dict:
    """Write the tiles of a core; path and label of each, and how many are left out."""
    tiles, left_out = [], 0
    for tile in core_tiles(core, args.side, SIZE, args.recode, args.min_graded):
        if tile is None:
            left_out += 1
            continue
        path = f'tiles/{core.name}/{core.name}_x{tile.x}_y{tile.y}.png'
        write_png(out / path, cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR))
        tiles.append((path, tile.label))
    return dict(tiles=tiles, left_out=left_out)


def convert(args: argparse.Namespace) -> None:
    cores = {core.name: core for core in find_cores(args.data)}
    if len(cores) != PUBLISHED:
        print(f'note: {len(cores)} cores, the published set has {PUBLISHED}')
    sizes = {core.name: [path.stat().st_size for path in (core.image, *core.maps)] for core in cores.values()}
    recode = {str(old): new for old, new in args.recode.items()}
    recipe = dict(dataset='gleason2019', side=args.side, min_graded=args.min_graded, recode=recode)
    partial = claim(args.out, dict(version=1, **recipe, seed=args.seed, bytes_of_image_and_maps=sizes))
    if partial is None:
        print(f'{args.out} holds these tiles already')
        return
    rows = convert_each(partial, list(cores), lambda name: write_core(cores[name], partial, args))
    samples = [Sample(path, label, name) for name, row in zip(cores, rows, strict=True) for path, label in row['tiles']]
    if not samples:
        raise ConversionError(f'{args.data} gives no tile; check the maps, or choose a smaller --side')
    print(f'{len(samples)} tiles of {len(cores)} cores, {sum(row["left_out"] for row in rows)} left out')
    write_lists(partial / 'splits', samples, recipe, args.seed, by_group=True)
    partial.replace(args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('gleason2019', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
