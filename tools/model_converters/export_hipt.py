"""Write the teacher of a DINO run in the layout of HIPT's checkpoints, for what reads those.

Of ViT256-16 and ViT4096-256; of a checkpoint without teacher, such as an imported one, backbone and head are written.

python tools/model_converters/export_hipt.py work_dirs/dino_vit256-16_patches --out vit256_small_dino.pth
"""

import argparse
import sys
from pathlib import Path

import torch

from histomm.atomic_file import atomic_path
from histomm.models.hipt import from_hipt, to_hipt
from histomm.models.weights import TransferError, read_checkpoint, resolve_checkpoint


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='checkpoint, or a work directory (its last checkpoint is taken)')
    parser.add_argument('--out', required=True, type=Path, help='file to write')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> str:
    """Write the file and say what it holds."""
    path = resolve_checkpoint(args.checkpoint)
    theirs = to_hipt(read_checkpoint(path)[0], str(path))
    expected = from_hipt(theirs, str(path))
    with atomic_path(args.out) as partial:
        torch.save(dict(teacher=theirs), partial)
        again = from_hipt(read_checkpoint(partial, 'teacher')[0], str(args.out))
        if again.keys() != expected.keys() or not all(torch.equal(again[name], expected[name]) for name in again):
            raise TransferError(f'{args.out}: what was read back differs from what was written; is the disk full?')
    head = sum(name.startswith('neck.') for name in expected)
    return f'{args.out}: {len(expected) - head} tensors of the backbone and {head} of the head, read back and equal'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        print(convert(args))
    except TransferError as error:
        print(f'export_hipt: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
