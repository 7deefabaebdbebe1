"""Pictures of one sample at several magnifications, found by their names."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from mmengine.logging import print_log

from histomm.datasets.breakhis import parse_name
from histomm.datasets.patch_dataset import PatchDataset
from histomm.registry import DATASETS

_NUMBER = re.compile(r'(\d+(?:\.\d+)?)[xX]?')
PATIENTS = ('folder', 'name', 'case')
"""What counts as one patient of BreakHis, see :class:`MagnificationSetDataset`."""


class SetMember(NamedTuple):
    """What the path of a picture says."""

    set_name: str
    """Set that the picture belongs to."""
    patient: str
    """Patient, or the set where paths do not tell."""
    magnification: float
    """Such as 40; a whole number is an int."""


class SetError(ValueError):
    """Pictures that make no sets: a name that says nothing, two pictures for one place, or no complete set."""


def breakhis_member(path: str, patients: str = 'name') -> SetMember:
    """Set of a picture of BreakHis: the folder of the patient and the number of the picture.

    The folder is reckoned from the name, ``SOB_M_DC_14-13412`` of ``SOB_M_DC-14-13412-40-001.png``. Subtype, year and
    letters are part of it, so the two folders of patient 14-13412 stay two, and no year is taken for granted.

    Args:
        path: Path or name of the picture.
        patients: One of :data:`PATIENTS`.

    Raises:
        ConversionError: the name is none of BreakHis.
    """
    found = parse_name(os.path.basename(path))
    patient = {'folder': found.folder, 'name': found.patient, 'case': found.case}[patients]
    return SetMember(f'{found.folder}/{found.sequence:03d}', patient, found.magnification)


def folder_member(path: str) -> SetMember:
    """Set of a picture ``SET/MAGNIFICATION.png``: the folder; ``40.png``, ``40X.png`` and ``2.5x.tif`` are names.

    Raises:
        SetError: the name is no magnification, or the picture lies in no folder.
    """
    folder, name = os.path.split(path)
    match = _NUMBER.fullmatch(os.path.splitext(name)[0])
    if match is None or not folder:
        raise SetError(
            f'MagnificationSetDataset: {path} is no SET/MAGNIFICATION, expected a name such as place1/40.png or '
            "place1/40X.png; rename it, or set layout='breakhis'"
        )
    return SetMember(folder, folder, _whole(float(match[1])))


def group_pictures(
    paths: Iterable[str], magnifications: Sequence[float], member: Callable[[str], SetMember]
) -> tuple[dict[str, dict], dict[str, list]]:
    """Sort pictures into sets.

    Args:
        paths: Pictures, in any order.
        magnifications: What a complete set has; pictures at other magnifications are left out.
        member: What a path says.

    Returns:
        Complete sets in order of their names, as dicts of ``img_path`` (the name), ``patient`` and ``img_paths``
        (magnification to path, in growing order); and names of the others to the magnifications that they lack.

    Raises:
        SetError: two pictures of one set have the same magnification.
    """
    sets: dict[str, dict] = {}
    for path in paths:
        name, patient, magnification = member(path)
        found = sets.setdefault(name, dict(img_path=name, patient=patient, img_paths={}))
        other = found['img_paths'].setdefault(magnification, path)
        if other != path:
            raise SetError(
                f'MagnificationSetDataset: {other} and {path} are both the {magnification}X of {name}; keep one of them'
            )
    complete, incomplete = {}, {}
    for name in sorted(sets):
        pictures = sets[name]['img_paths']
        lacking = [number for number in magnifications if number not in pictures]
        if lacking:
            incomplete[name] = lacking
        else:
            complete[name] = dict(sets[name], img_paths={number: pictures[number] for number in magnifications})
    return complete, incomplete


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


@DATASETS.register_module()
class MagnificationSetDataset(PatchDataset):
    """Sets of pictures of the same sample at several magnifications, for contrast across them (Chhipa et al. 2023).

    Each sample is a set: ``img_path`` (its name), ``img_paths`` (magnification to file, in growing order), ``patient``
    and ``sample_idx``. :class:`~histomm.datasets.transforms.MagnificationPairSampler` draws two of the pictures.

    In BreakHis a set is a patient's folder and the number of the picture, as the authors of the method have it. That
    pictures of one number show the same place is likely, but the data set does not say so, and the counts of the
    magnifications differ (1995, 2081, 2013 and 1820); the log warns of it.

    Args:
        data_root: As in :class:`PatchDataset`.
        magnifications: Two or more; a set lacking one of them is incomplete, and pictures at others are left out.
        layout: 'breakhis' for ``…/SOB_M_DC-14-2523-40-001.png``, or 'folders' for ``SET/MAGNIFICATION.png``.
        patients: What ``patient`` is in BreakHis: 'folder'; 'name' for year, number and letters of the slide, so that
            the two folders of 14-13412 are one patient; or 'case' for year and number, so that 14-21998AB and
            14-21998CD are one as well. Sets are the same in each: no picture takes the place of another.
        incomplete: 'skip' leaves incomplete sets out and names all of them in a warning, 'raise' refuses.
        **kwargs: Of :class:`PatchDataset`, such as ``list_file`` for the pictures of a fold, or ``unreadable``; but
            nothing about labels.

    Raises:
        SetError: names that say nothing, two pictures for one place in a set, incomplete sets that are refused, or no
            complete set.
        ConversionError: a name in the layout of BreakHis that is none.
        ValueError: a bad argument, or what :class:`PatchDataset` raises.
    """

    def __init__(
        self,
        data_root: str | Sequence[str] = '',
        magnifications: Sequence[float] = (40, 100, 200, 400),
        layout: str = 'breakhis',
        patients: str = 'name',
        incomplete: str = 'skip',
        **kwargs: Any,
    ) -> None:
        self.magnifications = tuple(sorted(_whole(number) for number in magnifications))
        if len(set(self.magnifications)) != len(magnifications) or len(magnifications) < 2:
            raise ValueError(
                f'MagnificationSetDataset: magnifications are {tuple(magnifications)}, expected two or more numbers, '
                'none twice'
            )
        for name, value, known in (
            ('layout', layout, ('breakhis', 'folders')),
            ('patients', patients, PATIENTS),
            ('incomplete', incomplete, ('skip', 'raise')),
        ):
            if value not in known:
                raise ValueError(f'MagnificationSetDataset: {name} is {value!r}, expected one of {known}')
        labels = [name for name in ('with_labels', 'label_column', 'classes') if name in kwargs]
        if labels:
            raise ValueError(f'MagnificationSetDataset: sets have no labels; remove {", ".join(labels)}')
        self.layout, self.patients, self.incomplete = layout, patients, incomplete
        self.incomplete_sets: dict[str, list] = {}
        """Names of the sets that were left out, to the magnifications that they lack."""
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find all sets; called once by ``full_init``."""
        items = self._chosen(self._without_patients(self._listed() if self.list_file else self._scanned()))
        member = partial(breakhis_member, patients=self.patients) if self.layout == 'breakhis' else folder_member
        paths = [path for path, _ in items]
        complete, self.incomplete_sets = group_pictures(paths, self.magnifications, member)
        self._report(len(complete))
        left_out = len(paths) - len(self.magnifications) * len(complete)
        patients = len({found['patient'] for found in complete.values()})
        message = (
            f'{self._name}: {len(complete)} sets of {patients} patients at {self._wanted}; {left_out} of {len(paths)} '
            'images are in none of them'
        )
        if self.layout == 'breakhis':
            message += '; a set is patient and number, BreakHis does not say that its pictures show the same place'
        print_log(message, 'current', logging.WARNING if self.layout == 'breakhis' else logging.INFO)
        return list(complete.values())

    @property
    def _wanted(self) -> str:
        return ', '.join(f'{number}X' for number in self.magnifications)

    def _report(self, complete: int) -> None:
        """Name incomplete sets; refuse them, or that there are no others."""
        if not self.incomplete_sets:
            return
        names = '; '.join(
            f'{name} lacks {", ".join(f"{number}X" for number in lacking)}'
            for name, lacking in self.incomplete_sets.items()
        )
        total = complete + len(self.incomplete_sets)
        message = f'{self._name}: {len(self.incomplete_sets)} of {total} sets are incomplete, expected {self._wanted}'
        if not complete:
            first = names.partition('; ')[0]
            raise SetError(f'{message}, such as {first}; correct layout or magnifications')
        if self.incomplete == 'raise':
            raise SetError(f"{message}: {names}; complete or remove them, or set incomplete='skip'")
        print_log(f'{message}, and were left out: {names}', 'current', logging.WARNING)
