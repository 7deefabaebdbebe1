"""Breast Cancer Semantic Segmentation (BCSS, Amgad et al. 2019): its codes, and its data set for mmseg."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from histomm.registry import DATASETS, TRANSFORMS, register_on_demand

OUTSIDE = 'outside_roi'
CLASSES = (
    'tumor',
    'stroma',
    'lymphocytic_infiltrate',
    'necrosis_or_debris',
    'glandular_secretions',
    'blood',
    'exclude',
    'metaplasia_NOS',
    'fat',
    'plasma_cells',
    'other_immune_infiltrate',
    'mucoid_material',
    'normal_acinus_or_duct',
    'lymphatics',
    'undetermined',
    'nerve',
    'skin_adnexa',
    'blood_vessel',
    'angioinvasion',
    'dcis',
    'other',
)
"""Names of the codes 1 to 21 of the masks, in this order; code 0 is :data:`OUTSIDE`."""

PALETTE = (
    (200, 0, 0),
    (150, 200, 150),
    (0, 0, 200),
    (230, 200, 0),
    (0, 150, 150),
    (120, 0, 0),
    (60, 60, 60),
    (255, 140, 0),
    (250, 230, 200),
    (130, 80, 220),
    (80, 140, 255),
    (180, 220, 255),
    (0, 160, 80),
    (200, 255, 220),
    (120, 120, 120),
    (255, 255, 0),
    (160, 100, 60),
    (255, 100, 130),
    (255, 0, 255),
    (255, 90, 60),
    (190, 190, 190),
)
"""Colours of the classes."""

TEST_INSTITUTES = ('OL', 'LL', 'E2', 'EW', 'GM', 'S3')
"""Tissue source sites whose slides are the test set, in the baseline of the data set's authors."""


def group_labels(groups: Mapping[str, Sequence[int]]) -> dict[int, int]:
    """Where classes go that are grouped: index of the class (its code less 1) to number of the group.

    Args:
        groups: Name of each group to the codes (1 to 21) in it. Codes of no group go to 255, which is ignored.

    Raises:
        ValueError: an empty group, or a code out of range or in two groups.
    """
    goal: dict[int, int] = {}
    for number, (name, codes) in enumerate(groups.items()):
        if not codes:
            raise ValueError(f'BCSSDataset: group {name!r} holds no code, expected some of 1 to {len(CLASSES)}')
        for code in codes:
            if code not in range(1, len(CLASSES) + 1):
                raise ValueError(f'BCSSDataset: group {name!r} holds the code {code}, expected 1 to {len(CLASSES)}')
            if code - 1 in goal:
                raise ValueError(f'BCSSDataset: the code {code} is in {name!r} and in another group; keep one of them')
            goal[code - 1] = number
    return {index: goal.get(index, 255) for index in range(len(CLASSES))}


