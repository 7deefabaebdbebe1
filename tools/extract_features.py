"""Features of images or of tiles of slides, by the backbone of a config or a model of timm, in one file.

    python tools/extract_features.py configs/plm/moco_plm_r18_nct.py work_dirs/moco_plm_r18_nct data/NCT-CRC-HE-100K \
        --labels --out features/nct.h5
    python tools/extract_features.py --timm resnet18 --weights resnet18.pth --slides data/slides --tiles tiles.parquet \
        --out features/

An interrupted run goes on where it was, with the same command; several runs share the slides of a folder. Nothing is
downloaded.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction

from histomm.datasets.transforms import UnreadableImageError
from histomm.engine.provenance import commit, machine, versions
from histomm.evaluation.encoder import Encoder, encoder_from_config
from histomm.evaluation.extraction import Loading, Source, extract, images_source, subset, tiles_source
from histomm.evaluation.projection import projector_from_config
from histomm.evaluation.timm_encoder import encoder_from_timm
from histomm.models.card import file_hash
from histomm.models.weights import TransferError
from histomm.wsi.feature_file import SUFFIXES
from histomm.wsi.locks import LockedError, file_lock
from histomm.wsi.reader import read_mpp_table
from histomm.wsi.tile_table import read_tiles

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {'fp32': None, 'bf16': torch.bfloat16}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s (CONFIG [CHECKPOINT] | --timm NAME) (DATA | --slides DIR --tiles FILE) --out FILE [options]',
    )
    parser.add_argument('words', nargs='*', metavar='CONFIG [CHECKPOINT] DATA', help='DATA: folder or list of images')
    model = parser.add_argument_group('model')
    model.add_argument('--timm', metavar='NAME', help='model of timm, or of the Hugging Face hub (hf-hub:OWNER/NAME)')
    model.add_argument('--weights', type=Path, help='weight file for --timm; else the local cache of the hub is read')
    model.add_argument('--random', action='store_true', help='random weights for --timm, as a baseline')
    model.add_argument('--timm-options', nargs='+', action=DictAction, help='arguments of timm.create_model')
    model.add_argument('--prefix', help='where in CHECKPOINT the backbone stands, e.g. teacher.backbone')
    model.add_argument(
        '--projection', action='store_true', help='of a pre-training, the unit vectors after its projector (model.neck)'
    )
    model.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    data = parser.add_argument_group('data')
    data.add_argument('--labels', action='store_true', help='keep classes: the first folder, or as the list says')
    data.add_argument('--root', default='', help='folder to which the paths of a list refer')
    data.add_argument('--exclude', nargs='+', default=[], help="patterns of paths to leave out, e.g. '*/BACK/*'")
    data.add_argument('--slides', type=Path, help='folder of slides')
    data.add_argument('--tiles', type=Path, help='tile table of tools/wsi/tile_slides.py')
    data.add_argument('--mpp-table', type=Path, help='CSV slide,mpp for slides whose file does not say')
    out = parser.add_argument_group('output')
    suffixes = ', '.join(SUFFIXES)
    out.add_argument('--out', required=True, help=f'file that ends in {suffixes}; with --slides also a folder/')
    out.add_argument('--batch-size', type=int, default=64, help='images at a time (default: %(default)s)')
    out.add_argument('--workers', type=int, default=2, help='loader processes (default: %(default)s)')
    out.add_argument('--device', help='cpu, cuda, …; a GPU if there is one')
    out.add_argument('--dtype', choices=DTYPES, default='fp32', help='precision of the network (default: %(default)s)')
    out.add_argument('--rows', type=int, default=4096, help='features that are kept at a time (default: %(default)s)')
    args = parser.parse_args(argv)
    _sort_words(parser, args)
    return args


def _sort_words(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Tell config, checkpoint and data apart: data come last, unless there are slides."""
    words = list(args.words)
    if bool(args.slides) != bool(args.tiles):
        parser.error('--slides and --tiles go together: the folder of the slides, and where their tiles lie')
    args.data = None if args.slides else (words.pop() if words else parser.error('DATA is missing'))
    expected = (0,) if args.timm else (1, 2)
    if len(words) not in expected:
        said = 'nothing but DATA' if args.timm else 'CONFIG [CHECKPOINT], or --timm NAME, and DATA'
        parser.error(f'found {len(words)} words before the data ({" ".join(words)}), expected {said}')
    args.config, args.checkpoint = [*words, None, None][:2]
    if not args.timm and (args.weights or args.random or args.timm_options):
        parser.error('--weights, --random and --timm-options are for --timm; a config takes CHECKPOINT')
    if args.projection and (args.timm or args.prefix or not args.checkpoint):
        parser.error('--projection needs CONFIG and CHECKPOINT of a pre-training, without --timm and --prefix')
    if args.batch_size < 1 or args.rows < 1 or args.workers < 0:
        parser.error('--batch-size and --rows have to be 1 or more, --workers 0 or more')


