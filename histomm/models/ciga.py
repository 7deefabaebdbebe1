"""The layout of the checkpoints that Ciga et al. (MLWA 2022) published, and that of histomm's SimCLR.

Theirs holds ``state_dict`` with ``model.resnet.<torchvision's name>`` for the backbone and ``model.resnet.fc.1`` and
``model.resnet.fc.3`` for the two linear layers of the head, which in histomm are ``neck.mlp.0`` and ``neck.mlp.2``.
"""

from mmpretrain.models import ResNet
from torch import Tensor

from histomm.models.weights import TransferError, describe

PREFIX = 'model.resnet.'
NORMALISATION = dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
"""In grey levels; the authors name 0.5 for both, of values from 0 to 1."""

_HEAD = {
    f'fc.{theirs}.{kind}': f'neck.mlp.{ours}.{kind}' for theirs, ours in ((1, 0), (3, 2)) for kind in ('weight', 'bias')
}


def from_ciga(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Tensors of their layout under the names of :class:`~histomm.models.SimCLR`.

    Args:
        state: Their ``state_dict``.
        source: What to call it in errors.

    Raises:
        TransferError: a name without the prefix or of no known tensor, a tensor that is missing, or one of another
            shape than the ResNet's or the head's.
    """
    strange = [name for name in state if not name.startswith(PREFIX)]
    if strange:
        raise TransferError(
            f'{source}: the tensor {strange[0]!r} does not begin with {PREFIX!r}, expected a checkpoint of Ciga et al.'
        )
    found = {}
    for name, value in state.items():
        short = name.removeprefix(PREFIX)
        found[_HEAD.get(short, f'backbone.{short}')] = value
    return checked(found, source)


def to_ciga(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The reverse of :func:`from_ciga`.

    Raises:
        TransferError: as there; tensors other than those of backbone and neck are refused.
    """
    names = {ours: theirs for theirs, ours in _HEAD.items()}
    return {
        f'{PREFIX}{names.get(name, name.removeprefix("backbone."))}': value
        for name, value in checked(dict(state), source).items()
    }


def checked(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """``state`` itself, if it is all of a ResNet and a two-layer head under histomm's names, and nothing else.

    Raises:
        TransferError: naming the tensor that is missing, unknown or of another shape.
    """
    backbone = {name.removeprefix('backbone.'): value for name, value in state.items() if name.startswith('backbone.')}
    kind = describe(backbone)
    depth = kind.depth if kind else None
    if depth is None or kind.stem != '7x7' or kind.width != 64:
        raise TransferError(f'{source} holds {kind or "no ResNet"}, expected a ResNet-18, 34, 50 or 101')
    expected = {f'backbone.{name}': tuple(value.shape) for name, value in ResNet(depth).state_dict().items()}
    expected |= _head_shapes(state, 512 if kind.block == 'basic' else 2048)
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    if missing or unknown:
        what = f'lacks {", ".join(missing[:3])}' if missing else f'has the unknown {", ".join(unknown[:3])}'
        raise TransferError(
            f'{source} {what} ({len(missing)} missing, {len(unknown)} unknown), expected {len(expected)} tensors: '
            f'{len(expected) - 4} of a ResNet-{depth} and 4 of the head'
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise TransferError(f'{source}: tensor {name} has shape {tuple(state[name].shape)}, expected {shape}')
    return state


def _head_shapes(state: dict[str, Tensor], width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the head on features of ``width`` channels, with the hidden and last width that the state has."""
    first, last = (state.get(f'neck.mlp.{layer}.weight') for layer in (0, 2))
    hidden, out = (len(layer) if layer is not None else -1 for layer in (first, last))
    return {
        'neck.mlp.0.weight': (hidden, width),
        'neck.mlp.0.bias': (hidden,),
        'neck.mlp.2.weight': (out, hidden),
        'neck.mlp.2.bias': (out,),
    }
