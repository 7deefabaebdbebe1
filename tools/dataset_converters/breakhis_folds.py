"""Five patient-wise folds of BreakHis: python tools/dataset_converters/breakhis_folds.py data/BreaKHis_v1

Patients are dealt out to five folds, stratified by the eight subtypes. Fold k has test_20 (fold k), val_20 (fold k + 1)
and train_60 (the others), and with half of the validation in the training train_70 and val_10. Images stay where they
are: written are DATA/folds_patient/fold<k>/<part>.csv, <part>_40X.csv and so on with the images of one magnification,
folds.csv with the fold of each patient's folder, summary.csv and conversion.json.

--table takes the folds from a table, such as configs/breakhis/folds_patient.csv for the published 82 folders, instead
of drawing them. With --group-by case slides that differ in their letters only, such as 14-21998AB and 14-21998CD, are
one patient, and the lists lie in DATA/folds_case.

--check compares lists of images, such as your own, and refuses a patient who is in two; nothing is written.
"""

import argparse
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

from histomm.datasets.breakhis import CLASSES, MAGNIFICATIONS, BreakHisName, find_breakhis
from histomm.datasets.conversion import claim, run_conversion
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.patch_dataset import PatchDataset
from histomm.evaluation.patient_folds import (
    FOLDS,
    PARTS,
    PATIENTS,
    FoldRow,
    check_lists,
    draw_folds,
    fold_lists,
    read_folds,
)
from histomm.evaluation.split_lists import SUMMARY, Sample, write_table

TABLE = 'folds.csv'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='data root; paths in the lists are relative to it')
    parser.add_argument('--table', type=Path, help='fold of each folder, instead of a draw')
    parser.add_argument('--group-by', choices=PATIENTS, default='patient', help='what stays together')
    parser.add_argument('--seed', type=int, help='of the draw (default 0)')
    parser.add_argument('--check', nargs='+', metavar='LIST', help='lists, by name below DATA, that share no patient')
    parser.add_argument('--out', type=Path, help='folder of the lists (default: in DATA, by --group-by)')
    args = parser.parse_args(argv)
    if args.table and args.seed is not None:
        parser.error('--table takes the folds from a table, and --seed draws them; give one of them')
    if args.check and any(value is not None for value in (args.table, args.seed, args.out)):
        parser.error('--check compares lists and writes nothing; leave --table, --seed and --out away')
    if args.check and len({(args.data / name).resolve() for name in args.check}) < max(2, len(args.check)):
        parser.error(f'--check compares different lists, found {" ".join(args.check)}; give two or more, each once')
    args.seed = args.seed or 0
    return args


def note_lacking(images: dict[str, BreakHisName], rows: list[FoldRow]) -> None:
    """Say which folders of the table are not there, and which lack a magnification."""
    found = defaultdict(set)
    for name in images.values():
        found[name.folder].add(name.magnification)
    absent = [row.folder for row in rows if row.folder not in found]
    if absent:
        print(f'note: {len(absent)} of the {len(rows)} folders of the table have no image here, such as {absent[0]}')
    for number in MAGNIFICATIONS:
        lacking = [folder for folder, numbers in found.items() if number not in numbers]
        if lacking:
            print(f'note: {len(lacking)} of {len(found)} folders have no image at {number}X, such as {lacking[0]}')


def check(args: argparse.Namespace) -> None:
    """Compare the lists of ``--check``, and say how many patients each has."""
    lists = {}
    for name in args.check:
        try:
            items = PatchDataset(str(args.data), name)
        except (FileNotFoundError, ValueError) as error:
            raise ConversionError(str(error)) from error
        lists[name] = [items.get_data_info(index)['img_path'] for index in range(len(items))]
    for name, patients in check_lists(lists, args.group_by).items():
        print(f'{name}: {len(lists[name])} images of {patients} patients who are in none of the other lists')


def convert(args: argparse.Namespace) -> None:
    images = find_breakhis(args.data)
    if args.table and not args.table.is_file():
        raise ConversionError(f'{args.table} is no file, expected a table of folds')
    folders = {name.folder for name in images.values()}
    rows = read_folds(args.table, args.group_by) if args.table else draw_folds(folders, args.group_by, args.seed)
    note_lacking(images, rows)
    lists = fold_lists(images, rows, str(args.table or 'the draw'))
    out = args.out or args.data / f'folds_{args.group_by}'
    digest = hashlib.sha256('\n'.join([*images, *map(str, rows)]).encode()).hexdigest()
    recipe = dict(version=1, dataset='breakhis', folds=FOLDS, group_by=args.group_by, images=len(images), sha256=digest)
    partial = claim(out, recipe if args.table else recipe | dict(seed=args.seed))
    if partial is None:
        print(f'{out} holds these lists already')
        return
    summary = []
    for name, paths in lists.items():
        samples = [Sample(path, images[path].label, getattr(images[path], args.group_by)) for path in paths]
        counts = Counter(sample.label for sample in samples)
        summary.append((name, len(samples), len({sample.group for sample in samples}), *(counts[c] for c in CLASSES)))
        (partial / name).parent.mkdir(exist_ok=True)
        write_table(partial / f'{name}.csv', Sample._fields, samples)
    write_table(partial / SUMMARY, ('list', 'images', 'patients', *CLASSES), summary)
    write_table(partial / TABLE, FoldRow._fields, rows)
    partial.replace(out)
    absent = [
        f'{name}_{number}X'
        for name in lists
        if name.endswith(PARTS)
        for number in MAGNIFICATIONS
        if f'{name}_{number}X' not in lists
    ]
    if absent:
        print(f'note: {len(absent)} lists would have no image and were not written, such as {absent[0]}.csv')
    for name, total, patients, benign, malignant in summary:
        if name.endswith(PARTS[:3]):
            print(f'{out / name}.csv: {total} images of {patients} patients: {benign} benign, {malignant} malignant')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('breakhis_folds', lambda: check(args) if args.check else convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
