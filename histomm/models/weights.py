"""Weight files: reading them, finding the backbone inside, and the names that frameworks give to its tensors.

The common names are those of OpenMMLab's ``ResNet``, which torchvision and timm share for the plain 7×7 stem
(``conv1``, ``bn1``, ``layerN.i.convJ``, ``layerN.i.bnJ``, ``layerN.i.downsample.0/1``). Detectron2 writes
``stem.conv1``, ``stem.conv1.norm``, ``res(N+1).i.convJ``, ``res(N+1).i.convJ.norm`` and ``res(N+1).i.shortcut``.
"""

import json
import pickle
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from histomm.models import inert_pickle

FORMATS = ('openmmlab', 'torchvision', 'timm', 'detectron2')

_STATE_KEYS = ('state_dict', 'model', 'teacher', 'student', 'ema_state_dict')
_BACKBONE = re.compile(r'(conv1|bn1|stem|layer\d|res\d)\.')
_TENSOR = r'\.(weight|bias|running_mean|running_var|num_batches_tracked)'
_TO_DETECTRON2 = [
    (re.compile(rf'^conv1{_TENSOR}$'), r'stem.conv1.\1'),
    (re.compile(rf'^bn1{_TENSOR}$'), r'stem.conv1.norm.\1'),
    (re.compile(rf'^layer(\d)\.(\d+)\.conv(\d){_TENSOR}$'), r'res{}.\2.conv\3.\4'),
    (re.compile(rf'^layer(\d)\.(\d+)\.bn(\d){_TENSOR}$'), r'res{}.\2.conv\3.norm.\4'),
    (re.compile(rf'^layer(\d)\.(\d+)\.downsample\.0{_TENSOR}$'), r'res{}.\2.shortcut.\3'),
    (re.compile(rf'^layer(\d)\.(\d+)\.downsample\.1{_TENSOR}$'), r'res{}.\2.shortcut.norm.\3'),
]
_FROM_DETECTRON2 = [
    (re.compile(rf'^stem\.conv1{_TENSOR}$'), r'conv1.\1'),
    (re.compile(rf'^stem\.conv1\.norm{_TENSOR}$'), r'bn1.\1'),
    (re.compile(rf'^res(\d)\.(\d+)\.conv(\d){_TENSOR}$'), r'layer{}.\2.conv\3.\4'),
    (re.compile(rf'^res(\d)\.(\d+)\.conv(\d)\.norm{_TENSOR}$'), r'layer{}.\2.bn\3.\4'),
    (re.compile(rf'^res(\d)\.(\d+)\.shortcut{_TENSOR}$'), r'layer{}.\2.downsample.0.\3'),
    (re.compile(rf'^res(\d)\.(\d+)\.shortcut\.norm{_TENSOR}$'), r'layer{}.\2.downsample.1.\3'),
]
_DEPTHS = {
    ('basic', (2, 2, 2, 2)): 18,
    ('basic', (3, 4, 6, 3)): 34,
    ('bottleneck', (3, 4, 6, 3)): 50,
    ('bottleneck', (3, 4, 23, 3)): 101,
    ('bottleneck', (3, 8, 36, 3)): 152,
}


class TransferError(ValueError):
    """Weights that cannot be handed over as asked; the message names the file, the tensor and what to do."""


class Architecture(NamedTuple):
    """What the names and shapes of a ResNet's tensors tell about it."""

    block: str
    """``basic`` or ``bottleneck``."""
    blocks: tuple[int, ...]
    """Blocks of each stage."""
    stem: str
    """``7x7`` or ``deep`` (three 3×3 convolutions, as in ResNet-V1c and V1d)."""
    width: int
    """Channels of the first block's first convolution."""

    @property
    def depth(self) -> int | None:
        """18, 34, 50, 101 or 152; None for other numbers of blocks."""
        return _DEPTHS.get((self.block, self.blocks))

    def __str__(self) -> str:
        counts = '-'.join(map(str, self.blocks))
        name = f'ResNet-{self.depth}' if self.depth else f'a ResNet of {self.block} blocks {counts}'
        return f'{name} ({self.stem} stem, width {self.width})'


