"""A config against what is on the disk: does it load, are its libraries there, do data, classes and weights fit."""

from importlib.util import find_spec

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.registry import DefaultScope

from histomm.config_file import DISTRIBUTIONS, NEED_OPS, read_config, used_scopes, walk

from .data_check import check_data
from .findings import Report
from .weight_check import check_weights

CONFIG_ERRORS = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, NameError, AttributeError, AssertionError),
    *(ImportError, ConfigParsingError, ArithmeticError),
)


def check_scopes(report: Report, cfg: Config) -> bool:
    """Whether every library that the config names can be imported, with the compiled ops that some of them need."""
    scopes = used_scopes(cfg)
    missing = sorted(scope for scope in scopes if find_spec(scope) is None)
    for scope in missing:
        report.fault(scope, 'the config uses it, and it is not installed', f'run `make setup` ({DISTRIBUTIONS[scope]})')
    needy = ' and '.join(sorted(scopes & NEED_OPS))
    if needy and find_spec('mmcv._ext') is None:
        todo = 'build mmcv with its ops: `python tools/setup/install_mmcv.py`'
        report.fault('compiled ops', f'the config uses {needy}, and mmcv has no compiled ops', todo)
    return not missing


def check_classes(report: Report, cfg: Config, counts: dict[str, int]) -> None:
    """Compare ``num_classes`` of every head with the classes of every data set that has labels.

    Args:
        report: Where to write.
        cfg: The config.
        counts: Number of classes of each data set, by its field in the config.
    """
    heads = [(path, node['num_classes']) for path, node in walk(cfg.get('model'), 'model') if 'num_classes' in node]
    for where, count in counts.items():
        for path, num_classes in heads:
            if num_classes != count:
                what = f'num_classes={num_classes}, but {where} has {count} classes'
                report.fault(path, what, 'set num_classes, or the classes in metainfo of the data set')
    if heads and counts:
        report.row('classes', ', '.join(f'{where} {count}' for where, count in counts.items()))


def check_config(report: Report, path: str, options: dict | None = None) -> None:
    """All checks of one config; nothing is trained and no model but a backbone is built.

    Args:
        report: Where to write.
        path: Config file, ``.py``, ``.yaml`` or ``.json``.
        options: Dotted fields and the values to put there before checking.
    """
    try:
        cfg = read_config(path)
        cfg.merge_from_dict(options or {})
    except CONFIG_ERRORS as error:
        report.fault(path, f'does not load: {type(error).__name__}: {error}', 'correct the config')
        return
    report.row('config', path)
    if not check_scopes(report, cfg):
        return
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        check_classes(report, cfg, check_data(report, cfg))
        check_weights(report, cfg, walk(cfg.get('model'), 'model'))
