"""Write how the stain of images varies, for histomm.RandStainNA.

python tools/analysis/stain_statistics.py data/patches --out stain.yaml --spaces lab hed
"""

import argparse
import sys
from pathlib import Path

from histomm.datasets import PatchDataset
from histomm.datasets.patch_collection import draw_images
from histomm.datasets.stain_statistics import estimate_statistics, write_statistics
from histomm.datasets.transforms import UnreadableImageError
from histomm.datasets.transforms.stain_spaces import SPACES


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='+', help='folders of images')
    parser.add_argument('--out', required=True, type=Path, help='YAML file')
    parser.add_argument('--spaces', nargs='+', choices=SPACES, default=['lab'], help='colour spaces')
    parser.add_argument('--max-images', type=int, default=2000, help='use a random subset of larger sets')
    parser.add_argument('--seed', type=int, default=0, help='seed of the subset')
    parser.add_argument('--min-stained', type=float, default=0.01, help='leave out images with less stained pixels')
    return parser.parse_args(argv)


def estimate(args: argparse.Namespace) -> str:
    """Write the file and say what it holds."""
    data = PatchDataset(args.folders)
    paths = [data.get_data_info(index)['img_path'] for index in range(len(data))]
    drawn = draw_images(paths, args.max_images, args.seed)
    used = [path for path in paths if path in drawn]
    statistics, pale = estimate_statistics(used, args.spaces, args.min_stained)
    write_statistics(args.out, statistics, len(used) - len(pale))
    left_out = f'; left out {len(pale)} with too little stained tissue, such as {pale[0]}' if pale else ''
    return f'{args.out}: {", ".join(args.spaces)} of {len(used) - len(pale)} of {len(paths)} images{left_out}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(estimate(args))
    except (ValueError, FileNotFoundError, UnreadableImageError) as error:
        sys.exit(f'stain_statistics: {error}')


if __name__ == '__main__':
    main()
