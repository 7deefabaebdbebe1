"""Picture of two views of an image and of the key cells that each matcher gives to one query cell.

python tools/analysis/visualize_matching.py patch.tif --checkpoint work_dirs/moco_plm_r18_nct --out matching.png
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import histomm.datasets
import histomm.models  # noqa: F401, registers what configs name
from histomm.config_file import read_config
from histomm.datasets.transforms import UnreadableImageError
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError
from histomm.registry import MODELS
from histomm.visualization.matching import best_cell, load_views, match_cell, view_features
from histomm.visualization.matching_figure import draw_matching

SUFFIXES = ('.png', '.svg', '.pdf', '.jpg')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', help='image file')
    parser.add_argument('--config', default='configs/plm/moco_plm_r18_nct.py', help='pre-training config')
    parser.add_argument('--checkpoint', help='for feature matching; random weights if left out')
    parser.add_argument(
        '--cell', nargs=2, type=int, metavar=('ROW', 'COLUMN'), help='query cell as seen, from 0; the best covered one'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the views, and of random weights')
    parser.add_argument('--out', required=True, type=Path, help=f'picture, {", ".join(SUFFIXES)}')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


def load_config(path: str, options: dict | None) -> Config:
    """The config with its overrides; its scope is made the default."""
    if '::' not in path and not Path(path).is_file():
        raise ValueError(f'config {path}: no such file; give a pre-training config')
    cfg = read_config(path)
    cfg.merge_from_dict(options or {})
    init_default_scope(cfg.get('default_scope', 'histomm'))
    if 'backbone' not in cfg.get('model', {}):
        raise ValueError(f'{path}: found no model.backbone, which feature matching needs; give a pre-training config')
    return cfg


def draw(args: argparse.Namespace) -> str:
    """Make the picture and say what it shows."""
    if args.out.suffix.lower() not in SUFFIXES:
        raise ValueError(f'--out {args.out} has the suffix {args.out.suffix!r}, expected one of {", ".join(SUFFIXES)}')
    cfg = load_config(args.config, args.cfg_options)
    source, query, key = load_views(cfg, args.image, args.seed)
    torch.manual_seed(args.seed)
    backbone = MODELS.build(cfg.model.backbone)
    if args.checkpoint:
        load_backbone(backbone, args.checkpoint)
    maps = view_features(cfg, backbone, query, key)
    size = tuple(maps[0].shape[-2:])
    cell = tuple(args.cell) if args.cell else best_cell(query, key, size)
    matches = match_cell(query, key, cell, maps)
    figure = draw_matching(
        source, query, key, cell, size, matches, 'pre-trained weights' if args.checkpoint else 'random weights'
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=120)
    return f'{args.out}: query cell {cell}, ' + '; '.join(f'{m.name.lower()} {m.note}' for m in matches)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(draw(args))
    except (ValueError, TransferError, UnreadableImageError) as error:
        sys.exit(f'visualize_matching: {error}')


if __name__ == '__main__':
    main()
