"""Write backbone and head of a SimCLR run in the layout of the checkpoints of Ciga et al., for what reads those.

python tools/model_converters/export_ciga.py work_dirs/simclr_r18_patches --out simclr.ckpt
"""

import argparse
import sys
from pathlib import Path

import torch

from histomm.atomic_file import atomic_path
from histomm.models.ciga import from_ciga, to_ciga
from histomm.models.weights import TransferError, read_checkpoint, resolve_checkpoint


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='checkpoint, or a work directory (its last checkpoint is taken)')
    parser.add_argument('--out', required=True, type=Path, help='file to write')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> str:
    """Write the file and say what it holds."""
    path = resolve_checkpoint(args.checkpoint)
    state, _ = read_checkpoint(path)
    theirs = to_ciga(state, str(path))
    with atomic_path(args.out) as partial:
        torch.save(dict(state_dict=theirs), partial)
        again = from_ciga(read_checkpoint(partial, 'state_dict')[0], str(args.out))
        if again.keys() != state.keys() or not all(torch.equal(again[name], state[name]) for name in state):
            raise TransferError(f'{args.out}: what was read back differs from what was written; is the disk full?')
    return f'{args.out}: {len(state) - 4} tensors of the backbone and 4 of the head, read back and equal'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        print(convert(args))
    except TransferError as error:
        print(f'export_ciga: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
