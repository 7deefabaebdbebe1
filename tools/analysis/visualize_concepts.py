"""Picture of the concepts that ConCL finds in an image, and of what its two views get of them.

python tools/analysis/visualize_concepts.py patch.tif --checkpoint work_dirs/concl_r18_nct --out concepts.png
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

import histomm.datasets
import histomm.models  # noqa: F401, registers what configs name
from histomm.datasets.transforms import UnreadableImageError
from histomm.models.weights import TransferError
from histomm.visualization.concepts import find_concepts, load_concl
from histomm.visualization.concepts_figure import draw_concepts, letter
from histomm.visualization.matching import load_config, load_views
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', help='image file')
    parser.add_argument('--config', default='configs/concl/concl_r18_nct.py', help='pre-training config of ConCL')
    parser.add_argument('--checkpoint', help='weights to find concepts with; random ones if left out')
    parser.add_argument('--seed', type=int, default=0, help='seed of the views, of k-means and of random weights')
    parser.add_argument('--out', required=True, type=Path, help=f'picture, {", ".join(SUFFIXES)}')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> str:
    """Make the picture and say what it shows."""
    check_picture_path(args.out)
    cfg = load_config(args.config, args.cfg_options)
    torch.manual_seed(args.seed)
    model = load_concl(cfg, args.checkpoint)
    source, *views = load_views(cfg, args.image, args.seed, count=3)
    torch.manual_seed(args.seed)
    concepts = find_concepts(model, *views)
    note = 'pre-trained weights' if args.checkpoint else 'random weights'
    write_picture(draw_concepts(source, *views, concepts, note), args.out)
    shared = ' '.join(letter(number) for number in concepts.shared.nonzero()[0]) or 'none'
    return f'{args.out}: {concepts.shared.sum()} of {len(concepts.shared)} concepts in both views: {shared}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(draw(args))
    except (ValueError, TransferError, UnreadableImageError) as error:
        sys.exit(f'visualize_concepts: {error}')


if __name__ == '__main__':
    main()
