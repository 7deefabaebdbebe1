"""The layout of the checkpoints of HIPT (Chen et al., CVPR 2022), and of others that DINO's authors' code wrote.

The file holds the teacher's tensors under ``teacher``. Their names begin with ``backbone.``, in some files after
``module.``, or with nothing; those of the head, if they are there, with ``head.``. Here they are ``backbone.`` and
``neck.`` of :class:`~histomm.models.DINO`.
"""

import re

import torch
from torch import Tensor, nn

from histomm.models.backbones import PatchViT, RegionViT
from histomm.models.necks import DINONeck
from histomm.models.weights import TransferError

HALVES = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
"""Mean and standard deviation, in grey levels, with which HIPT's features are made; it was trained with ImageNet's."""

_THEIRS = [
    (re.compile(r'^patch_embed\.proj\.'), 'patch_embed.projection.'),
    (re.compile(r'^phi\.0\.'), 'patch_embed.projection.'),
    (re.compile(r'^norm\.'), 'ln1.'),
    (re.compile(r'^blocks\.(\d+)\.norm([12])\.'), r'layers.\1.ln\2.'),
    (re.compile(r'^blocks\.(\d+)\.mlp\.fc1\.'), r'layers.\1.ffn.layers.0.0.'),
    (re.compile(r'^blocks\.(\d+)\.mlp\.fc2\.'), r'layers.\1.ffn.layers.1.'),
    (re.compile(r'^blocks\.(\d+)\.attn\.'), r'layers.\1.attn.'),
]
_OURS = [
    (re.compile(r'^ln1\.'), 'norm.'),
    (re.compile(r'^layers\.(\d+)\.ln([12])\.'), r'blocks.\1.norm\2.'),
    (re.compile(r'^layers\.(\d+)\.ffn\.layers\.0\.0\.'), r'blocks.\1.mlp.fc1.'),
    (re.compile(r'^layers\.(\d+)\.ffn\.layers\.1\.'), r'blocks.\1.mlp.fc2.'),
    (re.compile(r'^layers\.(\d+)\.attn\.'), r'blocks.\1.attn.'),
]
_GAIN, _DIRECTION = 'head.last_layer.weight_g', 'head.last_layer.weight_v'
_TEACHER = 'teacher.module.'


def from_hipt(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Tensors of their layout under the names of :class:`~histomm.models.DINO`: ``backbone.``, and ``neck.`` if there.

    Args:
        state: Their ``teacher``.
        source: What to call it in errors.

    Raises:
        TransferError: two tensors of one name, a tensor that is missing, unknown or of another shape than in ViT256-16
            and ViT4096-256, or a last layer whose gains are not all 1.
    """
    short: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = name.replace('module.', '').removeprefix('backbone.')
        if bare in short:
            raise TransferError(f'{source} holds the tensor {bare!r} twice, expected one network, such as the teacher')
        short[bare] = value
    if _GAIN in short and not torch.equal(gain := short.pop(_GAIN), torch.ones_like(gain)):
        raise TransferError(f'{source}: {_GAIN} is not 1 throughout, expected a head trained with norm_last_layer')
    found = {}
    for name, value in short.items():
        if name == _DIRECTION:
            found['neck.last_layer.weight'] = value
        elif name.startswith('head.'):
            found[f'neck.{name.removeprefix("head.")}'] = value
        else:
            found[f'backbone.{_renamed(name, _THEIRS)}'] = value
    if len(found) < len(short):
        raise TransferError(f'{source} holds tensors of both namings, expected those of HIPT')
    return checked(found, source)


def to_hipt(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The reverse of :func:`from_hipt`, with ``backbone.`` before the names; of a whole model it takes the teacher.

    Raises:
        TransferError: as there.
    """
    if any(name.startswith(_TEACHER) for name in state):
        state = {name.removeprefix(_TEACHER): value for name, value in state.items() if name.startswith(_TEACHER)}
    found = {}
    for name, value in checked(dict(state), source).items():
        part, short = name.split('.', 1)
        if name == 'neck.last_layer.weight':
            found[_GAIN] = torch.ones(len(value), 1, dtype=value.dtype)
            found[_DIRECTION] = value
        elif part == 'neck':
            found[f'head.{short}'] = value
        else:
            stem = 'phi.0.' if _is_region(state) else 'patch_embed.proj.'
            found[f'backbone.{_renamed(short.replace("patch_embed.projection.", stem), _OURS)}'] = value
    return found


def _is_region(state: dict[str, Tensor]) -> bool:
    """Whether the backbone of a state is a :class:`~histomm.models.RegionViT`, whose first layer is linear."""
    first = state.get('backbone.patch_embed.projection.weight')
    return first is not None and first.ndim == 2


def checked(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """``state`` itself, if it is all of a ViT256-16 or a ViT4096-256, with or without head, and nothing else.

    Raises:
        TransferError: naming the tensor that is missing, unknown or of another shape.
    """
    kind = 'ViT4096-256' if _is_region(state) else 'ViT256-16'
    expected = _shapes('backbone', RegionViT() if _is_region(state) else PatchViT())
    first, last = state.get('neck.mlp.0.weight'), state.get('neck.last_layer.weight')
    if any(name.startswith('neck.') for name in state):
        width, hidden = expected['backbone.cls_token'][-1], len(first) if first is not None else 1
        out, bottleneck = last.shape if last is not None and last.ndim == 2 else (1, 1)
        with torch.device('meta'):
            expected |= _shapes('neck', DINONeck(width, hidden, bottleneck, out))
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    if missing or unknown:
        what = f'lacks {", ".join(missing[:3])}' if missing else f'has the unknown {", ".join(unknown[:3])}'
        raise TransferError(
            f'{source} {what} ({len(missing)} missing, {len(unknown)} unknown), expected the {len(expected)} tensors '
            f'of a {kind}'
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise TransferError(
                f'{source}: tensor {name} has shape {tuple(state[name].shape)}, expected {shape} as in {kind}'
            )
    return state


def _shapes(prefix: str, module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {f'{prefix}.{name}': tuple(value.shape) for name, value in module.state_dict().items()}


def _renamed(name: str, rules: list[tuple[re.Pattern, str]]) -> str:
    for pattern, replacement in rules:
        if pattern.match(name):
            return pattern.sub(replacement, name)
    return name
