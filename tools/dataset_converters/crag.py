"""CRAG to COCO instances: python tools/dataset_converters/crag.py data/CRAG

Reads {train,valid,test}/Images/*.png and the label maps of the same names (png or mat) in Annotation, from the folder
given or from the one folder inside it that holds them. The Overlay pictures are not needed. Writes train.json and
test.json, and decodes each of them back. The official test set is called valid in version 2 of the data set: it becomes
test.json, unless there is a folder test as well.
"""

import argparse
import re
from pathlib import Path

from histomm.datasets.coco import ConversionError, Sample
from histomm.datasets.conversion import conversion_arguments, note_counts, run_conversion, write_splits

CATEGORY = 'gland'
OFFICIAL = {'train': 173, 'test': 40}
FOLDERS = ('train', 'valid', 'test')
LABEL_FOLDERS = ('Annotation', 'Annotations')
LABEL_SUFFIXES = ('.png', '.mat')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return conversion_arguments(parser).parse_args(argv)


def find_root(data: Path) -> Path:
    """The folder that holds train, valid or test.

    Raises:
        ConversionError: there is none, or more than one.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder with train/Images and train/Annotation')
    # Down to CRAG_v2/CRAG; unlike rglob, this also goes through links.
    images = [path for above in ('', '*/', '*/*/') for name in FOLDERS for path in data.glob(f'{above}{name}/Images')]
    roots = sorted({path.parent.parent for path in images if '__MACOSX' not in path.parts})
    if not roots:
        raise ConversionError(f'{data} holds no folder train/Images, valid/Images or test/Images; check the path')
    if len(roots) > 1:
        raise ConversionError(f'{data} holds the data set {len(roots)} times ({", ".join(map(str, roots))}); give one')
    return roots[0]


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these kinds by increasing number in the name; others are said to be left out, but for hidden ones.

    Raises:
        ConversionError: two files that differ in their suffix only.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    wanted = [path for path in files if path.suffix.lower() in suffixes]
    others = [path.name for path in files if path not in wanted]
    if others:
        print(f'note: {folder} holds {len(others)} files other than {" and ".join(suffixes)}, such as {others[0]}')
    stems = [path.stem for path in wanted]
    doubled = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubled:
        raise ConversionError(f'{folder} holds {doubled[0]} in two formats; keep one of them')
    return sorted(wanted, key=_by_number)


def _by_number(path: Path) -> list[str | int]:
    """Text and numbers of the name in turn."""
    parts: list[str | int] = re.split(r'(\d+)', path.stem)
    parts[1::2] = map(int, parts[1::2])
    return parts


def find_samples(data: Path, split: Path) -> list[Sample]:
    """Images of one split, each with the path of its label map.

    Raises:
        ConversionError: no images, no label maps, an image without one, or one without an image.
    """
    if not (split / 'Images').is_dir():
        raise ConversionError(f'{split} holds no folder Images, expected one with its png; add it, or remove {split}')
    labels = next((split / name for name in LABEL_FOLDERS if (split / name).is_dir()), None)
    if labels is None:
        raise ConversionError(f'{split} holds Images but no folder Annotation with the label maps; add it')
    images = list_files(split / 'Images', ('.png',))
    if not images:
        raise ConversionError(f'{split / "Images"} holds no png; put the images there, or remove {split}')
    maps = {path.stem: path for path in list_files(labels, LABEL_SUFFIXES)}
    for image in images:
        if image.stem not in maps:
            raise ConversionError(f'{image} has no label map {image.stem}.png or {image.stem}.mat in {labels}; add it')
    stray = sorted(maps.keys() - {image.stem for image in images})
    if stray:
        raise ConversionError(
            f'{len(stray)} label maps, such as {maps[stray[0]]}, have no image in {split / "Images"}; remove them, or '
            'add the images'
        )
    return [Sample(image, maps[image.stem], image.relative_to(data).as_posix()) for image in images]


def convert(args: argparse.Namespace) -> None:
    root = find_root(args.data)
    splits = {name: find_samples(args.data, root / name) for name in FOLDERS if (root / name).is_dir()}
    if 'valid' in splits and 'test' not in splits:
        print('note: valid is the official test set, and goes to test.json')
        splits['test'] = splits.pop('valid')
    note_counts(splits, OFFICIAL)
    write_splits(splits, CATEGORY, args)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_conversion('crag', lambda: convert(args))


if __name__ == '__main__':
    raise SystemExit(main())
