"""Features of the regions of slides out of their stored tokens, a file a slide: bags for slide-level work.

python tools/wsi/embed_regions.py configs/hipt/dino_vit4k-xs_regions.py work_dirs/dino_vit4k-xs_regions \
    data/region_tokens --out features/regions
python tools/wsi/embed_regions.py data/region_tokens --patches --out features/patches

A vector a region: the class token of the teacher, or of the backbone where there is no teacher, of all its tokens.
With --patches the tokens themselves, a vector a patch. Files that are there are left; the same command goes on.
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction

from histomm.engine.provenance import commit, machine, versions
from histomm.evaluation.encoder import encoder_from_config
from histomm.evaluation.region_features import PatchTokens, RegionEmbedder, bags, write_bags
from histomm.evaluation.region_tokens import NETWORKS, backbone_prefix
from histomm.models.weights import TransferError
from histomm.wsi.token_store import TokenStore

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s (CONFIG CHECKPOINT TOKENS | TOKENS --patches) --out DIR [options]',
    )
    parser.add_argument('words', nargs='+', metavar='CONFIG CHECKPOINT TOKENS', help='TOKENS: folder of the tokens')
    parser.add_argument('--out', type=Path, required=True, help='folder of the feature files')
    parser.add_argument('--patches', action='store_true', help='the tokens themselves; no network is needed')
    parser.add_argument('--network', choices=('auto', *NETWORKS), default='auto', help='default: the teacher, if any')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--batch-size', type=int, default=64, help='regions at a time (default 64)')
    parser.add_argument('--device', help='cpu, cuda, …; a GPU if there is one')
    parser.add_argument('--dtype', choices=PRECISIONS, default='fp32', help='precision of the network (default fp32)')
    args = parser.parse_args(argv)
    expected = 1 if args.patches else 3
    if len(args.words) != expected:
        names = 'TOKENS' if args.patches else 'CONFIG CHECKPOINT TOKENS'
        parser.error(f'found {len(args.words)} words ({" ".join(args.words)}), expected {names}')
    if args.batch_size < 1:
        parser.error('--batch-size has to be 1 or more')
    return args


def build_features(args: argparse.Namespace, store: TokenStore) -> RegionEmbedder | PatchTokens:
    """What makes the features that the options ask for."""
    if args.patches:
        return PatchTokens(store)
    config, checkpoint = args.words[:2]
    prefix = backbone_prefix(checkpoint, args.network)
    print(f'regions are embedded by {prefix} of {checkpoint}')
    encoder = encoder_from_config(config, checkpoint, args.cfg_options, prefix)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    return RegionEmbedder(encoder, store, args.batch_size, device, PRECISIONS[args.dtype])


def run(args: argparse.Namespace) -> int:
    """Write all files, and say what was done; the exit status."""
    store = TokenStore(args.words[-1])
    features = build_features(args, store)
    made = {'commit': commit(ROOT), 'versions': versions(), 'machine': machine()}
    todo = bags(store, args.out)
    rows, new, busy = 0, 0, 0
    for bag, count, fresh, reason in write_bags(todo, features, made):
        rows, new, busy = rows + count, new + fresh, busy + bool(reason)
        if reason:
            print(f'{bag.path}: left out, {reason}', file=sys.stderr)
    print(f'{len(todo) - busy} of {len(todo)} slides in {args.out}, {new} of them new: {rows} vectors')
    return int(busy > 0)


def main(argv: list[str] | None = None) -> None:
    try:
        status = run(parse_args(argv))
    except (OSError, ValueError, ModuleNotFoundError, TransferError) as error:
        sys.exit(f'embed_regions: {error}')
    if status:
        sys.exit(status)


if __name__ == '__main__':
    main()
