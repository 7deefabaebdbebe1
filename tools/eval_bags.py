"""Judge bags of features on every fold: train a config on each, or take the nearest neighbours of slides.

    python tools/eval_bags.py configs/nsclc/vit-wsi_region_nsclc.py --out work_dirs/nsclc/vit-wsi
    python tools/eval_bags.py configs/nsclc/vit-wsi_region_nsclc.py --knn --out work_dirs/nsclc/knn

Each fold is trained on its training part and tested on its test part after the last epoch. The table has the scores of
the folds, their mean and standard deviation (n - 1). With --knn a slide is the mean of its instances, and the config
tells the data alone. A stopped run goes on with the folds that are not finished; those are judged anew whose settings,
split file, table or feature files have changed since.
"""

import argparse
import hashlib
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import DATASETS

from histomm.atomic_file import write_atomic
from histomm.datasets import BagDataset
from histomm.engine.launch import build_runner, load_config
from histomm.evaluation.bag_knn import bag_knn_scores, slide_vectors
from histomm.models.card import file_hash

PARTS = ('train', 'val', 'test')
RECORD = 'scores.json'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of bags, such as those in configs/nsclc')
    parser.add_argument('--out', required=True, type=Path, help='folder for the table, and for each fold')
    parser.add_argument('--features', help="folder of feature files, in place of the config's")
    parser.add_argument('--table', help="table of slides, in place of the config's")
    parser.add_argument('--splits', help="folder of folds, in place of the config's")
    parser.add_argument('--folds', nargs='+', type=int, help='numbers of folds (default: all that there are)')
    parser.add_argument('--knn', action='store_true', help='nearest neighbours in place of training')
    parser.add_argument('--k', type=int, default=5, help='neighbours of --knn (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


def read_config(args: argparse.Namespace, work_dir: Path) -> Config:
    """The config with the data that the options name.

    Raises:
        ValueError: a part has no bags, or with --knn no classes.
    """
    cfg = load_config(args.config, str(work_dir), args.cfg_options, 'none')
    for part in PARTS:
        dataset = dataset_of(cfg, part, args.knn)
        given = dict(feature_folder=args.features, table=args.table)
        if args.splits:
            given['split_file'] = str(Path(args.splits, Path(dataset.split_file).name))
        dataset.update({name: str(Path(value).absolute()) for name, value in given.items() if value})
    return cfg


def dataset_of(cfg: Config, part: str, knn: bool) -> ConfigDict:
    """The data set of a part, if it has what is judged here."""
    field = f'{part}_dataloader.dataset'
    dataset = (cfg.get(f'{part}_dataloader') or {}).get('dataset') or {}
    kind = dataset.get('type')
    if kind is None or not issubclass(DATASETS.get(kind) or object, BagDataset):
        raise ValueError(f'{field} of {cfg.filename} is {kind or "missing"}, expected one of type histomm.BagDataset')
    if knn and dataset.get('target', 'label') != 'label':
        raise ValueError(f"{field}.target is {dataset.target!r}, expected 'label' for --knn; leave --knn out")
    return dataset


def fold_files(cfg: Config, wanted: list[int] | None) -> dict[int, str]:
    """Split file of each fold by its number: the files beside that of the config that differ in the number alone.

    Raises:
        FileNotFoundError: one that is wanted, or all of them, do not exist.
        ValueError: the config has no split file with a number in its name.
    """
    dataset = cfg.train_dataloader.dataset
    given = Path(dataset.get('split_file', ''))
    match = re.fullmatch(r'(.*?)\d+(\D*)', given.name)
    if match is None:
        raise ValueError(f'split_file is {str(given)!r}, expected a file with a number, such as splits/splits_0.csv')
    root = Path(dataset.get('data_root', ''))
    folder = (root if (root / given.parent).is_dir() else Path()) / given.parent
    pattern = re.compile(rf'{re.escape(match[1])}(\d+){re.escape(match[2])}')
    names = (pattern.fullmatch(path.name) for path in sorted(folder.glob('*')))
    found = {int(name[1]): str(folder / name[0]) for name in names if name}
    missing = [number for number in wanted or () if number not in found]
    if missing or not found:
        name = f'{match[1]}{missing[0] if missing else 0}{match[2]}'
        raise FileNotFoundError(f'{folder / name} does not exist; draw folds with tools/split_slides.py')
    return {number: found[number] for number in wanted or sorted(found)}


def config_of_fold(args: argparse.Namespace, number: int, split_file: str) -> Config:
    """The config with the split file of a fold, and a folder of its own."""
    cfg = read_config(args, args.out / f'fold_{number}')
    for part in PARTS:
        cfg[f'{part}_dataloader'].dataset.split_file = split_file
    cfg.experiment_name = f'{Path(args.config).stem}_fold{number}'  # mmengine tells runs of one process apart by it
    return cfg


def neighbours(cfg: Config, k: int) -> dict[str, float]:
    """Scores of the nearest neighbours on the test part."""
    parts = {}
    for part in ('train', 'test'):
        dataset = DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'test_mode': True})
        parts[part] = slide_vectors(dataset)
    return bag_knn_scores(parts['train'], parts['test'], k)


