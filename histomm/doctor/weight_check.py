"""Checkpoints that a config loads, tensor by tensor against the backbone that is to hold them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError, read_checkpoint

from .findings import Report

BUILD_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, ImportError)
NAMED = 3  # tensors that a finding names


class Load(NamedTuple):
    """A checkpoint that a config loads into a module."""

    where: str
    """Field of the config."""
    module: dict
    """Config of the module."""
    init: dict
    """``checkpoint`` and what else the initialiser is given; ``type`` is that of an ``init_cfg``."""


def stated_loads(cfg: Config, nodes: Iterable[tuple[str, dict]]) -> Iterator[Load]:
    """Every checkpoint that a config loads into a module.

    Args:
        cfg: The config.
        nodes: Every dict in ``cfg.model`` with its path.
    """
    model = cfg.get('model') or {}
    if cfg.get('load_from') and model.get('backbone'):
        yield Load('load_from', model['backbone'], dict(checkpoint=cfg['load_from'], prefix='backbone'))
    if model.get('pretrained') and model.get('backbone'):
        yield Load('model.pretrained', model['backbone'], dict(checkpoint=model['pretrained']))
    for path, node in nodes:
        entries = node.get('init_cfg') or []
        for entry in [entries] if isinstance(entries, dict) else entries:
            if entry.get('checkpoint'):
                yield Load(f'{path}.init_cfg', node, dict(entry))


def compare(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Compare names and shapes as mmengine's ``Pretrained`` would match them; counters of batch norms do not matter.

    Returns:
        What keeps the module from being filled, and the tensors that nothing takes.
    """
    needed = [name for name in wanted if not name.endswith('num_batches_tracked')]
    lacking = [f'{name} missing' for name in needed if name not in found]
    lacking += [
        f'{name} has shape {tuple(found[name].shape)}, expected {tuple(wanted[name].shape)}'
        for name in needed
        if name in found and found[name].shape != wanted[name].shape
    ]
    return lacking, [name for name in found if name not in wanted]


def _some(names: list[str]) -> str:
    return ', '.join(names[:NAMED]) + (f' and {len(names) - NAMED} more' if len(names) > NAMED else '')


def check_load(report: Report, load: Load) -> None:
    """Compare one checkpoint with one module, which is built for that."""
    checkpoint = load.init['checkpoint']
    if '://' in checkpoint:
        report.notice(
            load.where, f'{checkpoint} is not on this disk', 'its tensors are compared once it is a local file'
        )
        return
    kind = load.init.get('type', '').rpartition('.')[2]
    if not Path(checkpoint).exists() and kind == 'PretrainedIfPresent':
        what = f'{checkpoint} does not exist, so {load.module["type"]} starts at random'
        report.notice(load.where, what, 'save such weights there, if they are wanted')
        return
    if not Path(checkpoint).exists():
        report.fault(load.where, f'{checkpoint} does not exist', 'correct the path, or run what should have written it')
        return
    try:
        module = MODELS.build({key: value for key, value in load.module.items() if key != 'init_cfg'})
    except BUILD_ERRORS as error:
        report.fault(load.where, f'the module does not build: {type(error).__name__}: {error}', 'correct its config')
        return
    try:
        if kind in ('VerifiedPretrained', 'PretrainedIfPresent'):
            allowed = {key: tuple(load.init.get(key, ())) for key in ('allow_missing', 'allow_unexpected')}
            loaded = load_backbone(module, checkpoint, load.init.get('prefix'), **allowed).loaded
            report.row(load.where, f'{len(loaded)} tensors fit {load.module["type"]}')
        else:
            check_names(report, load, read_checkpoint(checkpoint)[0], module.state_dict())
    except TransferError as error:
        report.fault(load.where, str(error), 'use weights of the same architecture')


def check_names(report: Report, load: Load, tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare the tensors of a checkpoint with those of the module; mmengine itself would only log what differs."""
    prefix = load.init.get('prefix') or ''
    start = f'{prefix}.' if prefix and not prefix.endswith('.') else prefix
    found = {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
    lacking, unused = compare(found, wanted)
    checkpoint, kind = load.init['checkpoint'], load.module['type']
    if not found:
        what = f'{checkpoint} has no tensor under {start!r}, only {_some(sorted(tensors))}'
        report.fault(load.where, what, 'correct prefix, or load the file through init_cfg of the backbone')
    elif lacking:
        what = f'{checkpoint} does not fill {kind}: {_some(lacking)}' + (f'; unused: {_some(unused)}' if unused else '')
        report.fault(load.where, what, 'use weights of the same architecture and key names, or set prefix')
    else:
        report.row(load.where, f'{len(found) - len(unused)} tensors fit {kind}')
        if unused:
            report.notice(load.where, f'{checkpoint} holds what nothing takes: {_some(unused)}', 'no harm if a head')


def check_weights(report: Report, cfg: Config, nodes: Iterable[tuple[str, dict]]) -> None:
    """Check every checkpoint that a config loads.

    Args:
        report: Where to write.
        cfg: The config.
        nodes: Every dict in ``cfg.model`` with its path.
    """
    for load in stated_loads(cfg, nodes):
        check_load(report, load)
