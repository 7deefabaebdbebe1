"""Split patches in class folders, or of a list, into lists for training, validation and test.

    python tools/split_patches.py data/NCT-CRC-HE-100K --parts train=75 val=25
    python tools/split_patches.py data/BACH --parts train=50 val=25 test=25 --fractions 5 10 20 50 --draws 5

Lists are CSV files with the columns path and label, by default in the folder `splits` of the data, as the configs name
them. With --fractions, train_5_0.csv is the first draw of 5 % of the training part.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np

from histomm.atomic_file import write_atomic
from histomm.datasets.patch_dataset import PatchDataset
from histomm.evaluation.splits import groups_of, label_fraction, split_parts

DEFAULT = ('train=50', 'val=25', 'test=25')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder of class folders')
    parser.add_argument('--list', default='', help='list of paths and labels below DATA, in place of class folders')
    parser.add_argument(
        '--values', action='store_true', help='the labels of --list are numbers to predict, not classes'
    )
    parser.add_argument(
        '--parts', nargs='+', default=DEFAULT, metavar='NAME=SHARE', help=f'default: {" ".join(DEFAULT)}'
    )
    parser.add_argument('--groups', help="keep images of a patient together: 'tcga', or a regular expression on paths")
    parser.add_argument('--fractions', nargs='+', type=float, default=[], help='percent of the first part, 0 to 100')
    parser.add_argument('--draws', type=int, default=5, help='draws of each of --fractions (default: %(default)s)')
    parser.add_argument('--exclude', nargs='+', default=[], help='patterns of paths to leave out')
    parser.add_argument('--seed', type=int, default=0, help='of all draws (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: DATA/splits)')
    return parser.parse_args(argv)


def read_parts(words: list[str]) -> dict[str, int]:
    """Names of the parts and their shares."""
    parts = {}
    for word in words:
        name, _, share = word.partition('=')
        if not name.isidentifier() or not share.isdecimal() or name in parts:
            raise ValueError(f'--parts has {word!r}, expected NAME=SHARE with a whole number, each name once')
        parts[name] = int(share)
    return parts


def read_items(args: argparse.Namespace) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths below the data, the labels as the lists will have them, and as the split sees them."""
    if args.values:
        from histomm.datasets.value_patches import ValuePatchDataset

        wide = (-np.inf, np.inf)
        dataset = ValuePatchDataset(args.list, wide, data_root=str(args.data), exclude=args.exclude)
    else:
        dataset = PatchDataset(str(args.data), args.list, with_labels=True, exclude=args.exclude)
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    paths = [Path(sample['img_path']).resolve().relative_to(args.data.resolve()).as_posix() for sample in samples]
    if args.values:
        values = np.array([sample['gt_score'][0] for sample in samples], np.float64)
        return paths, np.array([f'{value:g}' for value in values]), values
    labels = np.array([sample['gt_label'] for sample in samples], np.int64)
    classes = dataset.metainfo.get('classes')
    return paths, np.array([classes[label] if classes else str(label) for label in labels]), labels


def write_list(path: Path, paths: list[str], labels: np.ndarray, rows: np.ndarray) -> None:
    """Write the rows of a part as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('path', 'label'))
    writer.writerows((paths[row], labels[row]) for row in rows)
    write_atomic(text.getvalue().encode(), path)


def split(args: argparse.Namespace) -> None:
    """Draw and write all lists, and say how many images each has."""
    parts = read_parts(args.parts)
    paths, names, labels = read_items(args)
    groups = groups_of(paths, args.groups) if args.groups else None
    out = args.out or args.data / 'splits'
    rows_of = dict(zip(parts, split_parts(labels, list(parts.values()), args.seed, groups), strict=True))
    first = next(iter(parts))
    for percent in args.fractions:
        for draw in range(args.draws):
            chosen = label_fraction(rows_of[first], labels, percent / 100, args.seed + draw)
            rows_of[f'{first}_{percent:g}_{draw}'] = chosen
    for name, rows in rows_of.items():
        write_list(out / f'{name}.csv', paths, names, rows)
        held = f', {len(set(groups[rows]))} groups' if groups is not None else ''
        print(f'{out / name}.csv: {len(rows)} images{held}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        split(args)
    except (OSError, ValueError) as error:
        sys.exit(f'split_patches: {error}')


if __name__ == '__main__':
    main()
