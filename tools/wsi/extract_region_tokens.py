"""Tokens of regions of slides: 256 patches of 256 pixels, each through an encoder of patches, as HIPT has them.

python tools/wsi/tile_slides.py data/slides --out data/regions --size 4096 --native 0.2 --tissue clam --four-points
python tools/wsi/extract_region_tokens.py configs/dino/dino_vit256-16_patches.py vit256-16.pth data/slides \
    --tiles data/regions/tiles.parquet --out data/region_tokens

The folder holds index.parquet and shards of tokens, see histomm.wsi.token_store; failed slides are in failures.csv.
The same command goes on where a run was interrupted, and takes in slides that were added; several may run on one
folder at the same time, one a GPU.
"""

import argparse
import csv
import io
import sys
from collections import Counter
from pathlib import Path

import torch
from mmengine.config import DictAction
from tqdm import tqdm

from histomm.atomic_file import write_atomic
from histomm.evaluation.encoder import Encoder, encoder_from_config
from histomm.evaluation.region_tokens import (
    NETWORKS,
    RegionPatches,
    SlideTokens,
    backbone_prefix,
    extract_tokens,
    token_settings,
)
from histomm.models.hipt import HALVES
from histomm.models.weights import TransferError
from histomm.wsi.reader import read_mpp_table
from histomm.wsi.tile_table import TileTable, read_tiles
from histomm.wsi.token_index import INDEX
from histomm.wsi.token_store import DTYPES, TokenStoreWriter

PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16}
FAILURES = 'failures.csv'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the encoder of patches')
    parser.add_argument('checkpoint', type=Path, help='its checkpoint, or a work directory')
    parser.add_argument('slides', type=Path, help='folder of the slides')
    parser.add_argument('--tiles', type=Path, required=True, help='table of the regions, of tools/wsi/tile_slides.py')
    parser.add_argument('--out', type=Path, required=True, help='folder of the tokens: new, or one to go on with')
    parser.add_argument('--patch', type=int, default=256, help='side of a patch in px (default 256)')
    parser.add_argument('--network', choices=('auto', *NETWORKS), default='auto', help='default: the teacher, if any')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument(
        '--normalise',
        choices=('halves', 'config'),
        default='halves',
        help="mean and deviation of one half, as HIPT has it, or the config's (default halves)",
    )
    parser.add_argument('--store', choices=DTYPES, default='float16', help='type of stored tokens (default float16)')
    parser.add_argument('--mpp-table', type=Path, help='CSV slide,mpp for slides whose file does not say')
    parser.add_argument('--batch-size', type=int, default=256, help='patches at a time (default 256)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read regions (default 2)')
    parser.add_argument('--device', help='cpu, cuda, …; a GPU if there is one')
    parser.add_argument('--dtype', choices=PRECISIONS, default='fp32', help='precision of the network (default fp32)')
    args = parser.parse_args(argv)
    if args.patch < 1 or args.batch_size < 1 or args.workers < 0:
        parser.error('--patch and --batch-size have to be 1 or more, --workers 0 or more')
    return args


def build_encoder(args: argparse.Namespace) -> Encoder:
    """The encoder of patches."""
    options = dict(args.cfg_options or {})
    if args.normalise == 'halves':
        options = {'model.data_preprocessor.mean': HALVES[0], 'model.data_preprocessor.std': HALVES[1], **options}
    prefix = backbone_prefix(args.checkpoint, args.network)
    print(f'tokens are made by {prefix} of {args.checkpoint}')
    return encoder_from_config(args.config, args.checkpoint, options, prefix)


def open_writer(args: argparse.Namespace, encoder: Encoder, regions: TileTable) -> TokenStoreWriter:
    """The store, for tokens of as many numbers as the encoder gives."""
    settings = token_settings(encoder, regions, args.patch, PRECISIONS[args.dtype])
    dim = encoder(torch.zeros(1, 3, args.patch, args.patch, dtype=torch.uint8)).shape[1]
    side = settings['region'] // args.patch
    return TokenStoreWriter(args.out, dim, (side, side), args.store, settings)


def run(args: argparse.Namespace) -> int:
    """Extract the tokens of all slides; the exit status."""
    if not args.slides.is_dir():
        raise FileNotFoundError(f'{args.slides}: folder of slides not found; correct the path')
    regions = read_tiles(args.tiles)
    encoder = build_encoder(args)
    writer = open_writer(args, encoder, regions)
    patches = RegionPatches(args.slides, regions, args.patch, read_mpp_table(args.mpp_table) if args.mpp_table else {})
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    work = extract_tokens(encoder, patches, writer, args.batch_size, args.workers, device, PRECISIONS[args.dtype])
    reports = []
    with tqdm(total=len(regions.slides), unit='slide', mininterval=0.1 if sys.stderr.isatty() else 60) as bar:
        for report in work:
            reports.append(report)
            bar.update()
            if report.status in ('failed', 'busy'):
                bar.write(f'{report.status}: {report.slide}: {report.reason}', file=sys.stderr)
    return summarise(args.out, writer, reports)


def summarise(out: Path, writer: TokenStoreWriter, reports: list[SlideTokens]) -> int:
    """Write the index and the list of failures, and say what became of the slides; the exit status."""
    counts = Counter(report.status for report in reports)
    failed = {report.slide: report.reason for report in reports if report.status == 'failed'}
    list_failures(out / FAILURES, writer, failed)
    regions = writer.finish() if counts['done'] + counts['there'] else 0
    parts = [f'{counts["done"]} done', f'{counts["there"]} done before', f'{counts["failed"]} failed']
    parts[-1] += f' (see {out / FAILURES})' if failed else ''
    if counts['busy']:
        parts.append(f'{counts["busy"]} under way in another run')
    print(f'{len(reports)} slides: {", ".join(parts)}; {regions} regions in {out / INDEX}')
    return int(bool(failed or counts['busy']))


def list_failures(path: Path, writer: TokenStoreWriter, failed: dict[str, str]) -> None:
    """Add the slides that failed to those that are listed, of other runs, too; what is there by now is dropped."""
    with writer.index_lock():
        listed = {}
        if path.is_file():
            with open(path, encoding='utf-8', newline='') as file:
                listed = {row['slide']: row['reason'] for row in csv.DictReader(file)}
        left = sorted((slide, reason) for slide, reason in (listed | failed).items() if not writer.has(slide))
        if left:
            text = io.StringIO()
            csv.writer(text, lineterminator='\n').writerows([('slide', 'reason'), *left])
            write_atomic(text.getvalue().encode(), path)
        else:
            path.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> None:
    try:
        status = run(parse_args(argv))
    except KeyboardInterrupt:
        sys.exit('extract_region_tokens: interrupted; the same command goes on from here')
    except (OSError, ValueError, ModuleNotFoundError, RuntimeError, TransferError) as error:
        sys.exit(f'extract_region_tokens: {error}')
    if status:
        sys.exit(status)


if __name__ == '__main__':
    main()
