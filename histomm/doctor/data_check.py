"""The data sets of a config: paths that exist, images that decode, labels that fit the classes."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from histomm.config_file import leaf_datasets

from .findings import Report

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')
DECODED = 8  # images of each data set that are decoded
LOOKED_UP = 1000  # images of each data set whose file is looked up
IGNORED_LABEL = 255
READ_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
BUILD_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, ImportError)


def stated_paths(dataset: dict) -> Iterator[tuple[str, Path]]:
    """Field and path of everything on the disk that a data set names, joined to ``data_root`` as mmengine does."""
    roots = dataset.get('data_root') or ''
    roots = [roots] if isinstance(roots, (str, Path)) else list(roots)
    yield from (('data_root', Path(root)) for root in roots if str(root))
    base = Path(roots[0]) if len(roots) == 1 else Path()
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix if isinstance(prefix, dict) else {'': prefix}
    fields = {'ann_file': dataset.get('ann_file')}
    fields.update({f'data_prefix.{key}'.rstrip('.'): value for key, value in prefixes.items()})
    yield from ((field, base / value) for field, value in fields.items() if isinstance(value, (str, Path)) and value)


def check_paths(report: Report, where: str, dataset: dict) -> bool:
    """Whether all paths exist; a folder that is missing hides what should be in it."""
    gone = [(field, path) for field, path in stated_paths(dataset) if not path.exists()]
    roots = [path for field, path in gone if field == 'data_root']
    for field, path in gone:
        if field == 'data_root' or not any(root in path.parents for root in roots):
            report.fault(f'{where}.{field}', f'{path} does not exist', 'correct the path, or put the data there')
    return not gone


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices, evenly spread over ``count``, first and last among them."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most))}) if count else []


def unreadable(path: str) -> str | None:
    """Why an image does not decode, or None."""
    try:
        with Image.open(path) as image:
            image.load()
            return None if min(image.size) > 1 else f'is only {image.size[0]}x{image.size[1]} pixels'
    except READ_ERRORS as error:
        return f'does not decode ({type(error).__name__}: {error})'


def check_images(report: Report, where: str, dataset: Any) -> None:
    """Look up the files of a built data set, and decode a few; a data set that skips bad files earns a notice only."""
    paths = {index: dataset.get_data_info(index).get('img_path') for index in spread(len(dataset), LOOKED_UP)}
    gone = [path for path in paths.values() if path and not Path(path).exists()]
    if gone:
        what = f'{len(gone)} of {len(paths)} images looked up do not exist, such as {gone[0]}'
        report.fault(where, what, 'correct data_prefix, or the file names in the annotation')
        return
    for index in spread(len(dataset), DECODED):
        path = paths.get(index)
        by_itself = getattr(dataset, 'why_unreadable', None)  # reads what is no image file, such as tiles of slides
        reason = by_itself(index) if by_itself else path and unreadable(path)
        if reason:
            tell = report.notice if getattr(dataset, 'unreadable', 'raise') == 'skip' else report.fault
            tell(where, f'{path} {reason}', 'replace or remove the file')


def check_coco(report: Report, where: str, ann_file: Path, classes: tuple[str, ...]) -> None:
    """Compare the categories of a COCO file with the classes of the data set; mmdet drops what does not match."""
    content = json.loads(ann_file.read_text())
    names = {category['id']: category['name'] for category in content.get('categories', [])}
    unknown = [name for name in classes if name not in names.values()]
    if unknown:
        what = f'{len(unknown)} of {len(classes)} classes, such as {unknown[0]!r}, are no category of {ann_file}, '
        what += f'which has {sorted(names.values())}'
        report.fault(f'{where}.metainfo', what, f'set metainfo=dict(classes={tuple(names.values())})')
        return
    counts = Counter(names.get(annotation['category_id']) for annotation in content.get('annotations', []))
    dropped = {name: count for name, count in counts.items() if name not in classes}
    if dropped:
        report.notice(
            f'{where}.metainfo', f'annotations of {dropped} are left out', 'add these classes if you want them'
        )


def check_label_maps(report: Report, where: str, dataset: Any, classes: tuple[str, ...]) -> None:
    """Compare the values in a few label maps of a segmentation data set with its classes."""
    for index in spread(len(dataset), DECODED):
        info = dataset.get_data_info(index)
        path = info.get('seg_map_path')
        if path is None or info.get('label_map'):
            return
        reason = unreadable(path)
        if reason:
            report.fault(where, f'{path} {reason}', 'correct data_prefix.seg_map_path or seg_map_suffix')
            return
        values = np.unique(np.asarray(Image.open(path))).astype(int)
        values = values[values != IGNORED_LABEL] - bool(info.get('reduce_zero_label'))
        if values.size and values.max() >= len(classes):
            what = f'{path} holds the label {values.max()}, but there are only {len(classes)} classes'
            report.fault(where, what, 'correct the label maps, the classes in metainfo, or reduce_zero_label')
            return


class Size(NamedTuple):
    """How many samples and classes a data set has."""

    samples: int
    classes: int


def check_dataset(report: Report, where: str, cfg: dict) -> Size | None:
    """All checks of one data set.

    Returns:
        Its size, or None where it cannot be opened or is empty.
    """
    if not check_paths(report, where, cfg):
        return None
    try:
        dataset = DATASETS.build({**cfg, 'pipeline': []})
        length = len(dataset)
    except BUILD_ERRORS as error:
        report.fault(where, f'does not open: {type(error).__name__}: {error}', 'correct the data set')
        return None
    classes = tuple((getattr(dataset, 'metainfo', None) or {}).get('classes') or ())
    report.row(where.removesuffix('.dataset'), f'{length} samples, {len(classes) or "no"} classes ({cfg.get("type")})')
    if length == 0:
        report.fault(where, 'holds no sample', 'correct its paths, suffixes or filter')
        return None
    if not hasattr(dataset, 'get_data_info'):
        return Size(length, len(classes))
    check_images(report, where, dataset)
    check_label_maps(report, where, dataset, classes)
    annotations = [path for field, path in stated_paths(cfg) if field == 'ann_file' and path.suffix == '.json']
    for ann_file in annotations if classes else []:
        check_coco(report, where, ann_file, classes)
    return Size(length, len(classes))


def check_batch(report: Report, cfg: Config, sizes: dict[str, Size]) -> None:
    """A training set smaller than a batch gives no step where incomplete batches are dropped."""
    where = 'train_dataloader.dataset'
    loader = cfg.get('train_dataloader') or {}
    batch = loader.get('batch_size')
    if where not in sizes or not loader.get('drop_last') or not (cfg.get('train_cfg') or {}).get('by_epoch'):
        return
    if batch and sizes[where].samples < batch:
        what = f'{batch} is more than the {sizes[where].samples} samples, and batches that are not full are dropped'
        report.notice('train_dataloader.batch_size', what, 'lower it, or use more images; training would not start')


def hook_datasets(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Data sets that hooks open for themselves, such as that of the online kNN."""
    hooks = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()}
    hooks.update({f'custom_hooks[{index}]': hook for index, hook in enumerate(cfg.get('custom_hooks') or [])})
    for where, hook in hooks.items():
        yield from leaf_datasets((hook or {}).get('dataset'), f'{where}.dataset')


def check_data(report: Report, cfg: Config) -> dict[str, int]:
    """Check every data set and evaluator of a config.

    Returns:
        Number of classes of each loader's data set that has classes, by its field in the config.
    """
    sizes = {}
    for where, dataset in hook_datasets(cfg):
        check_dataset(report, where, dataset)
    for loader in LOADERS:
        for where, dataset in leaf_datasets((cfg.get(loader) or {}).get('dataset'), f'{loader}.dataset'):
            size = check_dataset(report, where, dataset)
            if size is not None:
                sizes[where] = size
    check_batch(report, cfg, sizes)
    for name in EVALUATORS:
        evaluator = cfg.get(name) or []
        alone = isinstance(evaluator, dict)
        for index, metric in enumerate([evaluator] if alone else evaluator):
            path = metric.get('ann_file')
            if path and not Path(path).exists():
                where = name if alone else f'{name}[{index}]'
                report.fault(f'{where}.ann_file', f'{path} does not exist', 'correct the path')
    return {where: size.classes for where, size in sizes.items() if size.classes}
