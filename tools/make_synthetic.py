"""Write a data set of drawn H&E tissue in the on-disk layout of a real one.

python tools/make_synthetic.py --layout nct --out data/nct --num 900
python tools/make_synthetic.py --layout glas --out data/glas --num 165 --size 775x522
python tools/make_synthetic.py --layout crag --out data/CRAG --num 213
python tools/make_synthetic.py --layout bcss --out data/BCSS_rois --num 151
python tools/make_synthetic.py --layout monuseg --out data/MoNuSeg_raw --num 51
python tools/make_synthetic.py --layout consep --out data/CoNSeP_raw --num 41
python tools/make_synthetic.py --layout breakhis-82 --out data/BreaKHis_v1 --num 164
python tools/make_synthetic.py --layout slides --out data/slides --num 10 --size 4096
python tools/make_synthetic.py --layout subtypes --out data/NSCLC --num 40 --size 2048
"""

import argparse
import sys
from pathlib import Path

from histomm.datasets.synthetic import LAYOUTS, write_layout


def parse_size(text: str) -> tuple[int, int]:
    """``S`` or ``WxH`` to ``(width, height)``."""
    sides = text.lower().split('x')
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise argparse.ArgumentTypeError(f'{text!r} is no size, expected S or WxH, for example 224 or 775x522')
    return int(sides[0]), int(sides[-1])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--layout', required=True, help=f'one of {", ".join(LAYOUTS)}')
    parser.add_argument('--out', required=True, type=Path, help='new or empty folder, or one to be completed')
    parser.add_argument('--num', required=True, type=int, help='number of pictures')
    parser.add_argument('--size', type=parse_size, help="S or WxH in pixels (default: the layout's own)")
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        pictures = write_layout(args.layout, args.out, args.num, args.size, args.seed)
    except (ValueError, FileExistsError) as error:
        sys.exit(f'make_synthetic: {error}')
    print(f'{len(pictures)} pictures in {args.out}')


if __name__ == '__main__':
    main()
