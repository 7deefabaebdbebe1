"""EfficientNets of torchvision and timm under the names of mmpretrain, and back.

| | torchvision | timm | mmpretrain |
| --- | --- | --- | --- |
| stem | ``features.0`` | ``conv_stem``, ``bn1`` | ``layers.0`` |
| stages 1 to 7 | ``features.1`` to ``features.7`` | ``blocks.0`` to ``blocks.6`` | ``layers.1`` to ``layers.5`` |
| last convolution | ``features.8`` | ``conv_head``, ``bn2`` | ``layers.6`` |

In mmpretrain stages 5 and 7, which do not halve the map, stand behind 4 and 6 in one layer.
"""

import re
from typing import NamedTuple

from mmcv.cnn.bricks import Conv2dAdaptivePadding
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histomm.models.weights import TransferError

_OURS = 'layers.1.0.depthwise_conv.conv.weight'
_LAYERS = (1, 2, 3, 4, 4, 5, 5)
"""Layer of mmpretrain of each stage."""
_HEAD = 'classifier.'
_BLOCK = re.compile(r'layers\.(\d)\.(\d+)\.(.+)')

TF_EPS, EPS = 1e-3, 1e-5
"""ε of batch norms in the networks of TensorFlow, and torch's own."""


class Layout(NamedTuple):
    """How a library calls the parts of an EfficientNet."""

    library: str
    marker: str
    """The first depthwise convolution, which tells the layout."""
    block: re.Pattern
    """Stage, block and part of the tensor of a block."""
    place: str
    """The same, to be filled in."""
    first: int
    """Number of the first stage."""
    ends: dict[str, str]
    """Stem and last convolution."""
    expanded: dict[str, str]
    """Parts of a block that widens first."""
    plain: dict[str, str]
    """Parts of a block that does not, as those of stage 1."""


TORCHVISION = Layout(
    'torchvision', 'features.1.0.block.0.0.weight', re.compile(r'features\.(\d+)\.(\d+)\.block\.(\w+\.\w+)'),
    'features.{}.{}.block.{}', 1,
    {'features.0.0': 'layers.0.conv', 'features.0.1': 'layers.0.bn',
     'features.8.0': 'layers.6.conv', 'features.8.1': 'layers.6.bn'},
    {'0.0': 'expand_conv.conv', '0.1': 'expand_conv.bn', '1.0': 'depthwise_conv.conv', '1.1': 'depthwise_conv.bn',
     '2.fc1': 'se.conv1.conv', '2.fc2': 'se.conv2.conv', '3.0': 'linear_conv.conv', '3.1': 'linear_conv.bn'},
    {'0.0': 'depthwise_conv.conv', '0.1': 'depthwise_conv.bn', '1.fc1': 'se.conv1.conv', '1.fc2': 'se.conv2.conv',
     '2.0': 'linear_conv.conv', '2.1': 'linear_conv.bn'},
)  # fmt: skip
TIMM = Layout(
    'timm', 'blocks.0.0.conv_dw.weight', re.compile(r'blocks\.(\d+)\.(\d+)\.(\w+|se\.\w+)'), 'blocks.{}.{}.{}', 0,
    {'conv_stem': 'layers.0.conv', 'bn1': 'layers.0.bn', 'conv_head': 'layers.6.conv', 'bn2': 'layers.6.bn'},
    {'conv_pw': 'expand_conv.conv', 'bn1': 'expand_conv.bn', 'conv_dw': 'depthwise_conv.conv',
     'bn2': 'depthwise_conv.bn', 'se.conv_reduce': 'se.conv1.conv', 'se.conv_expand': 'se.conv2.conv',
     'conv_pwl': 'linear_conv.conv', 'bn3': 'linear_conv.bn'},
    {'conv_dw': 'depthwise_conv.conv', 'bn1': 'depthwise_conv.bn', 'se.conv_reduce': 'se.conv1.conv',
     'se.conv_expand': 'se.conv2.conv', 'conv_pw': 'linear_conv.conv', 'bn2': 'linear_conv.bn'},
)  # fmt: skip


def to_mmpretrain(state: dict[str, Tensor], own: dict[str, Tensor], source: str) -> tuple[dict[str, Tensor], str]:
    """Tensors of torchvision's or timm's EfficientNet as a file of mmpretrain has them, below ``backbone``.

    Args:
        state: Tensors of the file.
        own: Those of the module to be loaded.
        source: What to call the file in errors.

    Returns:
        ``state`` and ``''`` if the module has no EfficientNet of mmpretrain, or the file has none of these layouts.
        Else the tensors, renamed, and ``torchvision`` or ``timm``. A prefix that they have in the file takes the place
        of ``backbone``, and the classifier has none, so that it is no part of the backbone.

    Raises:
        TransferError: the file has several, or a tensor that mmpretrain's network has no place for.
    """
    if not any(name == _OURS or name.endswith(f'.{_OURS}') for name in own):
        return state, ''
    found = [(layout, name.removesuffix(layout.marker)) for layout in (TORCHVISION, TIMM) for name in state
             if name == layout.marker or name.endswith(f'.{layout.marker}')]  # fmt: skip
    if not found:
        return state, ''
    if len(found) > 1:
        raise TransferError(
            f'{source} holds several EfficientNets, under {", ".join(repr(root) for _, root in found)}; '
            'give a file with one'
        )
    ((layout, root),) = found
    tensors = {name: value for name, value in state.items() if not name.startswith(root)}
    inside = {name.removeprefix(root): value for name, value in state.items() if name.startswith(root)}
    heads = {name: value for name, value in inside.items() if name.startswith(_HEAD)}
    renamed = _renamed([name for name in inside if name not in heads], layout, source)
    tensors |= {(root or 'backbone.') + place: inside[name] for name, place in renamed.items()}
    return tensors | heads, layout.library


