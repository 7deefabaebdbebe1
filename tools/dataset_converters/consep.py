"""CoNSeP to images and instances of nuclei:

python tools/dataset_converters/consep.py data/CoNSeP_raw --out data/CoNSeP

Reads {Train,Test}/Images/*.png and the array inst_map of Labels/*.mat of the same names, from the folder given or from
the one folder inside it that holds them: 27 and 14 images. The alpha channel of the images is dropped. The kinds of
nuclei (type_map) and the Overlay pictures are not needed.

Writes images, instances (16-bit png), train.txt, test.txt, summary.csv and conversion.json.
"""

import argparse
from pathlib import Path

import numpy as np

from histomm.datasets.coco import Sample
from histomm.datasets.conversion import note_counts, run_conversion
from histomm.datasets.label_maps import MAT_KEY, ConversionError, read_label_map
from histomm.datasets.nuclei_conversion import list_files, pair_up, write_nuclei

OFFICIAL = {'train': 27, 'test': 14}
FOLDERS = {'train': 'Train', 'test': 'Test'}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folders Train and Test')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    return parser.parse_args(argv)


def find_root(data: Path) -> Path:
    """The folder that holds Train or Test.

    Raises:
        ConversionError: there is none, or more than one.
    """
    images = [path for above in ('', '*/') for name in FOLDERS.values() for path in data.glob(f'{above}{name}/Images')]
    roots = sorted({path.parent.parent for path in images if '__MACOSX' not in path.parts})
    if len(roots) != 1:
        found = f'the data set {len(roots)} times' if roots else 'no folder Train/Images or Test/Images'
        raise ConversionError(f'{data} holds {found}, expected one set; check the path')
    return roots[0]


def find_samples(split: Path) -> list[Sample]:
    """Images of one split with their labels.

    Raises:
        ConversionError: no images, no labels, or one without the other.
    """
    images = list_files(split / 'Images', ('.png',))
    if not images:
        raise ConversionError(f'{split / "Images"} holds no png; put the images there, or remove {split}')
    return pair_up(images, list_files(split / 'Labels', ('.mat',)), split / 'Labels')


def read_instances(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, dict[str, int]]:
    """The array ``inst_map`` of a label."""
    return read_label_map(path, MAT_KEY), {}


def convert(args: argparse.Namespace) -> None:
    root = find_root(args.data)
    splits = {split: find_samples(root / name) for split, name in FOLDERS.items() if (root / name / 'Images').is_dir()}
    note_counts(splits, OFFICIAL)
    write_nuclei('consep', splits, read_instances, args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('consep', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