def build_encoder(args: argparse.Namespace) -> Encoder:
    """The network that the options name."""
    if args.timm:
        return encoder_from_timm(args.timm, args.weights, args.timm_options, args.random)
    if args.projection:
        return projector_from_config(args.config, args.checkpoint, args.cfg_options)
    return encoder_from_config(args.config, args.checkpoint, args.cfg_options, args.prefix)


def find_source(args: argparse.Namespace, encoder: Encoder) -> Source:
    """The images that the options name."""
    if args.slides:
        mpp = read_mpp_table(args.mpp_table) if args.mpp_table else None
        return tiles_source(args.slides, read_tiles(args.tiles), encoder.steps, mpp)
    return images_source(args.data, encoder.steps, args.labels, args.root, args.exclude)


def outputs(source: Source, out: str) -> list[tuple[Path, Source]]:
    """The files to write and what goes into each: one, or one a slide if ``out`` is a folder."""
    path = Path(out)
    if path.suffix in SUFFIXES:
        return [(path, source)]
    if source.coords is None:
        raise ValueError(f'--out {out} has the suffix {path.suffix!r}, expected one of {", ".join(SUFFIXES)}')
    names, numbers, counts = np.unique(source.names, return_inverse=True, return_counts=True)
    files = [path / f'{Path(name).with_suffix("")}.h5' for name in names]
    if len(set(files)) < len(files):
        raise ValueError(f'{out}: slides that differ in their suffix alone would share a file; use --out FILE.h5')
    rows = np.split(np.argsort(numbers, kind='stable'), np.cumsum(counts)[:-1])
    return [(file, subset(source, members)) for file, members in zip(files, rows, strict=True)]


def provenance(encoder: Encoder) -> dict:
    """Who made the features, and from which file the weights come."""
    made = {'commit': commit(ROOT), 'versions': versions(), 'machine': machine()}
    if encoder.checkpoint:
        made |= {
            'checkpoint': str(encoder.checkpoint),
            'checkpoint_sha256': file_hash(encoder.checkpoint),
        }
    return made


def run(args: argparse.Namespace) -> int:
    """Build, compute, write, and say what was done; how many slides failed."""
    encoder = build_encoder(args)
    source = find_source(args, encoder)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    loading = Loading(args.batch_size, args.workers, device, DTYPES[args.dtype], args.rows)
    files, made = outputs(source, args.out), provenance(encoder)
    failed = 0
    for path, part in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(path.with_name(f'.{path.name}.lock')):
                done = extract(encoder, part, path, loading, made)
        except LockedError as error:
            if len(files) == 1:
                raise
            print(f'{path}: left out, {error}')
        except UnreadableImageError as error:
            if len(files) == 1:
                raise
            failed += 1
            print(f'{path}: failed, {reason_of(error)}', file=sys.stderr)
        else:
            print(f'{path}: {done["total"]} features, {done["new"]} of them new')
    return failed


def reason_of(error: Exception) -> str:
    """What an error says; of one in a loader process, whose message is a traceback, the last line."""
    text = str(error).strip()
    return text.splitlines()[-1].partition('Error: ')[2] if text.startswith('Caught ') else text


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        failed = run(args)
    except (OSError, ValueError, ModuleNotFoundError, LockedError, TransferError, UnreadableImageError) as error:
        sys.exit(f'extract_features: {reason_of(error)}')
    if failed:
        sys.exit(f'extract_features: {failed} slides failed; mend them and give the same command again')


if __name__ == '__main__':
    main()
