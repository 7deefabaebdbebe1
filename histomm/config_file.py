"""Config files as the tools read them, and the libraries that they need.

Light on purpose: only mmengine is imported, so that the doctor can report whatever else is missing.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

DISTRIBUTIONS = {'mmdet': 'onedl-mmdetection', 'mmseg': 'onedl-mmsegmentation', 'mmpretrain': 'onedl-mmpretrain'}
"""What provides the libraries whose parts configs may name."""

NEED_OPS = {'mmdet', 'mmseg'}
"""Libraries that cannot be imported without the compiled ops of mmcv."""


def read_config(path: str) -> Config:
    """Read a ``.py``, ``.yaml`` or ``.json`` file, or one of a package, such as ``histomm::plm/moco_plm_r18_nct.py``.

    mmengine marks what a config inherits from another package with the scope of that package. Marks of histomm are
    removed: its configs spell scopes out and set ``default_scope``, while the mark would send mmdet's parts of a
    detection config to the wrong registry, and hands ``collate_fn`` an argument that it does not know.

    Raises:
        ModuleNotFoundError: the config inherits from a package that is not installed; the message says what to install.
    """
    try:
        cfg = _packaged(path) if '::' in path else Config.fromfile(path)
    except ModuleNotFoundError as error:
        library = str(error).split()[0]
        if library in DISTRIBUTIONS:
            raise ModuleNotFoundError(_install(path, library), name=library) from error
        raise
    for _, node in walk(cfg):
        if node.get('_scope_') == 'histomm':
            del node['_scope_']
    return cfg


def _packaged(path: str) -> Config:
    """A config given as ``package::path``. mmengine would install a missing package of that name; this does not."""
    from mmengine.hub import get_config

    library = path.partition('::')[0]
    if find_spec(library) is None:
        raise ModuleNotFoundError(f'{library} is not installed', name=library)
    return get_config(path)


def walk(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict inside a config node with its dotted path, the node itself first."""
    if isinstance(node, (dict, Config)):
        yield path, node
        for key, value in node.items():
            yield from walk(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk(value, f'{path}[{index}]')


def leaf_datasets(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Paths below ``node`` and fields of the data sets inside wrappers such as ``RepeatDataset``, ``ConcatDataset``."""
    if not isinstance(node, dict):
        return
    if 'dataset' in node:
        yield from leaf_datasets(node['dataset'], f'{path}.dataset')
    elif 'datasets' in node:
        for index, inner in enumerate(node['datasets']):
            yield from leaf_datasets(inner, f'{path}.datasets[{index}]')
    else:
        yield path, node


def used_scopes(cfg: Config) -> set[str]:
    """Names of the libraries whose registered parts a config names."""
    nodes = [node for _, node in walk(cfg.to_dict())]
    scopes = {node['type'].partition('.')[0] for node in nodes if isinstance(node.get('type'), str)}
    scopes |= {node['_scope_'] for node in nodes if '_scope_' in node}  # left by a base of another package
    return (scopes | {cfg.get('default_scope') or 'mmengine'}) & {*DISTRIBUTIONS, 'histomm', 'mmengine'}


def require_libraries(cfg: Config, path: str) -> None:
    """Make sure that what a config needs can be imported.

    Raises:
        ModuleNotFoundError: a library is missing, or mmcv has no compiled ops; the message says what to install.
    """
    scopes = used_scopes(cfg)
    for library in sorted(scopes):
        if find_spec(library) is None:
            raise ModuleNotFoundError(_install(path, library), name=library)
    if scopes & NEED_OPS and find_spec('mmcv._ext') is None:
        raise ModuleNotFoundError(
            f'{path} uses {" and ".join(sorted(scopes & NEED_OPS))}, which needs the compiled ops of mmcv, and mmcv was'
            ' built without; build them with `python tools/setup/install_mmcv.py` (docs/install.md)',
            name='mmcv._ext',
        )


def _install(path: str, library: str) -> str:
    package = DISTRIBUTIONS.get(library, library)
    return f'{path} uses {library}, which is not installed; run `make setup`, or install {package} (docs/install.md)'
