"""Write the backbone of a checkpoint as weight files for other libraries, each with a card inside and read back."""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from histomm.models.card import make_card
from histomm.models.efficientnet_names import from_mmpretrain, is_mmpretrain
from histomm.models.weights import (
    FORMATS,
    Backbone,
    TransferError,
    describe,
    find_backbone,
    read_checkpoint,
    resolve_checkpoint,
    to_detectron2,
)

ARITHMETIC = (
    "note: trained with conv_cfg=None and eps=1e-5 in its config, this is torchvision's and timm's efficientnet; else "
    "it is timm's tf_efficientnet, which has the same names"
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint, or a work directory (its last checkpoint is taken)')
    parser.add_argument('--out', required=True, type=Path, help='folder for the files')
    parser.add_argument('--name', default='backbone', help='file names begin with this')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, help='default: all that know such a network')
    parser.add_argument('--prefix', help='where the backbone stands, e.g. teacher.backbone; found if not given')
    parser.add_argument('--key', help='entry of the file that holds the weights, e.g. teacher or ema_state_dict')
    parser.add_argument('--data', help='description of the training data, if the config does not tell')
    parser.add_argument('--mpp', type=float, help='resolution of the training images in µm per pixel')
    parser.add_argument('--licence', help='licence of the weights')
    return parser.parse_args(argv)


def rename(backbone: Backbone, layout: str) -> dict[str, Tensor]:
    """Backbone tensors under the names of ``layout``."""
    if is_mmpretrain(backbone.tensors) and layout in ('torchvision', 'timm'):
        return from_mmpretrain(backbone.tensors, layout)
    if backbone.naming == 'as is' and layout != 'openmmlab':
        timm = {name.removeprefix('timm_model.'): value for name, value in backbone.tensors.items()}
        if layout == 'timm' and all(name.startswith('timm_model.') for name in backbone.tensors):
            return timm
        raise TransferError(
            f'the backbone is no ResNet, so it has no names in {layout}; give --formats without {layout}'
        )
    stem = describe(backbone.tensors)
    if stem and stem.stem == 'deep' and layout != 'openmmlab':
        raise TransferError(f'a ResNet with a deep stem has no plain namesake in {layout}; use --formats openmmlab')
    if layout == 'detectron2':
        return {to_detectron2(name): value for name, value in backbone.tensors.items()}
    return dict(backbone.tensors)


def write(tensors: dict[str, Tensor], card: dict, layout: str, stem: Path) -> list[Path]:
    """Write pth and safetensors beside each other, whole or not at all, and compare what was written."""
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    card = {**card, 'names': layout}
    if layout == 'detectron2':
        content = {'model': tensors, '__author__': 'histomm', 'matching_heuristics': True, 'meta': card}
    else:
        content = {'state_dict': tensors, 'meta': card}
    savers = {
        '.pth': lambda path: torch.save(content, path),
        '.safetensors': lambda path: save_file(
            tensors, path, metadata={'format': 'pt', 'card': json.dumps(card, ensure_ascii=False)}
        ),
    }
    written = []
    for suffix, save in savers.items():
        path = stem.with_name(stem.name + suffix)
        partial = stem.with_name(f'{stem.name}.partial{suffix}')
        save(partial)
        again, meta = read_checkpoint(partial)
        same = again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)
        if not same or meta != card:
            raise TransferError(f'{path}: what was read back differs from what was written; is the disk full?')
        os.replace(partial, path)
        written.append(path)
    return written


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        path = resolve_checkpoint(args.checkpoint)
        state, meta = read_checkpoint(path, args.key)
        backbone = find_backbone(state, str(path), args.prefix)
        architecture = str(describe(backbone.tensors) or 'not a ResNet')
        card = make_card(meta, path, architecture, backbone.prefix, args.data, args.mpp, args.licence)
        efficientnet = is_mmpretrain(backbone.tensors)
        formats = args.formats or [layout for layout in FORMATS if not (efficientnet and layout == 'detectron2')]
        renamed = {layout: rename(backbone, layout) for layout in formats}
        args.out.mkdir(parents=True, exist_ok=True)
        print(f'{path}: {architecture} under {backbone.prefix!r}, {len(backbone.tensors)} tensors')
        for layout, tensors in renamed.items():
            for file in write(tensors, card, layout, args.out / f'{args.name}_{layout}'):
                print(f'{file}: {len(tensors)} tensors, read back and equal')
        if efficientnet:
            print(ARITHMETIC)
    except TransferError as error:
        print(f'extract_backbone: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
