"""Picture of two views of an image and of the key cells that each matcher gives to one query cell, or to all of them.

python tools/analysis/visualize_matching.py patch.tif --checkpoint work_dirs/moco_plm_r18_nct --out matching.png
python tools/analysis/visualize_matching.py patch.tif --config configs/vicregl/vicregl_r18_nct.py --all --out pairs.png
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

import histomm.datasets
import histomm.models  # noqa: F401, registers what configs name
from histomm.datasets.transforms import UnreadableImageError
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError
from histomm.registry import MODELS
from histomm.visualization.matching import best_cell, load_config, load_views, match_cell, view_features
from histomm.visualization.matching_figure import draw_matching
from histomm.visualization.pairs import draw_pairs, location_matcher, match_locations
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture

VIEWS = ('query', 'key')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', help='image file')
    parser.add_argument('--config', default='configs/plm/moco_plm_r18_nct.py', help='pre-training config')
    parser.add_argument('--checkpoint', help='for feature matching; random weights if left out')
    cells = parser.add_mutually_exclusive_group()
    cells.add_argument(
        '--cell', nargs=2, type=int, metavar=('ROW', 'COLUMN'), help='query cell as seen, from 0; the best covered one'
    )
    cells.add_argument('--all', action='store_true', help='all cells, under both kinds of location matching')
    parser.add_argument('--seed', type=int, default=0, help='seed of the views, and of random weights')
    parser.add_argument('--out', required=True, type=Path, help=f'picture, {", ".join(SUFFIXES)}')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> str:
    """Make the picture and say what it shows."""
    check_picture_path(args.out)
    cfg = load_config(args.config, args.cfg_options)
    source, query, key = load_views(cfg, args.image, args.seed)
    torch.manual_seed(args.seed)
    backbone = MODELS.build(cfg.model.backbone)
    if args.checkpoint:
        load_backbone(backbone, args.checkpoint)
    maps = view_features(cfg, backbone, query, key)
    size = tuple(maps[0].shape[-2:])
    if args.all:
        found = match_locations(query, key, size, tuple(maps[1].shape[-2:]), location_matcher(cfg))
        write_picture(draw_pairs(query, key, found), args.out)
        mean = ', '.join(f'{name} {100 * cells.mean():.0f} %' for name, cells in zip(VIEWS, found.covered, strict=True))
        return f'{args.out}: nearest location keeps {len(found.pairs)} pairs; precise location covers of {mean}'
    cell = tuple(args.cell) if args.cell else best_cell(query, key, size)
    matches = match_cell(query, key, cell, maps)
    figure = draw_matching(
        source, query, key, cell, size, matches, 'pre-trained weights' if args.checkpoint else 'random weights'
    )
    write_picture(figure, args.out)
    return f'{args.out}: query cell {cell}, ' + '; '.join(f'{m.name.lower()} {m.note}' for m in matches)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(draw(args))
    except (ValueError, TransferError, UnreadableImageError) as error:
        sys.exit(f'visualize_matching: {error}')


if __name__ == '__main__':
    main()
