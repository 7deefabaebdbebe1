"""Turn a checkpoint of HIPT into one of histomm's DINO and compare every tensor.

For vit256_small_dino.pth and vit4k_xs_dino.pth, with or without head. No code of the file runs, whatever it holds.

python tools/model_converters/import_hipt.py vit256_small_dino.pth --out vit256-16.pth
"""

import argparse
import sys
from pathlib import Path

import torch

from histomm.atomic_file import atomic_path
from histomm.models.card import file_hash
from histomm.models.hipt import HALVES, from_hipt
from histomm.models.weights import TransferError, read_checkpoint


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path, help='their file')
    parser.add_argument('--out', required=True, type=Path, help='checkpoint to write')
    parser.add_argument('--key', default='teacher', help='entry of the file that holds the network')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> str:
    """Write the checkpoint and say what it holds."""
    state = from_hipt(read_checkpoint(args.checkpoint, args.key)[0], str(args.checkpoint))
    region = state['backbone.patch_embed.projection.weight'].ndim == 2
    kind = 'RegionViT' if region else 'PatchViT'
    pixels = '' if region else f', data_preprocessor=dict(mean={HALVES[0]}, std={HALVES[1]})'
    model = f"dict(type='histomm.DINO', backbone=dict(type='histomm.{kind}'){pixels})"
    meta = dict(
        cfg=f'model = {model}\n',
        experiment_name=args.checkpoint.stem,
        source_sha256=file_hash(args.checkpoint),
    )
    with atomic_path(args.out) as partial:
        torch.save(dict(meta=meta, state_dict=state), partial)
        again, _ = read_checkpoint(partial)
        if again.keys() != state.keys() or not all(torch.equal(again[name], state[name]) for name in state):
            raise TransferError(f'{args.out}: what was read back differs from what was written; is the disk full?')
    head = sum(name.startswith('neck.') for name in state)
    return f'{args.out}: {len(state) - head} tensors of {kind} and {head} of the head, read back and equal'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        print(convert(args))
    except TransferError as error:
        print(f'import_hipt: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
