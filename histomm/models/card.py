"""The card that travels with exported backbone weights: what they are, and how their input must look."""

import ast
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histomm.version import __version__

_PACKAGES = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'timm', 'numpy')


def parse_config(text: str) -> dict[str, Any]:
    """Values of a dumped config (mmengine's ``pretty_text``) without running it.

    A dumped config is a list of assignments of literals and ``dict(...)`` calls; anything else becomes its source
    text.
    """
    values = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = _value(node.value)
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def make_card(
    meta: dict,
    checkpoint: Path,
    architecture: str,
    prefix: str,
    data: str | None = None,
    mpp: float | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """Card of a backbone; every value is JSON, unknown ones are ``None``.

    Args:
        meta: The checkpoint's ``meta`` (mmengine's, or empty).
        checkpoint: The file, for its name and hash.
        architecture: In words.
        prefix: Where in the checkpoint the backbone stood.
        data: Description of the training data; otherwise taken from the config.
        mpp: Resolution of the training images in µm per pixel.
        licence: What binds users of the weights.
    """
    text = meta.get('cfg') if isinstance(meta.get('cfg'), str) else None
    config = parse_config(text) if text else {}
    model = config.get('model') or {}
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    return {
        'histomm': __version__,
        'method': model.get('type'),
        'architecture': architecture,
        'experiment': meta.get('experiment_name'),
        'config_sha256': hashlib.sha256(text.encode()).hexdigest() if text else None,
        'checkpoint': {'name': checkpoint.name, 'sha256': file_hash(checkpoint), 'prefix': prefix},
        'epochs': meta.get('epoch'),
        'iterations': meta.get('iter'),
        'seed': meta.get('seed'),
        'data': {'description': data or _describe_data(dataset), 'lists_sha256': _hash_lists(dataset)},
        'normalisation': _normalisation(model.get('data_preprocessor') or config.get('data_preprocessor') or {}),
        'mpp': mpp,
        'versions': {**_versions(), 'mmengine of the training': meta.get('mmengine_version')},
        'licence': licence or 'not stated: the licence of the training data may bind the weights, ask who made them',
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _describe_data(dataset: dict) -> str | None:
    inner = dataset
    while isinstance(inner.get('dataset'), dict):
        inner = inner['dataset']
    shown = {key: value for key, value in inner.items() if key not in ('pipeline', 'metainfo')}
    return ', '.join(f'{key}={value}' for key, value in shown.items()) or None


def _hash_lists(dataset: dict) -> dict[str, str]:
    """Hashes of the list files that the data set names and that still exist."""
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    root = dataset.get('data_root') if isinstance(dataset.get('data_root'), str) else ''
    named = [value for value in dataset.values() if isinstance(value, str) and value]
    files = {name: next((p for p in (Path(root, name), Path(name)) if p.is_file()), None) for name in named}
    return {name: file_hash(path) for name, path in files.items() if path}


def _normalisation(preprocessor: dict) -> dict:
    return {
        'mean': preprocessor.get('mean'),
        'std': preprocessor.get('std'),
        'range': '0 to 255',
        'colour_order': 'RGB',
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
