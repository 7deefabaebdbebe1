"""What the converters of nuclei share: pairs of files, and one layout for the images, the instances and the splits."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from .coco import Sample
from .conversion import claim, write_png
from .label_maps import ConversionError, read_label_map
from .patients import participants_of, some
from .transforms.loading import UnreadableImageError, read_image

Reader = Callable[[Path, tuple[int, int]], tuple[np.ndarray, Mapping[str, int]]]
"""From the file of a label and the (height, width) of its image to the map of instances, and counts to be reported."""

IMAGES, INSTANCES = 'images', 'instances'
_LARGEST_ID = np.iinfo(np.uint16).max


class Converted(NamedTuple):
    """One image as it was written."""

    name: str
    width: int
    height: int
    nuclei: int
    foreground: int
    """Pixels of nuclei."""
    counts: Mapping[str, int]
    """Of the reader, and ``alpha`` and ``transparent``: whether there was such a channel, and any pixel not opaque."""


def list_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of these kinds by name without suffix, sorted; others are said to be left out, but for hidden ones.

    Raises:
        ConversionError: no such folder, or two files that differ in their suffix only.
    """
    if not folder.is_dir():
        raise ConversionError(f'{folder} is not a folder; check the path, or add it')
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    wanted = [path for path in files if path.suffix.lower() in suffixes]
    if len(wanted) < len(files):
        other = next(path.name for path in files if path not in wanted)
        print(f'note: {folder} holds {len(files) - len(wanted)} files other than {"/".join(suffixes)}, such as {other}')
    by_stem = {path.stem: path for path in wanted}
    if len(by_stem) < len(wanted):
        doubled = next(path for path in wanted if by_stem[path.stem] != path)
        raise ConversionError(f'{doubled} and {by_stem[doubled.stem]} are the same image twice; keep one of them')
    return by_stem


def pair_up(images: Mapping[str, Path], labels: Mapping[str, Path], folder: Path) -> list[Sample]:
    """Images with the labels of the same names.

    Args:
        images: By name.
        labels: By name.
        folder: Where the labels were looked for.

    Raises:
        ConversionError: an image without label, or a label without image.
    """
    for here, there, kind, other in ((images, labels, 'images', 'label'), (labels, images, 'labels', 'image')):
        lonely = [path for name, path in here.items() if name not in there]
        if lonely:
            where = f' in {folder}' if here is images else ''
            raise ConversionError(
                f'{len(lonely)} {kind} such as {lonely[0]} have no {other} of the same name{where}; add what is '
                'missing, or remove these'
            )
    return [Sample(path, labels[name], f'{IMAGES}/{name}.png') for name, path in images.items()]


