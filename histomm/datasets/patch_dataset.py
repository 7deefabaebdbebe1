"""Patches in folders, lists and CSV files."""

import logging
import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from histomm.datasets.patch_sources import Item, folder_label, read_csv, read_list, scan_folder
from histomm.datasets.patients import PatientOverlapError, read_participants, some, tcga_participant, warn_unnamed
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms.base import view_generator
from histomm.datasets.transforms.loading import EXTENSIONS, UnreadableImageError
from histomm.registry import DATASETS, TRANSFORMS

_REPLACEMENTS = 2**20  # number of the first generator that draws a replacement; no sample has as many views


@DATASETS.register_module()
class PatchDataset(BaseDataset):
    """Patches for pre-training, and with labels for whoever needs them.

    Sources: all images below ``data_root`` (one folder or several), or those that ``list_file`` names. Each sample is
    ``img_path``, ``sample_idx`` and, only if ``with_labels``, ``gt_label``. Samples are sorted by path within a root;
    those of a list keep its order.

    Args:
        data_root: Folder or list of folders, read through all levels. With ``list_file``, the one folder to which its
            relative paths refer; the folder of the list if empty.
        list_file: Text file with a path, or a path and a label, per line, or a ``.csv`` file with a header. Looked for
            below ``data_root`` first, then as written.
        path_column: Column of the paths in a CSV.
        label_column: Column of the labels in a CSV.
        with_labels: Give samples their label: in folders the first folder below the root, else as the list says, by
            name or number. Pre-training leaves it off.
        classes: Class names in order of their number. By default the names found, sorted; none if the list has numbers.
        exclude: Patterns of paths to leave out, such as ``'*/testB_*'``, matched as in :mod:`fnmatch` (``*`` also
            matches ``/``) against the path below ``data_root`` or as listed. A pattern without a match is warned about.
        exclude_patients: File or files of TCGA participants to leave out, one barcode a line, such as the
            ``participants.txt`` of the test data. How many images were left out is logged, images without a barcode in
            their path are kept and warned about.
        patient_overlap: What to do with images of ``exclude_patients``: 'exclude' leaves them out, 'raise' refuses.
        extensions: Extensions that count as images, in any case.
        unreadable: What to do when ``LoadPatch`` cannot read a file: 'raise', or 'skip' to put another sample in its
            place. It is drawn by (seed, epoch, sample index), so the number of workers does not matter.
            :meth:`report_unreadable` names the files, those that loader processes met included.
        indices: Use only these samples, or the first so many.
        pipeline: Transforms.
        test_mode: As in mmengine.
        lazy_init: As in mmengine.
        max_refetch: How many replacements may be unreadable in a row.

    Raises:
        FileNotFoundError: a folder, the list file, a file it names or a list of participants is missing.
        PatientOverlapError: ``patient_overlap`` is 'raise' and an image is of a participant to leave out.
        ValueError: no images, no barcode in any path though ``exclude_patients`` is given, an unknown extension, a
            missing or unknown label, or a bad argument.
    """

    def __init__(
        self,
        data_root: str | Sequence[str] = '',
        list_file: str = '',
        path_column: str = 'path',
        label_column: str = 'label',
        with_labels: bool = False,
        classes: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        exclude_patients: str | Sequence[str] = (),
        patient_overlap: str = 'exclude',
        extensions: Sequence[str] = EXTENSIONS,
        unreadable: str = 'raise',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 100,
    ) -> None:
        self.roots = [os.fspath(r) for r in ([data_root] if isinstance(data_root, str | os.PathLike) else data_root)]
        self.list_file = os.fspath(list_file)
        self.path_column, self.label_column = path_column, label_column
        self.with_labels = with_labels
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)
        listed = [exclude_patients] if isinstance(exclude_patients, str | os.PathLike) else exclude_patients
        self.exclude_patients = [os.fspath(path) for path in listed if path]
        self.patient_overlap = patient_overlap
        self.extensions = tuple(kind.lower().lstrip('.') for kind in extensions)
        self.unreadable = unreadable
        self._flags: torch.Tensor | None = None
        self._check_arguments()
        super().__init__(
            metainfo=dict(classes=tuple(classes)) if classes is not None else None,
            indices=indices,
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )
        self.data_root = data_root

    @property
    def _name(self) -> str:
        """Name of the class, for messages."""
        return type(self).__name__

    def _check_arguments(self) -> None:
        if self.unreadable not in ('raise', 'skip'):
            raise ValueError(f"PatchDataset: unreadable is {self.unreadable!r}, expected 'raise' or 'skip'")
        if self.patient_overlap not in ('exclude', 'raise'):
            raise ValueError(
                f"PatchDataset: patient_overlap is {self.patient_overlap!r}, expected 'exclude' or 'raise'"
            )
        unknown = [kind for kind in self.extensions if kind not in EXTENSIONS]
        if unknown or not self.extensions:
            raise ValueError(f'PatchDataset: extensions are {self.extensions}, expected some of {EXTENSIONS}')
        if self.list_file and len(self.roots) > 1:
            raise ValueError(f'PatchDataset: data_root has {len(self.roots)} folders, expected one beside a list_file')
        if not self.list_file and not all(self.roots):
            raise ValueError('PatchDataset: neither data_root nor list_file is set; name a folder of images or a list')

    def load_data_list(self) -> list[dict]:
        """Find all samples; called once by ``full_init``."""
        items = self._chosen(self._without_patients(self._listed() if self.list_file else self._scanned()))
        if not self.with_labels:
            return [dict(img_path=path) for path, _ in items]
        numbers = self._numbers(items)
        return [dict(img_path=path, gt_label=numbers[label]) for path, label in items]

    def _chosen(self, items: list[Item]) -> list[Item]:
        """Those of the items to use, for data sets that take a share."""
        return items

    def _scanned(self) -> list[Item]:
        found = [(root, path) for root in self.roots for path in scan_folder(root, self.extensions)]
        items = []
        for root, path in self._kept(found):
            items.append((os.path.join(root, path), folder_label(root, path) if self.with_labels else None))
        seen: set[str] = set()
        twice = next((path for path, _ in items if path in seen or seen.add(path)), None)
        if twice:
            raise ValueError(f'PatchDataset: {twice} is found twice, through overlapping folders in data_root')
        return items

    def _listed(self) -> list[Item]:
        root = self.roots[0] if self.roots else ''
        list_file = os.path.join(root, self.list_file)
        if not os.path.isfile(list_file):
            list_file = self.list_file
        if list_file.lower().endswith('.csv'):
            items = read_csv(list_file, self.extensions, self.path_column, self.label_column)
        else:
            items = read_list(list_file, self.extensions)
        root = root or os.path.dirname(list_file)
        items = [(os.path.join(root, path), label) for path, label in self._kept(items, part=0)]
        missing = [path for path, _ in items if not os.path.isfile(path)]
        if missing:
            raise FileNotFoundError(
                f'PatchDataset: {len(missing)} of {len(items)} files that {list_file} names do not exist, such as '
                f'{missing[0]}; correct data_root or the list'
            )
        return items

    def _kept(self, pairs: list[tuple], part: int = 1) -> list[tuple]:
        """Pairs whose entry ``part``, a path, no pattern of ``exclude`` matches."""
        for pattern in self.exclude:
            kept = [pair for pair in pairs if not fnmatchcase(pair[part], pattern)]
            if len(kept) == len(pairs):
                print_log(
                    f'{self._name}: exclude pattern {pattern!r} matches no file', 'current', level=logging.WARNING
                )
            if not kept:
                raise ValueError(f'{self._name}: exclude pattern {pattern!r} leaves no images of {len(pairs)}')
            pairs = kept
        return pairs

    def _without_patients(self, items: list[Item]) -> list[Item]:
        """Items that are of no participant to leave out."""
        if not self.exclude_patients:
            return items
        lists = ', '.join(self.exclude_patients)
        excluded = set().union(*map(read_participants, self.exclude_patients))
        found = [tcga_participant(path) for path, _ in items]
        unnamed = [path for (path, _), name in zip(items, found, strict=True) if name is None]
        warn_unnamed(unnamed, len(items), self._name)
        shared = excluded.intersection(found)
        kept = [item for item, name in zip(items, found, strict=True) if name not in excluded]
        what = f'{len(items) - len(kept)} of {len(items)} images, of {len(shared)} participants that {lists} names'
        if shared and self.patient_overlap == 'raise':
            raise PatientOverlapError(
                f'{self._name}: found {what}, {some(shared)}, expected none; '
                "remove them or set patient_overlap='exclude'"
            )
        if not kept:
            raise ValueError(f'{self._name}: leaving out {what}, leaves no images; use other images')
        print_log(f'{self._name}: left out {what}', 'current')
        return kept

    def _numbers(self, items: list[Item]) -> dict[str, int]:
        """Number of each label; sets the classes where none are given."""
        bare = next((path for path, label in items if label is None), None)
        if bare:
            raise ValueError(f'PatchDataset: {bare} has no label; add it to {self.list_file} or set with_labels=False')
        names = sorted({label for _, label in items})
        classes = self._metainfo.get('classes')
        numeric = [name for name in names if self.list_file and name.isdecimal()]
        if numeric and len(numeric) < len(names) and classes is None:
            raise ValueError(
                f'PatchDataset: {self.list_file} has numbers and names as labels, such as {names[0]!r} and '
                f'{names[-1]!r}, expected one kind; correct it or set classes'
            )
        if len(numeric) == len(names) and not set(names) <= set(classes or ()):
            numbers = {name: int(name) for name in names}
            if classes is not None and max(numbers.values()) >= len(classes):
                raise ValueError(
                    f'PatchDataset: {self.list_file} has the label {max(numbers.values())}, expected numbers below the '
                    f'{len(classes)} classes; correct classes or the list'
                )
            return numbers
        if classes is None:
            classes = self._metainfo['classes'] = tuple(names)
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise ValueError(
                f'PatchDataset: found the label {unknown[0]!r}, expected one of the classes {tuple(classes)}; '
                'correct classes, or exclude these images'
            )
        return {name: number for number, name in enumerate(classes)}

    def full_init(self) -> None:
        """Find all samples, and set up the marks of unreadable files where loader processes can reach them."""
        if not self._fully_initialized:
            super().full_init()
            self._reset_flags()

    def _reset_flags(self) -> None:
        # One byte a sample in shared memory: a loader process sets it, the main process reads it, no lock needed.
        if self.unreadable == 'skip':
            self._flags = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only these samples, or the first so many."""
        super().get_subset_(indices)
        self._reset_flags()

    def get_subset(self, indices: int | Sequence[int]) -> 'PatchDataset':
        """A data set of these samples, or the first so many."""
        subset = super().get_subset(indices)
        subset._reset_flags()
        return subset

    def prepare_data(self, idx: int) -> dict | None:
        """Sample ``idx`` after the pipeline; another in its place if it is unreadable and may be skipped.

        Raises:
            UnreadableImageError: the file, or ``max_refetch`` replacements too, cannot be read.
        """
        wanted = idx
        for attempt in range(self.max_refetch + 1):
            try:
                return self._sample(idx)
            except UnreadableImageError as error:
                if self.unreadable == 'raise':
                    raise UnreadableImageError(f"{error}, or set unreadable='skip' in the data set") from error
                self._flags[idx] = 1
                last = error
            rng = view_generator(dict(sample_idx=wanted), _REPLACEMENTS + attempt)
            idx = int(rng.integers(len(self)))
            if isinstance(wanted, SampleIndex):
                idx = SampleIndex(idx, wanted.seed, wanted.epoch, wanted.drawn)
        raise UnreadableImageError(
            f'{self._name}: {self.max_refetch + 1} unreadable images in a row, expected most to be good; '
            f'the last: {last}'
        )

    def _sample(self, idx: int) -> dict | None:
        return super().prepare_data(idx)

    def unreadable_files(self) -> list[str]:
        """Files that were skipped so far, in this process and its loader processes, in order of their index."""
        if self._flags is None:
            return []
        return [self.get_data_info(idx)['img_path'] for idx in self._flags.nonzero().flatten().tolist()]

    def report_unreadable(self) -> list[str]:
        """Log how many files were skipped and their names, if any were, and return the names."""
        names = self.unreadable_files()
        if names:
            text = f'{self._name}: {len(names)} of {len(self)} images could not be read and were skipped: '
            print_log(text + ', '.join(names), 'current', level=logging.WARNING)
        return names