class Backbone(NamedTuple):
    """A backbone found among the tensors of a file or of a module."""

    prefix: str
    """What stood before each name, ``''`` or ending with a dot."""
    naming: str
    """``openmmlab``, ``detectron2``, or ``as is`` for what is no ResNet."""
    tensors: dict[str, Tensor]
    """Backbone tensors under the common names."""
    names: dict[str, str]
    """Common names to the original, full ones."""
    others: list[str]
    """Names under the prefix that belong to no backbone, such as a classifier's ``fc.weight``."""


def _rename(name: str, rules: list, shift: int) -> str:
    for pattern, template in rules:
        match = pattern.match(name)
        if match:
            stage = str(int(match.group(1)) + shift) if '{}' in template else ''
            return match.expand(template.replace('{}', stage))
    raise TransferError(
        f'tensor {name!r} has no counterpart in the other naming; only plain ResNets (7x7 stem) can be renamed '
        'between OpenMMLab and Detectron2, use the format openmmlab for others'
    )


def to_detectron2(name: str) -> str:
    """Detectron2's name of an OpenMMLab ResNet tensor; raises :class:`TransferError` for names it cannot map."""
    return _rename(name, _TO_DETECTRON2, 1)


def from_detectron2(name: str) -> str:
    """OpenMMLab's name of a Detectron2 ResNet tensor; raises :class:`TransferError` for names it cannot map."""
    return _rename(name, _FROM_DETECTRON2, -1)


def describe(tensors: dict[str, Tensor]) -> Architecture | None:
    """Architecture of ResNet tensors under common names; ``None`` if they are no ResNet."""
    first = tensors.get('layer1.0.conv1.weight')
    if first is None:
        return None
    found = [re.match(r'layer(\d)\.(\d+)\.', name) for name in tensors]
    places = [(int(m.group(1)), int(m.group(2))) for m in found if m]
    blocks = tuple(
        max(block for stage, block in places if stage == wanted) + 1
        for wanted in sorted({stage for stage, _ in places})
    )
    deep = any(name.startswith(('stem.', 'conv1.0.')) for name in tensors)
    kind = 'bottleneck' if 'layer1.0.conv3.weight' in tensors else 'basic'
    return Architecture(kind, blocks, 'deep' if deep else '7x7', first.shape[0])


def find_backbone(state: dict[str, Tensor], source: str, prefix: str | None = None) -> Backbone:
    """Find the backbone among ``state``.

    Args:
        state: Names to tensors, of a checkpoint or of a module.
        source: What to call them in errors.
        prefix: Where the backbone stands, e.g. ``'backbone'`` or ``'teacher.backbone'``. ``None`` takes the only
            ResNet there is; of several the one under ``backbone.`` or, failing that, the one without a prefix.

    Raises:
        TransferError: no backbone, or several and no rule to choose.
    """
    roots = {}
    for name in state:
        for end, naming in (('layer1.0.conv1.weight', 'openmmlab'), ('res2.0.conv1.weight', 'detectron2')):
            root = name.removesuffix(end)
            if root != name and (root == '' or root.endswith('.')):
                roots[root] = naming
    root = _choose_root(roots, state, source, prefix)
    naming = roots.get(root, 'as is')
    tensors, names, others = {}, {}, []
    for name, tensor in state.items():
        if not name.startswith(root):
            continue
        short = name.removeprefix(root)
        if naming == 'as is' or _BACKBONE.match(short):
            common = from_detectron2(short) if naming == 'detectron2' else short
            tensors[common], names[common] = tensor, name
        else:
            others.append(name)
    return Backbone(root, naming, tensors, names, others)


