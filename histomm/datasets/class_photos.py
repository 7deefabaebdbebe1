"""Images of one class each, in folders of the classes, and what the names of some data sets say."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .label_maps import ConversionError
from .patch_sources import extension, walk_files
from .transforms.loading import EXTENSIONS


class PhotoSet(NamedTuple):
    """What a data set of class folders has.

    Attributes:
        title: Name for messages.
        counts: Classes, the names of their folders, and how many images of each are published.
        name: Regular expression that the names of images without suffix match, where they say something; its first
            group, if any, is the patient or slide.
        prefixes: What names of images of each class begin with, where the data set says so.
    """

    title: str
    counts: Mapping[str, int]
    name: re.Pattern | None = None
    prefixes: Mapping[str, str] | None = None


NCT = PhotoSet(
    'NCT-CRC-HE-100K',
    dict(ADI=10407, BACK=10566, DEB=11512, LYM=11557, MUC=8896, MUS=13536, NORM=8763, STR=10446, TUM=14317),
)
NCT_TEST_IMAGES = 7180
BACH = PhotoSet(
    'BACH',
    dict(Benign=100, InSitu=100, Invasive=100, Normal=100),
    re.compile(r'[a-z]+\d{3}'),
    dict(Benign='b', InSitu='is', Invasive='iv', Normal='n'),
)
LYMPHOMA = PhotoSet('Lymphoma', dict(CLL=113, FL=139, MCL=122), re.compile(r'(.+?)[_ ]\d+'))
"""The name of an image is that of its case and a number."""


class Photo(NamedTuple):
    """One image."""

    path: str
    """Relative to the data root."""
    label: str
    group: str
    """Patient or slide, where the name says so, else empty."""


def find_photos(data: Path, photo_set: PhotoSet, below: str = '', with_groups: bool = False) -> list[Photo]:
    """Images in the class folders, sorted by path; says where their number is not the published one.

    Args:
        data: Data root, to which paths are relative.
        photo_set: What there should be.
        below: Folder in the data root that holds the class folders; the root itself if empty.
        with_groups: Read the patient or slide from the names.

    Raises:
        ConversionError: no such folder, a class without images, images in other folders, a name of another form, or one
            that begins as those of another class.
    """
    root = data / below
    if not root.is_dir():
        raise ConversionError(f'{root} is not a folder; give the folder of {photo_set.title}')
    paths = [path for path in sorted(walk_files(str(root))) if extension(path) in EXTENSIONS and '__MACOSX' not in path]
    photos = []
    for path in paths:
        label, slash, file = path.rpartition('/')
        label = label.rpartition('/')[2] if slash else ''
        if label not in photo_set.counts:
            raise ConversionError(
                f'{root / path} lies in the folder {label or root.name}, expected one of '
                f'{", ".join(photo_set.counts)}; move or remove it'
            )
        named = with_groups or photo_set.prefixes
        group = _group(root / path, label, Path(file).stem, photo_set) if named else ''
        photos.append(Photo(f'{below}/{path}' if below else path, label, group))
    counts = {label: sum(photo.label == label for photo in photos) for label in photo_set.counts}
    empty = [label for label, count in counts.items() if not count]
    if empty:
        raise ConversionError(
            f'{root} holds no images in a folder {empty[0]}; add what is missing of {photo_set.title}'
        )
    return photos


def note_classes(photos: Sequence[Photo], photo_set: PhotoSet) -> None:
    """Say which classes have another number of images than the published ones."""
    for label, published in photo_set.counts.items():
        found = sum(photo.label == label for photo in photos)
        if found != published:
            print(f'note: {found} images of {label}, the published set has {published}')


def _group(path: Path, label: str, stem: str, photo_set: PhotoSet) -> str:
    match = photo_set.name.fullmatch(stem)
    prefixes = photo_set.prefixes or {}
    letters = re.match(r'[a-z]*', stem)[0]
    if match is None or letters != prefixes.get(label, letters):
        expected = f'{prefixes[label]} and three digits' if prefixes else 'the case, _ and a number'
        raise ConversionError(
            f'{path} is in the folder {label} of {photo_set.title}, expected a name of {expected}; rename or move it'
        )
    return match[1] if photo_set.name.groups else ''


def check_label_table(table: Path, photos: Sequence[Photo]) -> None:
    """Compare a table of file names and classes, without a header, with the images.

    Raises:
        ConversionError: a row without image, an image without row, another class, or a row of other than two columns.
    """
    with open(table, newline='', encoding='utf-8-sig') as file:
        rows = [row for row in csv.reader(file) if row]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong:
        raise ConversionError(f'{table} has the row {",".join(wrong)}, expected a file name and a class')
    stated = {name.strip(): label.strip() for name, label in rows}
    found = {Path(photo.path).name: photo.label for photo in photos}
    for here, there, what in ((stated, found, 'no image is there'), (found, stated, 'it has no row')):
        lonely = sorted(here.keys() - there.keys())
        if lonely:
            raise ConversionError(f'{table}: {lonely[0]}: {what} ({len(lonely)} such); complete the data')
    other = next((name for name, label in found.items() if label.lower() != stated[name].lower()), None)
    if other:
        raise ConversionError(
            f'{table} says that {other} is {stated[other]}, but it lies in the folder {found[other]}; get it again'
        )