def _renamed(names: list[str], layout: Layout, source: str) -> dict[str, str]:
    """Each name to mmpretrain's; the tensor's own name, such as ``weight``, is the last part of both."""
    blocks: dict[tuple[int, int], set[str]] = {}
    for name in names:
        if match := layout.block.fullmatch(name.rpartition('.')[0]):
            blocks.setdefault((int(match[1]) - layout.first, int(match[2])), set()).add(match[3])
    widen = layout.expanded.keys() - layout.plain.keys()
    depths = [1 + max((block for stage, block in blocks if stage == wanted), default=-1) for wanted in range(7)]
    renamed = {}
    for name in names:
        part, _, tensor = name.rpartition('.')
        place = layout.ends.get(part)
        match = layout.block.fullmatch(part)
        if match and (stage := int(match[1]) - layout.first) in range(7):
            block = int(match[2])
            parts = layout.expanded if blocks[stage, block] & widen else layout.plain
            behind = depths[stage - 1] if stage and _LAYERS[stage - 1] == _LAYERS[stage] else 0
            place = parts.get(match[3]) and f'layers.{_LAYERS[stage]}.{behind + block}.{parts[match[3]]}'
        if place is None:
            raise TransferError(
                f"{source}: tensor {name} has no counterpart in mmpretrain's EfficientNet; expected the file of an "
                f'EfficientNet-b0 to b7 of {layout.library}'
            )
        renamed[name] = f'{place}.{tensor}'
    return renamed


def is_mmpretrain(tensors: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of mmpretrain's EfficientNet-b0 to b7, without what stands before their names."""
    return _OURS in tensors


def from_mmpretrain(tensors: dict[str, Tensor], library: str) -> dict[str, Tensor]:
    """Tensors of mmpretrain's EfficientNet-b0 to b7 under the names of another library, without a classifier.

    Args:
        tensors: By mmpretrain's names, without what stands before them.
        library: ``torchvision`` or ``timm``.

    Raises:
        TransferError: a tensor that the others have no place for.
    """
    layout = {one.library: one for one in (TORCHVISION, TIMM)}[library]
    stages, expanded = (
        _stages(tensors),
        {match[0] for name in tensors if (match := re.match(r'.+(?=expand_conv)', name))},
    )
    ends = {ours: theirs for theirs, ours in layout.ends.items()}
    found = {}
    for name, value in tensors.items():
        part, _, tensor = name.rpartition('.')
        place = ends.get(part)
        if match := _BLOCK.fullmatch(part):
            where = int(match[1]), int(match[2])
            parts = layout.expanded if f'layers.{match[1]}.{match[2]}.' in expanded else layout.plain
            theirs = {ours: theirs for theirs, ours in parts.items()}.get(match[3])
            if theirs and where in stages:
                stage, block = stages[where]
                place = layout.place.format(stage + layout.first, block, theirs)
        if place is None:
            raise TransferError(f'tensor {name} has no counterpart in an EfficientNet of {library}')
        found[f'{place}.{tensor}'] = value
    return found


def _stages(tensors: dict[str, Tensor]) -> dict[tuple[int, int], tuple[int, int]]:
    """Layer and block of mmpretrain to stage and block; where two stages share a layer, the width tells them apart."""
    widths = {(int(match[1]), int(match[2])): value.shape[0] for name, value in tensors.items()
              if (match := _BLOCK.fullmatch(name)) and match[3] == 'linear_conv.conv.weight'}  # fmt: skip
    found, stage, first = {}, -1, 0
    for layer, block in sorted(widths):
        if block == 0 or widths[layer, block] != widths[layer, block - 1]:
            stage, first = stage + 1, block
        found[layer, block] = stage, block - first
    return found


def other_arithmetic(library: str, backbone: nn.Module) -> str:
    """What an EfficientNet computes otherwise than the network that its weights were trained in; empty if nothing.

    The networks of TensorFlow, and so mmpretrain's by default and timm's ``tf_efficientnet``, put the odd pixel of the
    border right and below, and have ε = 1e-3 in their batch norms; torchvision's (b0 to b4) and timm's
    ``efficientnet`` have the same border all around, and ε = 1e-5. The weights do not tell timm's two apart.

    Args:
        library: ``torchvision`` or ``timm``.
        backbone: mmpretrain's network.
    """
    parts = list(backbone.modules())
    adaptive = any(isinstance(part, Conv2dAdaptivePadding) for part in parts)
    eps = next(part.eps for part in parts if isinstance(part, _BatchNorm))
    plain = 'model.backbone.conv_cfg=None and model.backbone.norm_cfg.eps=1e-5'
    if (adaptive, eps) == (False, EPS):
        return ''
    if (adaptive, eps) == (True, TF_EPS) and library == 'timm':
        return f"this is the arithmetic of timm's tf_efficientnet; for weights of its efficientnet set {plain}"
    return (
        f"{library}'s network pads every side alike and has eps 1e-05 in its batch norms, this one "
        f'{"pads as TensorFlow" if adaptive else "pads every side alike"} and has eps {eps:g}; set {plain}'
    )
