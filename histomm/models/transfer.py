"""Verified hand-over of a pre-trained backbone: nothing is loaded by halves without an error that names the tensor."""

import logging
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from torch import Tensor, nn

from histomm.models.efficientnet_names import other_arithmetic, to_mmpretrain
from histomm.models.weights import Backbone, TransferError, describe, find_backbone, read_checkpoint
from histomm.registry import WEIGHT_INITIALIZERS


class TransferReport(NamedTuple):
    """What :func:`load_backbone` did."""

    loaded: list[str]
    """Names in the module of the tensors that now equal the file's."""
    missing: list[str]
    """Backbone tensors of the module that the file lacks (allowed by ``allow_missing``)."""
    unexpected: list[str]
    """Backbone tensors of the file that the module lacks (allowed by ``allow_unexpected``)."""
    heads: list[str]
    """Tensors of file and module that are no backbone, such as ``fc.weight``: not touched."""
    root: str
    """Where in the module the backbone stands, ``''`` for the module itself."""


def load_backbone(
    module: nn.Module,
    path: str | Path,
    prefix: str | None = None,
    allow_missing: tuple[str, ...] = (),
    allow_unexpected: tuple[str, ...] = (),
) -> TransferReport:
    """Load the backbone of a file into a module and compare the two tensor by tensor.

    Works for the ResNets of mmdet, mmseg, mmpretrain, timm, torchvision and Detectron2 in every direction, for whole
    models that contain one, for EfficientNets of torchvision and timm in mmpretrain's, and for other backbones whose
    names are the same on both sides.

    Args:
        module: A backbone, or a model with a backbone inside.
        path: Weight file or work directory, see :func:`~histomm.models.weights.read_checkpoint`.
        prefix: Where in the file the backbone stands, see :func:`~histomm.models.weights.find_backbone`.
        allow_missing: Glob patterns (common names, e.g. ``'*.num_batches_tracked'``) that the file may lack.
        allow_unexpected: Glob patterns that the module may lack, e.g. ``'layer4.*'`` for a three-stage backbone.

    Raises:
        TransferError: other architecture, other shape, or a tensor that would be missed or ignored. The module is
            left as it was.
    """
    state, _ = read_checkpoint(path)
    own = module.state_dict()
    name = type(module).__name__
    state, library = to_mmpretrain(state, own, str(path))
    source = find_backbone(state, str(path), prefix)
    target = find_backbone(own, f'the model {name}') if source.naming != 'as is' else _match_as_is(source, own, name)
    _check_architecture(source, target, path, name)
    missing = _differences(target.tensors, source.tensors, allow_missing, f'{path} lacks', 'allow_missing')
    unexpected = _differences(
        source.tensors, target.tensors, allow_unexpected, f'the model {name} would ignore', 'allow_unexpected'
    )
    shared = [key for key in target.tensors if key in source.tensors]
    for key in shared:
        found, expected = tuple(source.tensors[key].shape), tuple(target.tensors[key].shape)
        if found != expected:
            raise TransferError(f'{path}: tensor {key} has shape {found}, the model {name} expects {expected}')
    for key in shared:
        target.tensors[key].copy_(source.tensors[key])
    verify(module, {target.names[key]: source.tensors[key] for key in shared}, str(path))
    if library and (difference := other_arithmetic(library, module.get_submodule(target.prefix.rstrip('.')))):
        print_log(f'{path}: {difference}', 'current', level=logging.WARNING)
    loaded = [target.names[key] for key in shared]
    return TransferReport(loaded, missing, unexpected, source.others + target.others, target.prefix)


def load_whole(module: nn.Module, path: str | Path) -> dict:
    """Load every tensor of a module, heads and projectors included, from a checkpoint with the same names.

    Args:
        module: Its children have the names that they have in the trained model, such as ``backbone`` and ``head``.
        path: Checkpoint of that model, or work directory; parts that the module does not have, such as a queue, are
            left where they are.

    Returns:
        ``meta`` of the checkpoint.

    Raises:
        TransferError: a tensor of the module is missing or has another shape, or one of its parts has more tensors in
            the file. The module is left as it was.
    """
    state, meta = read_checkpoint(path)
    own, name = module.state_dict(), type(module).__name__
    parts = {key.split('.')[0] for key in own}
    absent = sorted(parts - {key.split('.')[0] for key in state})
    if absent:
        found = ', '.join(sorted({key.split('.')[0] for key in state})[:6])
        raise TransferError(
            f'{path} has no {" and no ".join(absent)}, found {found}; give the checkpoint of a whole model as '
            'training wrote it, not of a backbone alone'
        )
    _differences(own, state, (), f'{path} lacks', '')
    _differences({key: 0 for key in state if key.split('.')[0] in parts}, own, (), f'the model {name} would ignore', '')
    for key, tensor in own.items():
        if tensor.shape != state[key].shape:
            found, expected = tuple(state[key].shape), tuple(tensor.shape)
            raise TransferError(f'{path}: tensor {key} has shape {found}, the model {name} expects {expected}')
    module.load_state_dict({key: state[key] for key in own})
    verify(module, {key: state[key] for key in own}, str(path))
    return meta


def verify(module: nn.Module, reference: dict[str, Tensor], source: str) -> None:
    """Raise :class:`TransferError` naming the first tensor of ``module`` that differs from ``reference``."""
    state = module.state_dict()
    for name, expected in reference.items():
        found = state[name].detach().cpu()
        if not torch.equal(found, expected.to(found.dtype)):
            raise TransferError(
                f'tensor {name} of {type(module).__name__} differs from {source} after loading; something initialises '
                'or changes it afterwards, load the backbone last'
            )