@register_on_demand(DATASETS, 'BCSSDataset', 'mmseg')
def bcss_dataset_class() -> type:
    """The class ``BCSSDataset``, which derives from mmseg's ``BaseSegDataset``."""
    from mmseg.datasets import BaseSegDataset

    class BCSSDataset(BaseSegDataset):
        """Patches of BCSS with masks in its own codes, as ``tools/dataset_converters/bcss.py`` writes them.

        Codes 1 to 21 become the classes 0 to 20; code 0, outside of the annotated region, becomes 255 and is ignored.
        Nothing else is ignored, unless ``groups`` says so.

        Args:
            groups: Fewer classes: name of each to the codes in it, see :func:`group_labels`.
            img_suffix: End of the names of images.
            seg_map_suffix: End of the names of masks.
            **kwargs: Of mmseg's ``BaseSegDataset``: ``data_root``, ``data_prefix=dict(img_path=…, seg_map_path=…)``,
                ``pipeline``, or ``metainfo=dict(classes=…)`` with some of the names, the others being ignored.

        Raises:
            ValueError: groups that overlap or name unknown codes, or both ``groups`` and ``metainfo``.
        """

        __qualname__ = 'BCSSDataset'  # where __getattr__ of the module finds it, so that it can be pickled
        METAINFO: ClassVar[dict] = dict(classes=CLASSES, palette=[list(color) for color in PALETTE])

        def __init__(
            self,
            groups: Mapping[str, Sequence[int]] | None = None,
            img_suffix: str = '.png',
            seg_map_suffix: str = '.png',
            **kwargs: Any,
        ) -> None:
            self.groups = groups
            if groups:
                if kwargs.get('metainfo'):
                    raise ValueError('BCSSDataset: found groups and metainfo, which both choose classes; keep one')
                self._grouped = group_labels(groups)
                colors = [list(PALETTE[codes[0] - 1]) for codes in groups.values()]
                kwargs['metainfo'] = dict(classes=tuple(groups), palette=colors)
            super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, reduce_zero_label=True, **kwargs)

        def load_data_list(self) -> list[dict]:
            """Images and masks.

            Raises:
                FileNotFoundError: a folder is missing, or the mask of an image.
                ValueError: no images.
            """
            for folder in (self.data_prefix['img_path'], self.data_prefix['seg_map_path']):
                if not os.path.isdir(folder):
                    raise FileNotFoundError(
                        f'BCSSDataset: {folder} is not a folder; correct data_root and data_prefix, or write the '
                        'patches with tools/dataset_converters/bcss.py'
                    )
            samples = super().load_data_list()
            if not samples:
                raise ValueError(
                    f'BCSSDataset: {self.data_prefix["img_path"]} holds no image *{self.img_suffix}; correct the path'
                )
            lonely = [sample for sample in samples if not os.path.isfile(sample['seg_map_path'])]
            if lonely:
                raise FileNotFoundError(
                    f'BCSSDataset: {len(lonely)} of {len(samples)} images have no mask, such as '
                    f'{lonely[0]["img_path"]}, expected {lonely[0]["seg_map_path"]}; convert the data again'
                )
            return samples

        def get_label_map(self, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
            """Class index to the one wanted, applied after code 0 was ignored; None where all stay as they are."""
            return self._grouped if self.groups else super().get_label_map(new_classes)

    return BCSSDataset


@register_on_demand(TRANSFORMS, 'LoadBCSSMask', 'mmseg')
def load_bcss_mask_class() -> type:
    """The class ``LoadBCSSMask``, which derives from mmseg's ``LoadAnnotations``."""
    from mmseg.datasets.transforms import LoadAnnotations

    class LoadBCSSMask(LoadAnnotations):
        """mmseg's ``LoadAnnotations`` that refuses what cannot be a mask of BCSS.

        A mask of another size would be stretched with its image, and an unknown code would end in the loss, far from
        the file. Code 255 is taken for ignored, as everywhere in mmseg.

        Raises:
            ValueError: the mask has another size than the stored image, or codes other than 0 to 21 and 255.
        """

        __qualname__ = 'LoadBCSSMask'

        def transform(self, results: dict) -> dict:
            """Read ``results['seg_map_path']``."""
            results = super().transform(results)
            labels, path = results['gt_seg_map'], results['seg_map_path']
            if labels.shape != tuple(results['ori_shape']):
                (height, width), (rows, columns) = results['ori_shape'], labels.shape
                raise ValueError(
                    f'{path}: mask of {columns}×{rows} pixels, expected {width}×{height} as {results["img_path"]} has'
                )
            codes = np.unique(labels[(labels >= len(CLASSES)) & (labels != 255)]).astype(int) + 1
            if codes.size:
                raise ValueError(f'{path}: mask with the codes {codes.tolist()}, expected 0 to {len(CLASSES)}, or 255')
            return results

    return LoadBCSSMask


def __getattr__(name: str) -> Any:
    if name == 'BCSSDataset':
        return bcss_dataset_class()
    if name == 'LoadBCSSMask':
        return load_bcss_mask_class()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
