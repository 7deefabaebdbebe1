"""What converters share: options, counts, a COCO file for each split, and folders that are whole or absent."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from .coco import Sample, build_coco, check_coco, write_coco
from .label_maps import ConversionError

RECIPE = 'conversion.json'
"""File in a converted folder that says what it was made from, and how."""
FRACTIONS = (5, 10, 20, 50)
"""Percent of the training images in the lists of draws; 100 % is the training part itself."""
DRAWS = 5
"""Lists of each of :data:`FRACTIONS`."""
JOURNAL = 'journal.jsonl'
"""File in a folder that is not finished: what of it is."""


def conversion_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the data root and the options that all converters have."""
    parser.add_argument('data', type=Path, help='data root; image names in the files are relative to it')
    parser.add_argument('--out', type=Path, help='folder of the COCO files (default: DATA/annotations)')
    parser.add_argument(
        '--keep-disconnected',
        action='store_true',
        help='one object per id; otherwise each connected part is one, as some maps give several objects one id',
    )
    parser.add_argument('--min-area', type=int, default=10, help='leave out smaller parts, in pixels (default 10)')
    return parser


def note_counts(splits: Mapping[str, list[Sample]], official: Mapping[str, int]) -> None:
    """Say where the number of images is not that of the official split."""
    for split, expected in official.items():
        found = len(splits.get(split, []))
        if found != expected:
            print(f'note: {split} has {found} images, officially {expected}')


def write_splits(splits: Mapping[str, list[Sample]], category: str, args: argparse.Namespace) -> None:
    """Write ``<split>.json`` for each split that has images, decode it back, and print what is in it.

    Args:
        splits: Images of each split. Splits may share images; what was left out of one is listed once.
        category: Name of the one category.
        args: Of :func:`conversion_arguments`.

    Raises:
        ConversionError: see :func:`~.coco.build_coco` and :func:`~.coco.check_coco`.
    """
    listed = set()
    for split, samples in splits.items():
        if not samples:
            continue
        coco, fragments = build_coco(samples, category, not args.keep_disconnected, args.min_area)
        path = (args.out or args.data / 'annotations') / f'{split}.json'
        write_coco(coco, path)
        check = check_coco(path, samples, fragments)
        print(
            f'{path}: {check.images} images ({check.empty_images} without objects), {check.objects} objects, IoU with '
            f'the source mask min {check.min_iou:.4f} mean {check.mean_iou:.4f}, {len(fragments)} fragments left out'
        )
        for fragment in fragments:
            if fragment.label not in listed:
                print(f'  left out: {fragment.label} id {fragment.instance_id}, {fragment.area} px')
        listed |= {sample.label for sample in samples}


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a greyscale or BGR image, of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise ConversionError(f'{path} could not be written; is the disk full?')


def claim(out: Path, recipe: dict) -> Path | None:
    """The folder to write to, ``<out>.partial`` with the recipe in it; None where the set is whole already.

    Whoever has written all renames it to ``out``. One that was begun by the same recipe is given again as it is.

    Args:
        out: Folder of the converted set, absent or empty, or made by the same recipe.
        recipe: All that the result depends on, as JSON has it.

    Raises:
        ConversionError: ``out`` holds something else.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if _content(out / RECIPE) == recipe:
            return None
        what = 'holds what other data or options gave' if (out / RECIPE).is_file() else 'holds other files'
        raise ConversionError(f'{out} {what if out.is_dir() else "is a file"}; choose a new or empty folder')
    partial = out.with_name(f'{out.name}.partial')
    if partial.exists() and _content(partial / RECIPE) != recipe:
        if not partial.is_dir() or (any(partial.iterdir()) and not (partial / RECIPE).is_file()):
            raise ConversionError(f'{partial} is in the way and not of this converter; remove it')
        print(f'note: {partial} was begun with other data or options, and is begun anew')
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    (partial / RECIPE).write_text(json.dumps(recipe, indent=1))
    return partial


def convert_each(partial: Path, names: Sequence[str], convert: Callable[[str], dict]) -> list[dict]:
    """Convert one source after another, and skip those that a stopped run finished.

    Args:
        partial: Folder of :func:`claim`; the journal of what is finished lies in it until all is.
        names: Names of the sources, each once.
        convert: From a name to a row about what was written, as JSON has it.

    Returns:
        Rows of all sources, in their order.
    """
    journal = partial / JOURNAL
    lines = journal.read_text().split('\n')[:-1] if journal.is_file() else []
    journal.write_text(''.join(f'{line}\n' for line in lines))  # without a line that was not finished
    rows = dict(map(json.loads, lines))
    for number, name in enumerate(names, 1):
        if name in rows:
            continue
        rows[name] = convert(name)
        with open(journal, 'a') as file:
            file.write(json.dumps([name, rows[name]]) + '\n')
        print(f'{number}/{len(names)} {name}', flush=True)
    journal.unlink()
    return [rows[name] for name in names]


def _content(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def run_conversion(name: str, convert: Callable[[], None]) -> int:
    """Status of a converter: 0, or 1 after one sentence about data that it cannot convert, read or write."""
    try:
        convert()
    except ConversionError as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        what = f'{error.filename or "a file"} cannot be read or written ({error.strerror or error})'
        print(f'{name}: {what}; correct the path, its permissions, or --out', file=sys.stderr)
        return 1
    return 0
