"""Show what the class token of a vision transformer attends to in its last block, head by head.

    python tools/analysis/visualize_attention.py configs/dino/dino_vit256-16_patches.py work_dirs/dino data/patches \
        --out work_dirs/attention.png
    python tools/analysis/visualize_attention.py configs/hipt/dino_vit4k-xs_regions.py work_dirs/hipt \
        data/region_tokens --slides data/slides --out work_dirs/attention_regions.png

DATA are images, or a folder or list, of which --num are drawn; or the folder of the tokens of regions, which are drawn
as squares, over the tissue if --slides says where it is.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction

from histomm.datasets.transforms import UnreadableImageError
from histomm.evaluation.encoder import Encoder, encoder_from_config
from histomm.evaluation.extraction import ImageFiles, images_source
from histomm.evaluation.region_tokens import NETWORKS, backbone_prefix
from histomm.models.weights import TransferError
from histomm.visualization.activation_figure import Line, Panel, draw_activations
from histomm.visualization.attention import attention_pictures, class_attention
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture
from histomm.wsi.reader import SlideCache, mpp_of, read_mpp_table
from histomm.wsi.token_store import TokenStore

SIDE = 512
"""Pixels of a drawn region."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config with a vision transformer as model.backbone')
    parser.add_argument('checkpoint', help='checkpoint or work directory')
    parser.add_argument('data', nargs='+', metavar='DATA', help='images, a folder, a list, or a folder of tokens')
    parser.add_argument('--network', choices=('auto', *NETWORKS), default='auto', help='default: the teacher, if any')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--num', type=int, default=3, help='images or regions to draw (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of drawing them (default: %(default)s)')
    parser.add_argument('--slides', type=Path, help='folder of the slides of the regions')
    parser.add_argument('--mpp-table', type=Path, help='CSV slide,mpp for slides whose file does not say')
    parser.add_argument('--out', type=Path, required=True, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def is_store(path: str) -> bool:
    """Whether this is the folder of the tokens of regions."""
    return (Path(path) / 'index.parquet').is_file()


def draw_rows(total: int, args: argparse.Namespace) -> list[int]:
    """So many of all, in order."""
    if args.num < 1:
        raise ValueError(f'--num is {args.num}, expected 1 or more')
    rows = np.random.default_rng(args.seed).choice(total, min(args.num, total), replace=False)
    return sorted(rows.tolist())


def image_lines(encoder: Encoder, args: argparse.Namespace) -> list[Line]:
    """A line for each image."""
    if len(args.data) > 1 or Path(args.data[0]).suffix.lower() not in ('', '.txt', '.csv'):
        missing = [path for path in args.data if not Path(path).is_file()]
        if missing:
            raise FileNotFoundError(f'{missing[0]}: no such image; correct the path')
        names, images = args.data, ImageFiles(args.data, encoder.steps)
    else:
        source = images_source(args.data[0], encoder.steps)
        rows = draw_rows(len(source.names), args)
        names, images = [source.names[row] for row in rows], [source.images[row] for row in rows]
    lines = []
    for name, image in zip(names, images, strict=True):
        inputs = (image.to(encoder.mean.device).float() - encoder.mean) / encoder.std
        weights = class_attention(encoder.network, inputs[None])[0]
        lines.append(line_of('', Path(name).stem, image.permute(1, 2, 0).numpy(), weights))
    return lines


def region_lines(encoder: Encoder, args: argparse.Namespace) -> list[Line]:
    """A line for each region."""
    if len(args.data) > 1:
        raise ValueError(f'found {len(args.data)} folders, expected one of tokens')
    store, lines, slides = TokenStore(args.data[0]), [], SlideCache()
    wanted = getattr(encoder.network.patch_embed, 'in_channels', None)
    store.check(wanted)
    table = read_mpp_table(args.mpp_table) if args.mpp_table else {}
    for row in draw_rows(len(store), args):
        name, (x, y) = store.slides[store.region_slides[row]], store.coords[row].tolist()
        tokens = torch.from_numpy(store.read([row])).float().to(encoder.mean.device)
        height, width = store.grid
        picture = np.full((SIDE * height // max(store.grid), SIDE * width // max(store.grid), 3), 255, np.uint8)
        if args.slides:
            slide = slides.get(args.slides / name, mpp_of(table, name))
            resolution = slide.mpp * float(store.spans[row].max()) / SIDE
            picture = slide.read(x, y, picture.shape[1], picture.shape[0], resolution)
        lines.append(line_of(Path(name).stem, f'x {x}, y {y}', picture, class_attention(encoder.network, tokens)[0]))
    return lines


def line_of(title: str, name: str, picture: np.ndarray, weights: torch.Tensor) -> Line:
    """The picture with the attention over it."""
    maps = attention_pictures(weights, picture.shape[:2])
    return Line(title, name, [Panel(picture, map_, f'most {top:.3f}') for map_, top in maps])


def run(args: argparse.Namespace) -> str:
    """Attend, draw, and say what was shown."""
    check_picture_path(args.out)
    prefix = backbone_prefix(args.checkpoint, args.network)
    encoder = encoder_from_config(args.config, args.checkpoint, args.cfg_options, prefix)
    encoder = encoder.to('cuda' if torch.cuda.is_available() else 'cpu')
    lines = (region_lines if is_store(args.data[0]) else image_lines)(encoder, args)
    heads = len(lines[0].panels) - 1
    names = ['mean of heads', *(f'head {number}' for number in range(heads))]
    write_picture(draw_activations(lines, names, 'attention of the class token'), args.out)
    return f'{args.out}: {len(lines)} rows, {heads} heads of {prefix}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(run(args))
    except (OSError, ValueError, ModuleNotFoundError, TransferError, UnreadableImageError) as error:
        sys.exit(f'visualize_attention: {error}')


if __name__ == '__main__':
    main()