def read_rgb(path: Path) -> tuple[np.ndarray, dict[str, int]]:
    """Image (H, W, 3) uint8, and whether it had an alpha channel and whether that was anywhere not opaque.

    Alpha is dropped: what lies below is the tissue, whatever a viewer would show.

    Raises:
        ConversionError: an unreadable file.
    """
    try:
        with Image.open(path) as image:
            if image.mode == 'RGBA':
                pixels = np.asarray(image)
                return np.ascontiguousarray(pixels[..., :3]), dict(
                    alpha=1, transparent=int((pixels[..., 3] < 255).any())
                )
        return read_image(str(path)), {}
    except (UnreadableImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConversionError(f'image {path} cannot be read ({error}); is it complete?') from error


def write_nuclei(dataset: str, splits: Mapping[str, list[Sample]], read_labels: Reader, out: Path) -> None:
    """Write a data set of nuclei into ``out``, whole or not at all, and say what is in it.

    ``images/<name>.png`` (RGB), ``instances/<name>.png`` (16 bits: 0 outside of nuclei, a number for each nucleus; a
    binary mask is where it is above 0), ``<split>.txt`` (paths of the images, a line each), ``summary.csv`` (a row an
    image), ``participants.txt`` (those of TCGA, where names have barcodes) and ``conversion.json``. What was written is
    read back and compared.

    Args:
        dataset: Name of the converter.
        splits: Images of each split; one may be in several, and empty ones get no list.
        read_labels: Reader of the labels.
        out: New or empty folder, or one that this function made from the same files.

    Raises:
        ConversionError: two images of one name, a file that cannot be converted, or another content of ``out``.
    """
    splits = {split: samples for split, samples in splits.items() if samples}
    samples = _unique(sample for found in splits.values() for sample in found)
    recipe = dict(
        version=1,
        dataset=dataset,
        splits={split: [sample.file_name for sample in found] for split, found in splits.items()},
        bytes={name: [s.image.stat().st_size, s.label.stat().st_size] for name, s in samples.items()},
    )
    partial = claim(out, recipe)
    if partial is None:
        print(f'{out} holds these images already')
        return
    rows = {name: _convert(sample, read_labels, partial) for name, sample in samples.items()}
    for split, found in splits.items():
        (partial / f'{split}.txt').write_text(''.join(f'{sample.file_name}\n' for sample in found))
        _report(split, [rows[sample.file_name] for sample in found])
    _write_summary(partial / 'summary.csv', rows.values(), splits)
    _write_participants(partial / 'participants.txt', splits)
    partial.replace(out)
    print(f'{out}: read back and found equal')


def _unique(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples by the name that they get.

    Raises:
        ConversionError: two images would get one.
    """
    found: dict[str, Sample] = {}
    for sample in samples:
        other = found.setdefault(sample.file_name, sample)
        if other.image != sample.image:
            raise ConversionError(f'{other.image} and {sample.image} have the same name; keep one, or rename it')
    return found


def _convert(sample: Sample, read_labels: Reader, out: Path) -> Converted:
    """Write image and map of a sample, and compare what was written."""
    image, alpha = read_rgb(sample.image)
    height, width = image.shape[:2]
    labels, counts = read_labels(sample.label, (height, width))
    if labels.shape != (height, width):
        raise ConversionError(
            f'{sample.label} is {labels.shape[1]}x{labels.shape[0]}, its image {sample.image} is {width}x{height}; '
            'they must be the same size'
        )
    if labels.max() > _LARGEST_ID:
        raise ConversionError(f'{sample.label} holds the id {labels.max()}, expected at most {_LARGEST_ID}')
    name = Path(sample.file_name).name
    write_png(out / IMAGES / name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_png(out / INSTANCES / name, labels.astype(np.uint16))
    if (read_image(str(out / IMAGES / name)) != image).any():
        raise ConversionError(f'{out / IMAGES / name} differs from {sample.image} when read back; is the disk sound?')
    if (read_label_map(out / INSTANCES / name) != labels).any():
        raise ConversionError(f'{out / INSTANCES / name} differs from {sample.label} when read back')
    nuclei = len(np.unique(labels[labels > 0]))
    return Converted(Path(name).stem, width, height, nuclei, int((labels > 0).sum()), {**counts, **alpha})


def _report(split: str, rows: list[Converted]) -> None:
    """Say what is in a split, and every count of the reader that is not 0."""
    pixels = sum(row.width * row.height for row in rows)
    print(
        f'{split}: {len(rows)} images ({sum(row.nuclei == 0 for row in rows)} without nuclei), '
        f'{sum(row.nuclei for row in rows)} nuclei on {sum(row.foreground for row in rows) / pixels:.1%} of the pixels'
    )
    totals = sum((Counter(row.counts) for row in rows), Counter())
    if totals:
        print('  ' + ', '.join(f'{name} {count}' for name, count in totals.items()))


def _write_summary(path: Path, rows: Iterable[Converted], splits: Mapping[str, list[Sample]]) -> None:
    """A row an image: the splits that it is in, size, nuclei, pixels of nuclei, and all counts."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.counts))
    with open(path, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['name', 'splits', 'width', 'height', 'nuclei', 'foreground', *names])
        for row in rows:
            inside = [s for s, found in splits.items() if f'{IMAGES}/{row.name}.png' in {f.file_name for f in found}]
            counts = [row.counts.get(name, 0) for name in names]
            table.writerow([row.name, ' '.join(inside), *row[1:5], *counts])


def _write_participants(path: Path, splits: Mapping[str, list[Sample]]) -> None:
    """Participants of TCGA, for pre-training to leave out; says how many are on both sides of the split."""
    try:
        found = {split: participants_of([sample.file_name for sample in own])[0] for split, own in splits.items()}
    except ValueError as error:
        raise ConversionError(str(error)) from error
    shared = found.get('train', set()) & found.get('test', set())
    if shared:
        print(f'note: {len(shared)} participants are in train and in test: {some(shared)}')
    if any(found.values()):
        path.write_text(''.join(f'{name}\n' for name in sorted(set().union(*found.values()))))
