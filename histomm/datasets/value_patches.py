"""Patches with a value, such as the cellularity of BreastPathQ."""

import math
from typing import Any

import numpy as np

from histomm.datasets.patch_dataset import PatchDataset
from histomm.registry import DATASETS


@DATASETS.register_module()
class ValuePatchDataset(PatchDataset):
    """Patches of a list file that gives each a number; samples are ``img_path``, ``sample_idx`` and ``gt_score`` (1,).

    Args:
        list_file: Text file with a path and a number per line, or a ``.csv`` file with a header.
        value_range: Smallest and largest number that is believed.
        **kwargs: Of :class:`~histomm.datasets.PatchDataset`, but for ``with_labels`` and ``classes``; ``label_column``
            is the column of the numbers in a CSV.

    Raises:
        ValueError: no list file, or an image without a number in ``value_range``.
    """

    def __init__(self, list_file: str, value_range: tuple[float, float] = (0.0, 100.0), **kwargs: Any) -> None:
        self.value_range = tuple(value_range)
        super().__init__(list_file=list_file, **kwargs)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not self.list_file or self.with_labels:
            raise ValueError('ValuePatchDataset: expected a list_file with a number for each image, and no with_labels')

    def load_data_list(self) -> list[dict]:
        """Find all samples; called once by ``full_init``."""
        items = self._without_patients(self._listed())
        return [dict(img_path=path, gt_score=np.array([self._value(path, text)], np.float32)) for path, text in items]

    def _value(self, path: str, text: str | None) -> float:
        low, high = self.value_range
        try:
            value = float(text or 'nan')
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(
                f'ValuePatchDataset: {path} has the value {text!r}, expected a number from {low} to {high}; correct '
                f'{self.list_file}, or set value_range or label_column'
            )
        return value
