"""Participants of TCGA, so that no one serves both to pre-train and to test.

A TCGA barcode begins with the participant: ``TCGA-A1-A0SK-01Z-00-DX1`` is a slide of ``TCGA-A1-A0SK``. Slides, patches
and annotations carry it in the name of the file or of a folder.
"""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.logging import print_log

from histomm.datasets.patch_sources import walk_files

_BARCODE = re.compile(r'(?<![A-Z0-9])TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])', re.IGNORECASE)
_SHOWN = 5  # names in a message


class PatientOverlapError(ValueError):
    """Participants on both sides of a split."""


def tcga_participant(name: str) -> str | None:
    """Participant of a file, folder, slide or barcode: ``TCGA-XX-XXXX`` in capitals, ``None`` without a barcode.

    Args:
        name: Barcode or path; the barcode may stand anywhere in it.

    Raises:
        ValueError: the name has the barcodes of several participants.
    """
    found = {code.upper() for code in _BARCODE.findall(os.fspath(name))}
    if len(found) > 1:
        raise ValueError(
            f'{name} has the barcodes of {len(found)} participants, {some(found)}, expected one; rename it'
        )
    return found.pop() if found else None


def participants_of(paths: Iterable[str]) -> tuple[set[str], list[str]]:
    """All participants among the names, and the names without a barcode in their order."""
    found, unnamed = set(), []
    for path in paths:
        participant = tcga_participant(path)
        if participant:
            found.add(participant)
        else:
            unnamed.append(os.fspath(path))
    return found, unnamed


def check_disjoint(
    pretrain: Iterable[str], test: Iterable[str], labels: tuple[str, str] = ('pre-training', 'test')
) -> None:
    """Assert that no participant is in both collections of paths, slides or barcodes.

    Names without a barcode cannot be checked: they are counted and shown in a warning.

    Args:
        pretrain: Names of one side.
        test: Names of the other.
        labels: What messages call the two sides.

    Raises:
        PatientOverlapError: participants are on both sides.
        ValueError: no name of a side has a barcode, so that nothing can be checked.
    """
    sides = [_checked_participants(list(paths), label) for paths, label in zip((pretrain, test), labels, strict=True)]
    shared = sides[0] & sides[1]
    if shared:
        raise PatientOverlapError(
            f'{len(shared)} of the {len(sides[1])} participants of the {labels[1]} data are in the {labels[0]} data '
            f'too, {some(shared)}, expected none; leave them out of one of the two'
        )


def _checked_participants(names: list[str], label: str) -> set[str]:
    found, unnamed = participants_of(names)
    warn_unnamed(unnamed, len(names), f'{label} data')
    return found


def warn_unnamed(unnamed: Sequence[str], total: int, source: str) -> None:
    """Warn about names without a barcode.

    Args:
        unnamed: Names without a barcode.
        total: How many names there are with them.
        source: What to call the names in the message.

    Raises:
        ValueError: none of ``total`` names has a barcode.
    """
    if len(unnamed) == total:
        raise ValueError(
            f'{source}: none of {total} names has a TCGA barcode (TCGA-XX-XXXX)'
            f'{", such as " + unnamed[0] if unnamed else ""}, so participants cannot be compared; name files or '
            'folders by barcode'
        )
    if unnamed:
        print_log(
            f'{source}: {len(unnamed)} of {total} names have no TCGA barcode and were not compared: {some(unnamed)}',
            'current',
            level=logging.WARNING,
        )


def read_names(source: str | Path) -> list[str]:
    """Names of a folder or list: paths of all files below the folder, or the lines of a text file that are not blank.

    Raises:
        FileNotFoundError: neither a folder nor a file.
        ValueError: no names, or a file that is no text in UTF-8.
    """
    path = Path(source)
    if path.is_dir():
        names = [os.path.join(path, name) for name in sorted(walk_files(str(path)))]
    elif path.is_file():
        try:
            names = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f'{source} is no text, expected a folder, or a list of barcodes or paths') from error
    else:
        raise FileNotFoundError(f'{source} is neither a folder nor a list of files or participants; correct the path')
    if not names:
        raise ValueError(f'{source} holds no names, expected files or lines with TCGA barcodes; correct the path')
    return names


def read_participants(list_file: str | Path) -> set[str]:
    """Participants of a list, one barcode or path a line, such as the ``participants.txt`` of a converter.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the list is empty or a line has no barcode.
    """
    if not os.path.isfile(list_file):
        raise FileNotFoundError(f'list of participants {list_file} does not exist; correct the path or write the list')
    found, unnamed = participants_of(read_names(list_file))
    if unnamed:
        raise ValueError(f'{list_file} has the line {unnamed[0]!r}, expected a TCGA barcode (TCGA-XX-XXXX); correct it')
    return found


def some(names: Iterable[str]) -> str:
    """The first few names in order, and whether there are more."""
    names = sorted(names)
    return ', '.join(names[:_SHOWN]) + (', …' if len(names) > _SHOWN else '')
