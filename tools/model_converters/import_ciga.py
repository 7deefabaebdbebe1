"""Turn a checkpoint of Ciga et al. into one of histomm's SimCLR, with its head, and compare every tensor.

No code of the file runs, whatever it holds: https://github.com/ozanciga/self-supervised-histopathology/releases

python tools/model_converters/import_ciga.py pytorchnative_tenpercent_resnet18.ckpt --sha256 ae652d1a --out ciga_r18.pth
"""

import argparse
import sys
from pathlib import Path

import torch

from histomm.atomic_file import atomic_path
from histomm.models.card import file_hash
from histomm.models.ciga import NORMALISATION, from_ciga
from histomm.models.weights import TransferError, read_checkpoint, resolve_checkpoint


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path, help='their file')
    parser.add_argument('--out', required=True, type=Path, help='checkpoint to write')
    parser.add_argument('--sha256', help='refuse another file than that of this hash; its first 8 digits or more')
    return parser.parse_args(argv)


def check_hash(path: Path, wanted: str | None) -> str:
    """SHA-256 of the file; an error if it does not begin with what is wanted."""
    found = file_hash(path)
    if wanted is not None and (len(wanted) < 8 or not found.startswith(wanted.lower())):
        raise TransferError(
            f'{path} has the SHA-256 {found}, expected one that begins with {wanted} (at least 8 digits); '
            'download the file again'
        )
    return found


def convert(args: argparse.Namespace) -> str:
    """Write the checkpoint and say what it holds."""
    path = resolve_checkpoint(args.checkpoint)
    digest = check_hash(path, args.sha256)  # before anything of the file is read
    tensors, _ = read_checkpoint(path, 'state_dict')
    state = from_ciga(tensors, str(path))
    model = (
        f"dict(type='histomm.SimCLR', data_preprocessor=dict(mean={NORMALISATION['mean']}, std={NORMALISATION['std']}))"
    )
    meta = dict(cfg=f'model = {model}\n', experiment_name=args.checkpoint.stem, source_sha256=digest)
    with atomic_path(args.out) as partial:
        torch.save(dict(meta=meta, state_dict=state), partial)
        again, _ = read_checkpoint(partial)
        if again.keys() != state.keys() or not all(torch.equal(again[name], state[name]) for name in state):
            raise TransferError(f'{args.out}: what was read back differs from what was written; is the disk full?')
    return f'{args.out}: {len(state) - 4} tensors of the backbone and 4 of the head, read back and equal'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        print(convert(args))
    except TransferError as error:
        print(f'import_ciga: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
