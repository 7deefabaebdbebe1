"""MoNuSeg to images and instances of nuclei:

python tools/dataset_converters/monuseg.py data/MoNuSeg_raw --out data/MoNuSeg

Reads every tif below the folder given, with the xml of the same name (outlines of Aperio ImageScope) beside it or in
the folder Annotations beside its own. Images below a folder whose name has "test" in it are the test set, those below
one with "train" the training set: 37 and 14 images; the release of 2018 has 30 for training.

Outlines are filled in the order of the file: where two overlap, the later one has the pixels, and pixels of the outline
belong to the nucleus. Outlines without vertices or with one or two, and those that lie beside the image, are left out;
those that reach beyond it are cut. All of these are counted. Files that declare entities are refused.

Writes images, instances (16-bit png), train.txt, test.txt, participants.txt, summary.csv and conversion.json.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

import numpy as np

from histomm.datasets.coco import Sample
from histomm.datasets.conversion import note_counts, run_conversion
from histomm.datasets.imagescope import draw_regions, read_regions
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.nuclei_conversion import pair_up, write_nuclei

OFFICIAL = {'train': 37, 'test': 14}
ANNOTATIONS = 'Annotations'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with the training set, the test set, or both')
    parser.add_argument('--out', type=lambda text: Path(text).absolute(), required=True, help='new or empty folder')
    return parser.parse_args(argv)


def find_files(data: Path) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """Images of each split, and annotations by path without suffix.

    Raises:
        ConversionError: no images, or one of which no folder says whether it is for training or testing.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder with the images and annotations of MoNuSeg')
    splits: dict[str, list[Path]] = {'train': [], 'test': []}
    outlines = {}
    for folder, below, files in os.walk(data, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith('.') and name != '__MACOSX')
        for path in sorted(Path(folder, name) for name in files if not name.startswith('.')):
            if path.suffix.lower() in ('.tif', '.tiff'):
                splits[split_of(path, data)].append(path)
            elif path.suffix.lower() == '.xml':
                outlines[str(path.with_suffix(''))] = path
    if not any(splits.values()):
        raise ConversionError(f'{data} holds no tif; give the folder with the images and annotations of MoNuSeg')
    return splits, outlines


def split_of(path: Path, data: Path) -> str:
    """``train`` or ``test``, by the nearest folder that says so, up to ``data`` itself."""
    for folder in (*reversed(path.relative_to(data).parent.parts), data.absolute().name):
        for split in ('test', 'train'):
            if split in folder.lower():
                return split
    raise ConversionError(
        f'{path} is below no folder with "train" or "test" in its name, expected folders such as "MoNuSeg 2018 '
        'Training Data" and "MoNuSegTestData"; rename the folders'
    )


def pairs(images: list[Path], outlines: dict[str, Path]) -> list[Sample]:
    """Images with their annotations, which are taken out of ``outlines``."""
    labels = {}
    for image in images:
        beside = image.with_suffix('')
        for place in (beside, image.parent / ANNOTATIONS / image.stem, image.parent.parent / ANNOTATIONS / image.stem):
            if str(place) in outlines:
                labels[image.stem] = outlines.pop(str(place))
                break
    found = {image.stem: image for image in images}
    if len(found) < len(images):
        doubled = next(image for image in images if found[image.stem] != image)
        raise ConversionError(f'{doubled} and {found[doubled.stem]} are the same image twice; keep one of them')
    return pair_up(found, labels, images[0].parent.parent / ANNOTATIONS if images else Path(ANNOTATIONS))


def read_outlines(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, Counter[str]]:
    """Instances of an annotation; says which image lost outlines."""
    labels, counts = draw_regions(path, read_regions(path), shape)
    lost = {name: counts[name] for name in ('empty', 'open', 'outside', 'covered') if counts[name]}
    if lost:
        print(f'note: {path.name}: {", ".join(f"{count} {name}" for name, count in lost.items())} of the outlines')
    return labels, counts


def convert(args: argparse.Namespace) -> None:
    images, outlines = find_files(args.data)
    splits = {split: pairs(found, outlines) for split, found in images.items()}
    if outlines:
        stray = min(outlines.values())
        raise ConversionError(
            f'{len(outlines)} annotations, such as {stray}, have no image of the same name; add the images, or remove '
            'them'
        )
    note_counts(splits, OFFICIAL)
    write_nuclei('monuseg', splits, read_outlines, args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('monuseg', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