def _choose_root(roots: dict[str, str], state: dict, source: str, prefix: str | None) -> str:
    if prefix is not None:
        prefix = f'{prefix.rstrip(".")}.' if prefix else ''
        below = [root for root in roots if root.startswith(prefix)] if prefix not in roots else [prefix]
        if len(below) == 1:
            return below[0]
        if below:
            raise TransferError(
                f'{source} holds several backbones under {prefix!r}: {_quoted(below)}; name one of them'
            )
        if prefix and any(name.startswith(prefix) for name in state):
            return prefix
        raise TransferError(
            f'{source} has no tensor under the prefix {prefix!r}; ResNets stand under {_quoted(roots) or "no prefix"}, '
            f'the first names are {_quoted(list(state)[:3])}'
        )
    if len(roots) == 1:
        return next(iter(roots))
    below = [root for root in roots if root.startswith('backbone.')]
    if len(below) == 1:
        return below[0]
    if '' in roots:
        return ''
    if roots:
        raise TransferError(f'{source} holds several backbones, under {_quoted(roots)}; choose one with the prefix')
    if any(name.startswith('backbone.') for name in state):
        return 'backbone.'
    raise TransferError(
        f'{source} holds no backbone tensors: no name ends with layer1.0.conv1.weight (OpenMMLab, torchvision, timm) '
        f'or res2.0.conv1.weight (Detectron2), or begins with backbone.; the first names are {_quoted(list(state)[:3])}'
    )


def _quoted(names) -> str:
    return ', '.join(repr(name) for name in names)


def resolve_checkpoint(path: str | Path) -> Path:
    """The file itself, or for a work directory the checkpoint that its ``last_checkpoint`` names."""
    path = Path(path)
    if path.is_dir():
        pointer = path / 'last_checkpoint'
        if not pointer.is_file():
            raise TransferError(
                f'{path} is a folder without last_checkpoint, expected a checkpoint or a work directory'
            )
        target = Path(pointer.read_text().strip())
        path = target if target.is_file() else path / target.name
    if not path.is_file():
        raise TransferError(f'checkpoint {path} does not exist; check the path')
    return path


def read_checkpoint(path: str | Path, key: str | None = None) -> tuple[dict[str, Tensor], dict]:
    """Tensors and metadata of a weight file (``.safetensors``, or anything ``torch.load`` reads).

    No code of the file runs, see :mod:`histomm.models.inert_pickle`.

    Args:
        path: File, or work directory with ``last_checkpoint``.
        key: Entry that holds the tensors, e.g. ``teacher``. ``None`` takes ``state_dict``, ``model`` or, if there is
            exactly one other known entry, that one; a file that is a flat dict of tensors is taken whole.

    Returns:
        Names to tensors on the CPU, and the file's ``meta`` (empty if it has none).

    Raises:
        TransferError: missing or unreadable file, no tensors, or an ambiguous choice.
    """
    path = resolve_checkpoint(path)
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=False, pickle_module=inert_pickle)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise TransferError(f'{path} cannot be read as a checkpoint ({error}); is it complete?') from error
    if not isinstance(content, dict):
        raise TransferError(f'{path} holds a {type(content).__name__}, expected a dict of tensors')
    state = _pick_state(content, path, key)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise TransferError(f'{path} holds no tensors, its entries are {_quoted(list(state)[:5])}')
    meta = content.get('meta')
    return tensors, meta if isinstance(meta, dict) else {}


def _pick_state(content: dict, path: Path, key: str | None) -> dict:
    if key is not None:
        if not isinstance(content.get(key), dict):
            raise TransferError(f'{path} has no dict of tensors under {key!r}, its entries are {_quoted(content)}')
        return content[key]
    present = [name for name in _STATE_KEYS if isinstance(content.get(name), dict)]
    for name in ('state_dict', 'model'):
        if name in present:
            return content[name]
    if len(present) > 1:
        raise TransferError(f'{path} holds several sets of weights: {_quoted(present)}; choose one with the key')
    return content[present[0]] if present else content


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except SafetensorError as error:
        raise TransferError(f'{path} cannot be read as safetensors ({error}); is it complete?') from error
    return tensors, json.loads(metadata.get('card', '{}'))
