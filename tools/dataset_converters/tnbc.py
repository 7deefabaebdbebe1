"""TNBC (Naylor et al. 2019) to images and instances of nuclei:

python tools/dataset_converters/tnbc.py data/TNBC_raw --out data/TNBC

Reads Slide_XX/*.png and the binary masks of the same names in GT_XX, from the folder given or from the one folder
inside it that holds them: 50 images of 11 patients, one a slide. As the masks are binary, each 8-connected part is one
instance: nuclei that touch are one.

There is no official split. All images are listed in all.txt; with --test-slides 9 10 11 also in train.txt and test.txt.
Writes images, instances (16-bit png), the lists, summary.csv and conversion.json.
"""

import argparse
import re
from pathlib import Path

import cv2
import numpy as np

from histomm.datasets.coco import Sample
from histomm.datasets.conversion import note_counts, run_conversion
from histomm.datasets.label_maps import ConversionError, read_label_map
from histomm.datasets.nuclei_conversion import list_files, pair_up, write_nuclei

OFFICIAL = {'all': 50}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the folders Slide_XX and GT_XX')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    parser.add_argument('--test-slides', type=int, nargs='+', default=[], help='numbers of slides to test on')
    return parser.parse_args(argv)


def find_slides(data: Path) -> dict[int, list[Sample]]:
    """Images of each slide with their masks.

    Raises:
        ConversionError: no slides, or slides, images or masks without counterpart.
    """
    found = {kind: _numbered(data, kind) for kind in ('Slide', 'GT')}
    if not found['Slide']:
        raise ConversionError(f'{data} holds no folders Slide_XX; give the folder with the slides of TNBC')
    for here, there in (('Slide', 'GT'), ('GT', 'Slide')):
        lonely = sorted(found[here].keys() - found[there].keys())
        if lonely:
            raise ConversionError(f'{found[here][lonely[0]]} has no counterpart {there}_{lonely[0]:02d}; add it')
    slides = {}
    for number in sorted(found['Slide']):
        masks = found['GT'][number]
        slides[number] = pair_up(list_files(found['Slide'][number], ('.png',)), list_files(masks, ('.png',)), masks)
    return slides


def _numbered(data: Path, kind: str) -> dict[int, Path]:
    """Folders ``<kind>_<number>`` by number."""
    folders = {}
    for path in sorted(path for above in ('', '*/') for path in data.glob(f'{above}{kind}_*') if path.is_dir()):
        match = re.fullmatch(rf'{kind}_(\d+)', path.name)
        if match and '__MACOSX' not in path.parts:
            other = folders.setdefault(int(match[1]), path)
            if other != path:
                raise ConversionError(f'{other} and {path} are the same slide twice; keep one of them')
    return folders


def read_parts(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, dict[str, int]]:
    """Connected parts of a binary mask.

    Raises:
        ConversionError: values of more than one kind beside 0.
    """
    mask = read_label_map(path)
    values = np.unique(mask[mask > 0])
    if len(values) > 1:
        raise ConversionError(
            f'{path} holds {len(values)} values beside 0, such as {values[0]} and {values[1]}, expected one: masks of '
            'TNBC are binary'
        )
    return cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[1], {}


def convert(args: argparse.Namespace) -> None:
    slides = find_slides(args.data)
    unknown = sorted(set(args.test_slides) - slides.keys())
    if unknown:
        raise ConversionError(f'--test-slides names {unknown[0]}, found the slides {", ".join(map(str, slides))}')
    splits = {'all': [sample for samples in slides.values() for sample in samples]}
    if args.test_slides:
        for split, wanted in (('train', slides.keys() - set(args.test_slides)), ('test', args.test_slides)):
            splits[split] = [sample for number in sorted(set(wanted)) for sample in slides[number]]
    note_counts(splits, OFFICIAL)
    print('note: masks are binary; each connected part is an instance, nuclei that touch are one')
    write_nuclei('tnbc', splits, read_parts, args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('tnbc', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
