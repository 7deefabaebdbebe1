"""Slides as bags of features."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmpretrain.structures import DataSample

from histomm.datasets.patients import PatientOverlapError, some
from histomm.datasets.slide_table import (
    PARTS,
    SlideRow,
    check_classes,
    check_patients,
    read_fold,
    read_slide_table,
)
from histomm.datasets.transforms.base import view_generator
from histomm.functional.survival import discretise, time_bins
from histomm.registry import DATASETS, TRANSFORMS
from histomm.wsi.feature_file import bag_shape, find_bag, read_bag

_CHOICES = {'target': ('label', 'survival'), 'unit': ('slide', 'patient'), 'missing': ('raise', 'skip'),
            'patient_overlap': ('raise', 'warn'), 'part': ('', *PARTS)}  # fmt: skip


@DATASETS.register_module()
class BagDataset(BaseDataset):
    """Bags of features with one label each: a slide, or all slides of a patient.

    A folder holds a feature file for each slide, ``SLIDE.h5`` (or ``.hdf5``, ``.zarr``, or ``SLIDE/features.h5``), with
    ``features`` (n, D) and where they exist ``coords``, as ``tools/extract_features.py`` writes them, CLAM, TRIDENT or
    STAMP; a table says whose the slides are, and what they show. Files are opened when a bag is asked for. A sample is
    ``inputs`` (n, D) float32 and ``data_samples`` with ``gt_label``, or ``gt_time``, ``gt_event`` and, with
    ``time_bins``, ``gt_interval``; with ``coords``, and as meta information ``img_path`` (the first file), ``slide``,
    ``patient`` and ``sample_idx``.

    Args:
        data_root: Folder to which the other paths refer; those that are not in it are taken as written.
        feature_folder: Folder of the feature files.
        table: CSV ``slide,patient,label``, or with ``time,event`` for survival, see
            :func:`~histomm.datasets.slide_table.read_slide_table`.
        split_file: CSV with the columns train, val and test. Without it all slides of the table are taken.
        part: 'train', 'val' or 'test' of ``split_file``; '' without it.
        classes: Names of the classes in the order of their numbers; by default those of the table, sorted.
        target: 'label' or 'survival'.
        time_bins: Number of intervals for discrete-time survival. Their borders are quantiles of the times of the
            events in the training part.
        unit: 'slide', or 'patient' for the instances of all slides of a patient in one bag.
        max_instances: More are left out at random; the draw of a sample depends on seed, epoch and sample, in
            ``test_mode`` on the sample alone. ``None`` takes all.
        in_memory: Read all bags at once, and keep them.
        missing: What to do about a slide of the part that has no file or is not in the table: 'raise', or 'skip' with
            a warning that counts them.
        patient_overlap: 'raise', or 'warn', where ``split_file`` has a patient in several parts.
        indices: As in mmengine's ``BaseDataset``.
        pipeline: Transforms of dicts with ``features`` (n, D) and ``coords`` (n, 2) or ``None``, as numpy has them.
        test_mode: As in mmengine's ``BaseDataset``.
        lazy_init: As in mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError: a missing table, fold or feature file.
        PatientOverlapError: a patient is in several parts of the fold.
        ValueError: a bad argument, table, fold or feature file: another width, no instance, numbers that are not
            finite (seen when the bag is read), or a class without slides in the part.
    """

    def __init__(
        self,
        data_root: str = '',
        feature_folder: str = 'features',
        table: str = 'slides.csv',
        split_file: str = '',
        part: str = '',
        classes: Sequence[str] | None = None,
        target: str = 'label',
        time_bins: int | None = None,
        unit: str = 'slide',
        max_instances: int | None = None,
        in_memory: bool = False,
        missing: str = 'raise',
        patient_overlap: str = 'raise',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        given = dict(target=target, unit=unit, missing=missing, patient_overlap=patient_overlap, part=part)
        for name, value in given.items():
            if value not in _CHOICES[name]:
                raise ValueError(f'BagDataset: {name} is {value!r}, expected one of {_CHOICES[name]}')
        if bool(split_file) != bool(part):
            raise ValueError(f'BagDataset: split_file is {split_file!r} and part {part!r}, expected both or neither')
        if max_instances is not None and max_instances < 1:
            raise ValueError(f'BagDataset: max_instances is {max_instances}, expected 1 or more, or None for all')
        if time_bins is not None and target != 'survival':
            raise ValueError("BagDataset: time_bins is for target='survival'; leave it out")
        self.root = os.fspath(data_root)
        self.feature_folder, self.table, self.split_file = feature_folder, table, split_file
        self.part, self.target, self.time_bins, self.unit = part, target, time_bins, unit
        self.max_instances, self.in_memory = max_instances, in_memory
        self.missing, self.patient_overlap = missing, patient_overlap
        self.channels = 0
        """D, the width of the features."""
        self._bags: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        super().__init__(
            metainfo=dict(classes=tuple(classes)) if classes is not None else None,
            indices=indices,
            serialize_data=False,  # for millions of samples; slides are few, and mmengine collects all garbage for it
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
        )
        self.data_root = data_root

    # ---- finding the bags

    def load_data_list(self) -> list[dict]:
        """Find all bags and open each file for its shape; called once by ``full_init``."""
        rows = {row.slide: row for row in read_slide_table(self._place(self.table), self.target == 'survival')}
        chosen, training = self._parts(rows)
        found = self._with_files(chosen, rows)
        if self.target == 'label':
            names = self._metainfo.setdefault('classes', tuple(sorted({row.label for row in rows.values()})))
            check_classes([rows[slide].label for slide in found], names, self._source)
            truth = {slide: dict(gt_label=names.index(rows[slide].label)) for slide in found}
        else:
            truth = self._times(found, rows, training)
        groups: dict[str, list[str]] = {}
        for slide in found:
            groups.setdefault(slide if self.unit == 'slide' else rows[slide].patient, []).append(slide)
        return [self._bag(slides, found, truth, rows) for slides in groups.values()]

    @property
    def _source(self) -> str:
        """What messages call the bags."""
        return f'the part {self.part!r} of {self.split_file}' if self.split_file else self.table

    def _place(self, path: str) -> Path:
        """A path below the root if it exists there, else as written."""
        below = Path(self.root, path)
        return below if below.exists() else Path(path)

    def _parts(self, rows: dict[str, SlideRow]) -> tuple[list[str], list[str]]:
        """Slides of the part, and those to train on, in the order of table or fold."""
        if not self.split_file:
            return list(rows), list(rows)
        path = self._place(self.split_file)
        fold = read_fold(path)
        try:
            check_patients(fold, {slide: row.patient for slide, row in rows.items()}, path)
        except PatientOverlapError as error:
            if self.patient_overlap == 'raise':
                raise
            print_log(f'BagDataset: {error}', 'current', logging.WARNING)
        known = [slide for slide in fold[self.part] if slide in rows]
        self._tell_missing([slide for slide in fold[self.part] if slide not in rows], f'in {self.table}')
        return known, [slide for slide in fold['train'] if slide in rows]

    def _with_files(self, slides: Iterable[str], rows: dict[str, SlideRow]) -> dict[str, Path]:
        """Feature file of each slide that has one, all of one width."""
        folder = self._place(self.feature_folder)
        if not folder.is_dir():
            raise FileNotFoundError(
                f'BagDataset: folder of features {folder} does not exist; extract them, or correct it'
            )
        paths = {slide: find_bag(folder, slide) for slide in slides}
        self._tell_missing([slide for slide, path in paths.items() if path is None], f'among the files of {folder}')
        found = {slide: path for slide, path in paths.items() if path is not None}
        first: Path | None = None
        for path in found.values():
            count, width = bag_shape(path)
            if not count:
                raise ValueError(f'BagDataset: {path} has no instance, expected one or more; leave the slide out')
            if first is None:
                first, self.channels = path, width
            if width != self.channels:
                raise ValueError(
                    f'BagDataset: {path} has features of {width} numbers, {first} of {self.channels}; expected one '
                    'width, extract all with one model'
                )
        return found

    def _tell_missing(self, slides: list[str], where: str) -> None:
        if not slides:
            return
        message = f'BagDataset: {len(slides)} slides of {self._source} are not {where}: {some(slides)}'
        if self.missing == 'raise':
            raise FileNotFoundError(f"{message}; add them, or set missing='skip' to leave them out")
        print_log(f'{message}; they are left out', 'current', logging.WARNING)

    def _times(self, slides: Iterable[str], rows: dict[str, SlideRow], training: list[str]) -> dict[str, dict]:
        truth = {slide: dict(gt_time=rows[slide].time, gt_event=rows[slide].event) for slide in slides}
        if self.time_bins is not None:
            # a patient counts once, however many slides there are
            known = {rows[slide].patient: rows[slide] for slide in training}.values()
            times = torch.tensor([row.time for row in known], dtype=torch.float64)
            borders = time_bins(times, torch.tensor([row.event for row in known]), self.time_bins)
            for values in truth.values():
                time = torch.tensor([values['gt_time']], dtype=torch.float64)
                values['gt_interval'] = int(discretise(time, borders))
        return truth

    @staticmethod
    def _bag(slides: list[str], files: dict[str, Path], truth: dict[str, dict], rows: dict[str, SlideRow]) -> dict:
        first, patient = slides[0], rows[slides[0]].patient
        other = next((slide for slide in slides if truth[slide] != truth[first]), None)
        if other is not None:
            raise ValueError(
                f'BagDataset: {first} and {other} of patient {patient} differ in what is to be learned, expected one '
                "truth for a patient; correct the table, or set unit='slide'"
            )
        paths = [str(files[slide]) for slide in slides]
        return dict(img_path=paths[0], paths=paths, slide=first, patient=patient, **truth[first])

    def files(self) -> tuple[list[Path], list[Path]]:
        """What the bags depend on: table and fold; and the feature files of its slides, those of all parts.

        They are looked for by name, and not opened; what does not exist is left out.
        """
        tables = [path for path in map(self._place, (self.table, self.split_file)) if path.is_file()]
        folder, slides = self._place(self.feature_folder), self._all_slides()
        bags = [path for slide in slides if (path := find_bag(folder, slide))]
        stored = [sorted(path.rglob('*')) if path.is_dir() else [path] for path in bags]  # zarr is a folder
        return tables, [path for paths in stored for path in paths if path.is_file()]

    def _all_slides(self) -> list[str]:
        if self.split_file:
            return [slide for slides in read_fold(self._place(self.split_file)).values() for slide in slides]
        return [row.slide for row in read_slide_table(self._place(self.table), self.target == 'survival')]

    # ---- reading them

    def full_init(self) -> None:
        """Find the bags, and read them if they are to be kept."""
        if self._fully_initialized:
            return
        super().full_init()
        if self.in_memory:
            self._bags = {path: read_bag(path) for i in range(len(self)) for path in self.get_data_info(i)['paths']}

    def get_cat_ids(self, idx: int) -> list[int]:
        """Class of a bag; of survival, whether there was an event."""
        info = self.get_data_info(idx)
        return [info['gt_label'] if self.target == 'label' else info['gt_event']]

    def why_unreadable(self, idx: int) -> str | None:
        """What is wrong with the files of a bag, in words; ``None`` if they can be read (for ``tools/doctor.py``)."""
        try:
            for path in self.get_data_info(idx)['paths']:
                read_bag(path)
        except (OSError, ValueError) as error:
            return f'is no bag ({error})'
        return None

    def prepare_data(self, idx: int) -> dict:
        """Read a bag, draw its instances, apply the pipeline and pack it."""
        info = self.get_data_info(idx)
        parts = [self._bags.get(path) or read_bag(path) for path in info['paths']]
        places = [coords for _, coords in parts]
        info['features'] = np.concatenate([features for features, _ in parts])
        info['coords'] = np.concatenate(places) if all(part is not None for part in places) else None
        return self._pack(self.pipeline(self._drawn(info)))

    def _drawn(self, info: dict) -> dict:
        count = len(info['features'])
        if self.max_instances is None or count <= self.max_instances:
            return info
        rng = np.random.default_rng(int(info['sample_idx'])) if self.test_mode else view_generator(info)
        rows = np.sort(rng.choice(count, self.max_instances, replace=False))
        coords = None if info['coords'] is None else info['coords'][rows]
        return info | dict(features=info['features'][rows], coords=coords)

    @staticmethod
    def _pack(info: dict) -> dict:
        meta = {name: info[name] for name in ('img_path', 'slide', 'patient', 'sample_idx')}
        sample = DataSample(metainfo=meta)
        if 'gt_label' in info:
            sample.set_gt_label(info['gt_label'])
        for name, kind in (('gt_time', torch.float64), ('gt_event', torch.int64), ('gt_interval', torch.int64)):
            if name in info:
                sample.set_field(torch.tensor([info[name]], dtype=kind), name)
        if info['coords'] is not None:
            sample.set_field(torch.from_numpy(np.ascontiguousarray(info['coords'])), 'coords')
        return dict(inputs=torch.from_numpy(np.ascontiguousarray(info['features'], np.float32)), data_samples=sample)