def trained(cfg: Config) -> dict[str, float]:
    """Scores on the test part after training."""
    runner = build_runner(cfg)
    runner.train()
    return {name.rpartition('/')[2]: float(value) for name, value in runner.test().items()}


def digest_of(cfg: Config, k: int | None) -> str:
    """Of all that decides about scores: settings, the bytes of table and fold, and the state of the feature files.

    Args:
        cfg: Of a fold.
        k: Neighbours; None for training.
    """
    settings = cfg.to_dict()
    datasets = {part: settings[f'{part}_dataloader']['dataset'] for part in PARTS}
    digest = hashlib.sha256(json.dumps([settings if k is None else datasets, k], sort_keys=True, default=str).encode())
    places = ('data_root', 'feature_folder', 'table', 'split_file')  # mostly the same for all parts
    for dataset in {str([dataset.get(name) for name in places]): dataset for dataset in datasets.values()}.values():
        tables, features = DATASETS.build({**dataset, 'lazy_init': True}).files()
        contents = [file_hash(path) for path in tables]
        states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in features]
        digest.update(json.dumps([contents, states]).encode())
    return digest.hexdigest()


def scores_of_fold(args: argparse.Namespace, number: int, split_file: str) -> dict[str, float | None]:
    """Scores of a fold, None where one is not defined; from its record where nothing behind them has changed."""
    cfg = config_of_fold(args, number, split_file)
    digest = digest_of(cfg, args.k if args.knn else None)
    record = args.out / f'fold_{number}' / RECORD
    if record.is_file() and (kept := json.loads(record.read_text()))['settings'] == digest:
        return kept['scores']
    scores = neighbours(cfg, args.k) if args.knn else trained(cfg)
    scores = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    write_atomic(json.dumps(dict(settings=digest, scores=scores), indent=1).encode(), record)
    return scores


def summary(folds: dict[int, dict[str, float | None]]) -> dict[str, dict]:
    """Scores of all folds, and their mean and standard deviation; scores that are not defined do not count."""
    content: dict[str, dict] = {
        'folds': {str(number): scores for number, scores in folds.items()},
        'mean': {},
        'std': {},
    }
    for name in next(iter(folds.values())):
        values = np.array([scores[name] for scores in folds.values() if scores[name] is not None])
        content['mean'][name] = float(values.mean()) if len(values) else None
        content['std'][name] = float(values.std(ddof=1)) if len(values) > 1 else None
    return content


def table_of(content: dict[str, dict]) -> str:
    """A markdown table: a row for each fold, and one for all."""
    names = list(content['mean'])
    lines = ['| fold | ' + ' | '.join(names) + ' |', '| --- |' + ' --: |' * len(names)]
    for number, scores in content['folds'].items():
        cells = ['not defined' if scores[name] is None else f'{scores[name]:.4f}' for name in names]
        lines.append(f'| {number} | {" | ".join(cells)} |')
    cells = []
    for name in names:
        mean, std = content['mean'][name], content['std'][name]
        spread = '' if std is None else f' ± {std:.4f}'
        cells.append('not defined' if mean is None else f'{mean:.4f}{spread}')
    return '\n'.join([*lines, f'| mean ± sd | {" | ".join(cells)} |'])


def judge(args: argparse.Namespace) -> None:
    """All folds; print and write the table."""
    cfg = read_config(args, args.out)
    folds = {number: scores_of_fold(args, number, path) for number, path in fold_files(cfg, args.folds).items()}
    content = summary(folds)
    print(table_of(content))
    write_atomic(f'{table_of(content)}\n'.encode(), args.out / 'folds.md')
    write_atomic(json.dumps(content, indent=1).encode(), args.out / 'folds.json')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        judge(args)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'eval_bags: {error}')


if __name__ == '__main__':
    main()
