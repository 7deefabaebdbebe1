"""Judge features that have labels: nearest neighbours and a linear model, with shares of the labels, folds, patients.

    python tools/eval_features.py features/nct.h5 --test features/crc-val.h5 --parts 75 25
    python tools/eval_features.py features/bach.h5 --fractions 5 10 20 50 100 --draws 5 --out work_dirs/bach.json
    python tools/eval_features.py features/brca.h5 --folds 5 --groups tcga

Everything that can be chosen is chosen on the validation part. The table has the mean and standard deviation over draws
and folds; of a single run its 95 % bootstrap interval, over patients where --groups is given.
"""

import argparse
import csv
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from histomm.atomic_file import write_atomic
from histomm.evaluation.feature_store import FeatureSet, read_features
from histomm.evaluation.protocol import PROBES, Labelled, Protocol, Run, evaluate, summarise
from histomm.evaluation.splits import groups_of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', type=Path, help='feature file of tools/extract_features.py')
    parser.add_argument('--test', type=Path, help='feature file to test on; else a part of FEATURES is')
    parser.add_argument('--table', type=Path, help='CSV name,label[,group] for features without labels, or with others')
    parser.add_argument('--task', choices=('classification', 'regression'), default='classification')
    parser.add_argument('--probes', nargs='+', choices=PROBES, default=list(PROBES))
    parser.add_argument('--fractions', nargs='+', type=float, default=[100.0], help='percent of the training labels')
    parser.add_argument('--draws', type=int, default=5, help='draws of each share (default: %(default)s)')
    parser.add_argument('--folds', type=int, default=0, help='cross-validation in place of --parts')
    parser.add_argument('--parts', nargs='+', type=int, default=[50, 25, 25], help='training, validation, test')
    parser.add_argument('--groups', help="what stays together: 'tcga', or a regular expression on the names")
    parser.add_argument('--bootstrap', type=int, default=1000, help='samples for intervals (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='JSON file for every run')
    args = parser.parse_args(argv)
    if len(args.parts) != 3 - bool(args.test) and not args.folds and args.parts != [50, 25, 25]:
        parser.error(
            f'--parts has {len(args.parts)} shares, expected {"two, the test has its own" if args.test else 3}'
        )
    if args.draws < 1 or args.bootstrap < 0 or not all(0 < share <= 100 for share in args.fractions):
        parser.error('--draws has to be 1 or more, --bootstrap 0 or more, --fractions above 0 and up to 100')
    return args


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a CSV by their name."""
    with open(path, encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file)
        missing = {'name', 'label'} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f'{path} has the columns {reader.fieldnames}, expected name,label[,group]')
        return {row['name']: row for row in reader}


def labelled(content: FeatureSet, path: Path, args: argparse.Namespace, classes: tuple[str, ...] = ()) -> Labelled:
    """Features with their labels and groups, from the file itself or from the table."""
    table = read_table(args.table) if args.table else None
    if table is None and content.labels is None:
        raise ValueError(f'{path} has no labels; extract with --labels, or give --table')
    if table is not None:
        unknown = [name for name in content.names if name not in table]
        if unknown:
            raise ValueError(
                f'{args.table} lacks {len(unknown)} of the {len(content.names)} names of {path}, such as '
                f'{unknown[0]}; add them'
            )
    words = [table[name]['label'] for name in content.names] if table is not None else None
    groups = None
    if args.groups:
        groups = groups_of(list(content.names), args.groups)
    elif table is not None and all(row.get('group') for row in table.values()):
        groups = np.array([table[name]['group'] for name in content.names], dtype=object)
    if args.task == 'regression':
        return Labelled(content.features, _values(words or content.labels, args.table or path), (), groups)
    if words is None:
        labels, names = content.labels, content.classes
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f'{path} has labels of {labels.dtype}, expected classes; give --task regression')
        names = names or tuple(str(number) for number in range(int(labels.max()) + 1))
        return Labelled(content.features, labels, names, groups)
    names = classes or tuple(sorted(set(words)))
    extra = sorted(set(words) - set(names))
    if extra:
        raise ValueError(f'{path} has the class {extra[0]!r}, which is not among those to train, {names}')
    return Labelled(content.features, np.array([names.index(word) for word in words], np.int64), names, groups)


def _values(words: list[str] | np.ndarray, path: Path) -> np.ndarray:
    try:
        values = np.array(words, np.float64)
    except ValueError as error:
        raise ValueError(f'{path} has a label that is no number ({error}); regression needs numbers') from error
    if not np.isfinite(values).all():
        raise ValueError(f'{path} has labels that are not finite; regression needs numbers')
    return values


def table_of(runs: list[Run]) -> str:
    """A markdown table: a row for each probe and share."""
    names = list(runs[0].scores)
    lines = ['| probe | labels | ' + ' | '.join(names) + ' |', '| --- | --: |' + ' --: |' * len(names)]
    for row in summarise(runs):
        members = [run for run in runs if (run.probe, run.fraction) == (row['probe'], row['fraction'])]
        cells = [_cell(name, row['scores'][name], members) for name in names]
        lines.append(f'| {row["probe"]} | {100 * row["fraction"]:g} % | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _cell(name: str, score: dict, members: list[Run]) -> str:
    digits = 2 if name == 'l1' else 4
    if score['runs'] == 0:
        return 'not defined'
    if len(members) == 1 and name in members[0].intervals:
        low, high = members[0].intervals[name]
        return f'{score["mean"]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'
    return (
        f'{score["mean"]:.{digits}f} ± {score["std"]:.{digits}f}' if len(members) > 1 else f'{score["mean"]:.{digits}f}'
    )


def record(args: argparse.Namespace, protocol: Protocol, runs: list[Run], data: Labelled, sources: dict) -> dict:
    """All that was done and found, as JSON has it: what is not defined is null."""
    content = {
        'features': sources,
        'task': args.task,
        'groups': args.groups,
        'classes': list(data.classes),
        'protocol': asdict(protocol),
        'summary': summarise(runs),
        'runs': [asdict(run) for run in runs],
    }
    return _defined(content)


def _defined(node):
    if isinstance(node, dict):
        return {key: _defined(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_defined(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node


def judge(args: argparse.Namespace) -> list[Run]:
    """Read, evaluate, print and write."""
    contents = {path: read_features(path) for path in (args.features, args.test) if path}
    data = labelled(contents[args.features], args.features, args)
    test = labelled(contents[args.test], args.test, args, data.classes) if args.test else None
    if args.test and contents[args.test].settings.get('weights') != contents[args.features].settings.get('weights'):
        raise ValueError(f'{args.features} and {args.test} were made with other weights; extract both with one model')
    parts = tuple(args.parts) if len(args.parts) == 3 else (*args.parts, 0)
    shares = tuple(share / 100 for share in args.fractions)
    protocol = Protocol(tuple(args.probes), shares, args.draws, args.folds, parts, args.bootstrap, args.seed)
    runs = evaluate(data, protocol, test)
    print(table_of(runs))
    if args.out:
        sources = {str(path): content.settings for path, content in contents.items()}
        text = json.dumps(record(args, protocol, runs, data, sources), ensure_ascii=False, indent=1)
        write_atomic(text.encode(), args.out)
    return runs


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        judge(args)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'eval_features: {error}')


if __name__ == '__main__':
    main()
