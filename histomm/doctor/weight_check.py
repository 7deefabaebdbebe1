"""Checkpoints that a config loads, tensor by tensor against the backbone that is to hold them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader

from .findings import Report

LOAD_ERRORS = (OSError, RuntimeError, EOFError, UnpicklingError, LookupError, ValueError)
BUILD_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, ImportError)
NAMED = 3  # tensors that a finding names


def stated_checkpoints(cfg: Config, nodes: Iterable[tuple[str, dict]]) -> Iterator[tuple[str, dict, str, str]]:
    """Every checkpoint that a config loads into a module.

    Args:
        cfg: The config.
        nodes: Every dict in ``cfg.model`` with its path.

    Yields:
        Field, config of the module, checkpoint, and the prefix under which the checkpoint holds the module.
    """
    model = cfg.get('model') or {}
    if cfg.get('load_from') and model.get('backbone'):
        yield 'load_from', model['backbone'], cfg['load_from'], 'backbone'
    if model.get('pretrained') and model.get('backbone'):
        yield 'model.pretrained', model['backbone'], model['pretrained'], ''
    for path, node in nodes:
        entries = node.get('init_cfg') or []
        for entry in [entries] if isinstance(entries, dict) else entries:
            if entry.get('type') == 'Pretrained' and entry.get('checkpoint'):
                yield f'{path}.init_cfg', node, entry['checkpoint'], entry.get('prefix') or ''


def load_tensors(path: str) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint file, safetensors or what ``torch.save`` and mmengine write."""
    if path.endswith('.safetensors'):
        from safetensors.torch import load_file

        return load_file(path)
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    tensors = content.get('state_dict', content)
    return {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}


def compare(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Compare names and shapes; the counters of batch norm do not matter.

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


def check_checkpoint(report: Report, where: str, module_cfg: dict, checkpoint: str, prefix: str) -> None:
    """Compare one checkpoint with one module, which is built for that."""
    if '://' in checkpoint:
        report.notice(where, f'{checkpoint} is not on this disk', 'its tensors are compared once it is a local file')
        return
    if not Path(checkpoint).is_file():
        report.fault(where, f'{checkpoint} does not exist', 'correct the path, or train what should have written it')
        return
    try:
        tensors = load_tensors(checkpoint)
    except LOAD_ERRORS as error:
        report.fault(where, f'{checkpoint} does not load: {type(error).__name__}: {error}', 'replace the file')
        return
    try:
        module = MODELS.build({key: value for key, value in module_cfg.items() if key not in ('init_cfg', '_scope_')})
    except BUILD_ERRORS as error:
        report.fault(where, f'the module does not build: {type(error).__name__}: {error}', 'correct its config')
        return
    start = f'{prefix}.' if prefix and not prefix.endswith('.') else prefix
    found = {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
    lacking, unused = compare(found, module.state_dict())
    if not found:
        tops = sorted({name.partition('.')[0] for name in tensors})
        what = f'{checkpoint} has no tensor under {start!r}, only under {_some(tops)}'
        report.fault(where, what, 'correct prefix, or load the file through init_cfg of the backbone')
    elif lacking:
        what = f'{checkpoint} does not fill {module_cfg["type"]}: {_some(lacking)}'
        what += f'; unused: {_some(unused)}' if unused else ''
        report.fault(where, what, 'use the weights of the same architecture and key names, or set prefix')
    else:
        report.row(where, f'{len(found) - len(unused)} tensors fit {module_cfg["type"]}')
        if unused:
            report.notice(where, f'{checkpoint} holds tensors that nothing takes: {_some(unused)}', 'no harm if a head')


def check_weights(report: Report, cfg: Config, nodes: Iterable[tuple[str, dict]]) -> None:
    """Check every checkpoint that a config loads.

    Args:
        report: Where to write.
        cfg: The config.
        nodes: Every dict in ``cfg.model`` with its path.
    """
    for where, module_cfg, checkpoint, prefix in stated_checkpoints(cfg, nodes):
        check_checkpoint(report, where, module_cfg, checkpoint, prefix)
