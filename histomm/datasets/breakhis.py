"""BreakHis (Spanhol et al. 2016): what the names of its images say, and finding them."""

import re
from pathlib import Path
from typing import NamedTuple

from .label_maps import ConversionError
from .patch_sources import walk_files

CLASSES = ('benign', 'malignant')
SUBTYPES = {
    'A': 'adenosis',
    'F': 'fibroadenoma',
    'PT': 'phyllodes_tumor',
    'TA': 'tubular_adenoma',
    'DC': 'ductal_carcinoma',
    'LC': 'lobular_carcinoma',
    'MC': 'mucinous_carcinoma',
    'PC': 'papillary_carcinoma',
}
"""Folders of the subtypes by the letters in names; the first four are benign."""
MAGNIFICATIONS = (40, 100, 200, 400)

_NAME = re.compile(r'SOB_(B|M)_([A-Z]+)-(\d\d)-(\d+)([A-Z]*)-(\d+)-(\d+)')
_BENIGN = tuple(SUBTYPES)[:4]


class BreakHisName(NamedTuple):
    """What ``SOB_B_TA-14-16184CD-40-001.png`` says.

    Two folders, of ductal and of lobular carcinoma, are of one patient, 14-13412; so the patient is told by the name of
    the image and not by the folder.
    """

    label: str
    """One of :data:`CLASSES`."""
    subtype: str
    """Key of :data:`SUBTYPES`."""
    case: str
    """Year and number of the slide, ``14-16184``."""
    part: str
    """Letters after the number, ``CD``; empty for most."""
    magnification: int
    """One of :data:`MAGNIFICATIONS`."""
    sequence: int
    """Number of the image among those of this patient and magnification, from 1."""

    @property
    def patient(self) -> str:
        """Year, number and letters of the slide. Slides of one number with other letters count as other patients."""
        return self.case + self.part

    @property
    def folder(self) -> str:
        """Folder of the patient and subtype, ``SOB_B_TA_14-16184CD``."""
        return f'SOB_{"B" if self.label == "benign" else "M"}_{self.subtype}_{self.patient}'


def parse_name(name: str) -> BreakHisName:
    """What a file name says, with or without its suffix.

    Raises:
        ConversionError: a name of another form, a subtype unknown or of the other class, or another magnification.
    """
    stem = name.removesuffix('.png')
    match = _NAME.fullmatch(stem)
    if match is None:
        raise ConversionError(
            f'{name} is no name of BreakHis, expected SOB_<B|M>_<subtype>-<year>-<slide>-<magnification>-<number>.png '
            'such as SOB_B_TA-14-16184CD-40-001.png; rename or remove it'
        )
    kind, subtype, year, slide, part, magnification, sequence = match.groups()
    known = _BENIGN if kind == 'B' else tuple(SUBTYPES)[4:]
    if subtype not in known:
        raise ConversionError(
            f'{name} has the subtype {subtype} after SOB_{kind}, expected one of {", ".join(known)}; correct the name'
        )
    if int(magnification) not in MAGNIFICATIONS:
        raise ConversionError(
            f'{name} has the magnification {magnification}, expected one of {", ".join(map(str, MAGNIFICATIONS))}; '
            'correct the name'
        )
    label = CLASSES[kind == 'M']
    return BreakHisName(label, subtype, f'{year}-{slide}', part, int(magnification), int(sequence))


def parse_folder(name: str) -> BreakHisName:
    """What the name of a patient's folder says, ``SOB_B_TA_14-16184CD``; magnification and sequence say nothing.

    Raises:
        ConversionError: a name of another form, or a subtype unknown or of the other class.
    """
    kind, _, slide = name.rpartition('_')
    try:
        return parse_name(f'{kind}-{slide}-{MAGNIFICATIONS[0]}-0')
    except ConversionError as error:
        raise ConversionError(
            f'{name} is no folder of a patient of BreakHis, expected SOB_<B|M>_<subtype>_<year>-<slide> such as '
            'SOB_B_TA_14-16184CD, with a subtype of this class; correct it'
        ) from error


def find_breakhis(data: Path) -> dict[str, BreakHisName]:
    """Images below a folder: path relative to it, sorted, to what the name says.

    Raises:
        ConversionError: no folder, no png, a name that says nothing or not what its folders say, or an image twice.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder BreaKHis_v1')
    paths = sorted(path for path in walk_files(str(data)) if path.lower().endswith('.png') and '__MACOSX' not in path)
    if not paths:
        raise ConversionError(f'{data} holds no png; give the folder BreaKHis_v1')
    found, places = {}, {}
    for path in paths:
        *folders, file = path.split('/')
        name = found[path] = parse_name(file)
        for folder in folders:
            stated = {f'{number}X' for number in MAGNIFICATIONS} | set(CLASSES) | set(SUBTYPES.values())
            if folder in stated - {f'{name.magnification}X', name.label, SUBTYPES[name.subtype]}:
                raise ConversionError(
                    f'{data / path} lies below {folder}, but its name says {name.label}, {SUBTYPES[name.subtype]}, '
                    f'{name.magnification}X; move it, or correct its name'
                )
        other = places.setdefault(file, path)
        if other != path:
            raise ConversionError(f'{data / other} and {data / path} have the same name; keep one of them')
    return found