def _match_as_is(source: Backbone, own: dict[str, Tensor], name: str) -> Backbone:
    """Backbone of a module that is no ResNet: the place where the names are those of the file."""
    for root in ('', 'backbone.', source.prefix):
        if any(root + key in own for key in source.tensors):
            names = {key.removeprefix(root): key for key in own if key.startswith(root)}
            return Backbone(root, 'as is', {key: own[full] for key, full in names.items()}, names, [])
    raise TransferError(f'no backbone tensor of the file is in the model {name}; is its architecture the same?')


def _check_architecture(source: Backbone, target: Backbone, path: str | Path, name: str) -> None:
    file, model = describe(source.tensors), describe(target.tensors)
    if file is None or model is None:
        return
    stages = min(len(file.blocks), len(model.blocks))
    if file._replace(blocks=file.blocks[:stages]) != model._replace(blocks=model.blocks[:stages]):
        raise TransferError(
            f'{path} holds {file}, the model {name} is {model}; build the model that the weights were trained in'
        )


def _differences(wanted: dict, given: dict, allowed: tuple[str, ...], what: str, option: str) -> list[str]:
    """Keys of ``wanted`` that ``given`` lacks; an error unless each matches a pattern of ``allowed``.

    Args:
        wanted: Names to anything.
        given: Likewise.
        allowed: Patterns.
        what: Begin of the message.
        option: What lifts the error; empty if nothing does.
    """
    lacking = [key for key in wanted if key not in given]
    bad = [key for key in lacking if not any(fnmatchcase(key, pattern) for pattern in allowed)]
    if bad:
        more = f' and {len(bad) - 5} more' if len(bad) > 5 else ''
        advice = f'if that is meant, say so in {option}' if option else 'give the config that it was trained with'
        kind = 'backbone tensors' if option else 'tensors'
        raise TransferError(f'{what} the {kind} {", ".join(bad[:5])}{more}; {advice}')
    return lacking


class _Guard:
    """Forward pre-hook that compares once more at the first forward pass, after all other initialisation.

    Weights that are loaded over it on purpose (resuming, ``load_from``) release it.
    """

    def __init__(self, module: nn.Module, names: list[str], source: str) -> None:
        state = module.state_dict()
        self.reference = {name: state[name].detach().cpu().clone() for name in names}
        self.source = source

    def __call__(self, module: nn.Module, args: tuple) -> None:
        if self.reference:
            verify(module, self.reference, self.source)
            self.reference = {}

    def release(self, module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
        """Load-state hook (the further arguments are torch's)."""
        if any(name.startswith(prefix) for name in state_dict):
            self.reference = {}


@WEIGHT_INITIALIZERS.register_module()
class VerifiedPretrained:
    """Weight initialiser for ``init_cfg``: mmengine's ``Pretrained``, with proof.

    ``Pretrained`` loads what fits and logs the rest; this one raises when a backbone tensor is missed, ignored or of
    another shape. It also keeps the module's own initialisation from running over the loaded weights, and compares
    again at the first forward pass. It warns of backbones that freeze stages or batch norms, a default made for
    ImageNet weights.

    Args:
        checkpoint: See ``path`` of :func:`load_backbone`.
        prefix: See :func:`load_backbone`.
        allow_missing: See :func:`load_backbone`.
        allow_unexpected: See :func:`load_backbone`.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        allow_missing: tuple[str, ...] | list[str] = (),
        allow_unexpected: tuple[str, ...] | list[str] = (),
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.allow_missing = tuple(allow_missing)
        self.allow_unexpected = tuple(allow_unexpected)

    def __call__(self, module: nn.Module) -> None:
        """Load, verify, protect and announce.

        Raises:
            TransferError: see :func:`load_backbone`.
        """
        report = load_backbone(module, self.checkpoint, self.prefix, self.allow_missing, self.allow_unexpected)
        backbone = module.get_submodule(report.root.rstrip('.'))
        self._protect(module, backbone)
        guard = _Guard(backbone, [name.removeprefix(report.root) for name in report.loaded], self.checkpoint)
        backbone.register_forward_pre_hook(guard)
        backbone.register_load_state_dict_pre_hook(guard.release)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'VerifiedPretrained: {self.checkpoint}')
        absent = report.missing + report.unexpected
        left_out = f'; allowed to be absent: {absent}' if absent else ''
        kind = type(backbone).__name__
        print_log(
            f'{self.checkpoint}: {len(report.loaded)} tensors are in {kind}, each compared{left_out}',
            logger='current',
        )
        _warn_frozen(backbone)

    def _protect(self, module: nn.Module, backbone: nn.Module) -> None:
        """Keep mmengine from initialising what was loaded, as it would after any initialiser not named Pretrained."""
        for part in backbone.modules():
            if part is not module and isinstance(part, BaseModule):
                part.is_init = True
        if isinstance(backbone, BaseModule):
            # Backbones ask for this type before they zero their residual branches.
            backbone.init_cfg = {'type': 'Pretrained', 'checkpoint': self.checkpoint}


def _warn_frozen(backbone: nn.Module) -> None:
    stages = getattr(backbone, 'frozen_stages', -1)
    norms = getattr(backbone, 'norm_eval', False)
    if stages >= 0 or norms:
        print_log(
            f'the backbone freezes {stages + 1 if stages >= 0 else 0} stage(s) (frozen_stages={stages}) and '
            f'{"keeps" if norms else "does not keep"} its batch norms in eval mode (norm_eval={norms}); these defaults '
            'suit ImageNet weights, for your own set frozen_stages=-1 and norm_eval=False',
            logger='current',
            level=logging.WARNING,
        )
