"""Breast cancer cells of the UCSB Bio-Segmentation Benchmark (Gelasca et al. 2009): names and images."""

import re
from pathlib import Path
from typing import NamedTuple

from .label_maps import ConversionError
from .patch_sources import extension, walk_files
from .transforms.loading import EXTENSIONS

CLASSES = ('benign', 'malignant')
PUBLISHED = {'benign': 32, 'malignant': 26}
MASKS = 'masks'
"""Folder of outlines, in any case; its images are no photographs."""

_NAME = re.compile(r'(ytma\d+_\d+)_(benign|malignant)(\d+)_ccd')


class UcsbName(NamedTuple):
    """What ``ytma10_010704_benign1_ccd.tif`` says."""

    label: str
    """One of :data:`CLASSES`."""
    array: str
    """Tissue microarray and its date, ``ytma10_010704``; patients are not published."""
    number: int
    """Number of the image among those of this array and class."""


def parse_ucsb_name(name: str) -> UcsbName:
    """What a file name says, with or without its suffix.

    Raises:
        ConversionError: a name of another form.
    """
    match = _NAME.fullmatch(Path(name).stem if extension(name) in EXTENSIONS else name)
    if match is None:
        raise ConversionError(
            f'{name} is no name of the cells of UCSB, expected ytma<array>_<date>_<benign|malignant><number>_ccd.tif '
            'such as ytma10_010704_benign1_ccd.tif; rename or remove it'
        )
    array, label, number = match.groups()
    return UcsbName(label, array, int(number))


def find_ucsb(data: Path) -> dict[str, UcsbName]:
    """Images below a folder: path relative to it, sorted, to what the name says. A folder of masks is left out.

    Raises:
        ConversionError: no folder, no images, a name that says nothing, an image twice, or a class without images.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder BreastCancerCell_dataset')
    found, places = {}, {}
    for path in sorted(walk_files(str(data))):
        *folders, file = path.split('/')
        if extension(path) not in EXTENSIONS or {'__macosx', MASKS} & {folder.lower() for folder in folders}:
            continue
        found[path] = parse_ucsb_name(file)
        other = places.setdefault(found[path], path)
        if other != path:
            raise ConversionError(f'{data / other} and {data / path} have the same name; keep one of them')
    empty = [label for label in CLASSES if label not in {name.label for name in found.values()}]
    if empty:
        raise ConversionError(
            f'{data} holds no {empty[0]} images; give the folder BreastCancerCell_dataset, and complete it'
        )
    return found
