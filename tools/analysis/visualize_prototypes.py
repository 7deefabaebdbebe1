"""Paint the regions of slides in the colours of the prototypes that SLPD has them follow.

python tools/analysis/visualize_prototypes.py configs/slpd/slpd_vit4k-xs_nsclc.py work_dirs/slpd_vit4k-xs_nsclc \
    --slides data/slides --out work_dirs/prototypes

A picture a slide. Prototypes of different slides that are most alike have one colour; regions without are not painted.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from mmengine.config import DictAction
from mmengine.registry import DefaultScope

from histomm.datasets import RegionTokenDataset
from histomm.evaluation.encoder import model_config
from histomm.models.weights import TransferError, read_checkpoint
from histomm.registry import DATASETS
from histomm.visualization.clusters import draw_painted
from histomm.visualization.panels import write_picture
from histomm.visualization.prototypes import read_prototypes, slide_prototypes
from histomm.wsi.reader import open_slide

SIDE = 1024
"""Pixels of the longer side of a painted slide."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of histomm.SLPD')
    parser.add_argument('checkpoint', help='its checkpoint or work directory')
    parser.add_argument('--slides', type=Path, required=True, help='folder of the slides')
    parser.add_argument('--num', type=int, default=4, help='slides, drawn at random (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of drawing them (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    return parser.parse_args(argv)


def paint(dataset: RegionTokenDataset, slide: int, labels: np.ndarray, args: argparse.Namespace) -> Path:
    """The picture of a slide."""
    name = dataset.slide_names[slide]
    members = np.flatnonzero((dataset.region_slides == slide) & (labels >= 0))
    rows = dataset.data_list.rows[members]
    corners, spans = dataset.store.coords[rows], dataset.store.spans[rows]
    with open_slide(args.slides / name) as opened:
        thumbnail = opened.thumbnail(SIDE)
        zoom = thumbnail.shape[1] / opened.size[0]
    boxes = np.concatenate((corners, corners + spans), axis=1) * zoom
    path = args.out / f'{Path(name).with_suffix("")}.png'
    write_picture(draw_painted(thumbnail, boxes, labels[members], Path(name).stem, 'prototype'), path)
    return path


def run(args: argparse.Namespace) -> None:
    """Read, paint, and say what was painted."""
    cfg = model_config(args.config, args.cfg_options)
    if args.num < 1:
        raise ValueError(f'--num is {args.num}, expected 1 or more')
    rows, own = read_prototypes(read_checkpoint(args.checkpoint)[0], args.checkpoint)
    with DefaultScope.overwrite_default_scope('histomm'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    found = slide_prototypes(rows, own, dataset.region_slides, cfg.model.get('num_prototypes', 4))
    slides = np.array(list(found.cosine))
    chosen = np.sort(np.random.default_rng(args.seed).permutation(slides)[: args.num])
    for slide in chosen.tolist():
        path = paint(dataset, slide, found.labels, args)
        print(f'{path}: prototypes with a cosine of {found.cosine[slide]:.2f} to those of the first slide')
    print(f'{len(chosen)} of {len(slides)} slides with prototypes; {int((found.labels < 0).sum())} regions have none')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (OSError, ValueError, ModuleNotFoundError, TransferError) as error:
        sys.exit(f'visualize_prototypes: {error}')


if __name__ == '__main__':
    main()
