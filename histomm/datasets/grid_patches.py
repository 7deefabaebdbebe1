"""Photographs cut into patches on a grid, for classifiers whose patches vote for the class of the image."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.transforms.loading import UnreadableImageError, read_image
from histomm.registry import DATASETS


def grid_starts(side: int, patch: int, step: int) -> list[int]:
    """Where patches begin along a side: 0, step, 2 · step …; the last one is moved back to end at the border.

    Args:
        side: Length in pixels, at least ``patch``.
        patch: Length of a patch.
        step: Distance of neighbours; no more than ``patch``, so that every pixel lies in a patch.
    """
    starts = list(range(0, side - patch + 1, step))
    return starts if starts[-1] + patch == side else [*starts, side - patch]


def image_size(path: str) -> tuple[int, int]:
    """Width and height in pixels, from the header where Pillow knows the kind of file.

    Raises:
        UnreadableImageError: the file cannot be opened, or is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        height, width = read_image(path).shape[:2]
        return width, height


@DATASETS.register_module()
class GridPatchDataset(PatchDataset):
    """Patches of the images of a :class:`PatchDataset`, cut while training runs; images stay where they are.

    Each sample has ``img``, the patch as (patch, patch, 3) uint8 RGB, ``img_path``, its image, ``patch``, (x, y) of its
    upper left corner, ``sample_idx`` and, with ``with_labels``, ``gt_label``, that of the image; ``LoadPatch`` in the
    pipeline leaves the pixels as they are. Patches of an image follow each other, row by row, so without shuffling an
    image is decoded once. Patches lie ``patch · (1 − overlap)`` apart, the last of a row or column ends at the border:
    an image of 2048 × 1536 has 7 × 5 patches of 512 with an overlap of 0.5, one of 896 × 768 has 4 × 4 of 224 without
    overlap, of which the last row shares 128 pixels with the one before.

    Chhipa et al., "Magnification Prior", WACV 2023, cut BACH and the breast cancer cells of UCSB so.
    :class:`~histomm.evaluation.patient_metric.MajorityVoteMetric` with ``images='.+'`` joins the patches of an image.

    Args:
        data_root: As in :class:`PatchDataset`.
        patch: Side of the patches in pixels.
        overlap: Share of their side that neighbours have in common, in [0, 1).
        **kwargs: Of :class:`PatchDataset`; ``indices`` counts patches.

    Raises:
        UnreadableImageError: the size of an image cannot be told, also with ``unreadable='skip'``, as its number of
            patches is not known then.
        ValueError: an image smaller than a patch, a bad argument, or what :class:`PatchDataset` raises.
    """

    def __init__(
        self, data_root: str | Sequence[str] = '', patch: int = 512, overlap: float = 0.5, **kwargs: Any
    ) -> None:
        step = round(patch * (1 - overlap)) if 0 <= overlap < 1 else 0
        if patch < 1 or step < 1:
            raise ValueError(
                f'GridPatchDataset: patch is {patch} and overlap {overlap}, expected at least 1 pixel, a share in '
                '[0, 1), and patches that lie a pixel or more apart'
            )
        self.patch, self.step = patch, step
        self._last: tuple[str, np.ndarray | None] = '', None
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find all images and their patches; called once by ``full_init``."""
        images = super().load_data_list()
        sizes = [image_size(info['img_path']) for info in images]
        patches = [
            dict(info, patch=(x, y))
            for info, size in zip(images, sizes, strict=True)
            for x, y in self.corners(size, info['img_path'])
        ]
        counts = Counter(sizes).most_common()
        shown = ', '.join(f'{count} of {width}×{height}' for (width, height), count in counts[:5])
        level = logging.WARNING if len(counts) > 1 else logging.INFO
        print_log(
            f'{self._name}: {len(patches)} patches of {len(images)} images, {shown}{" …" if len(counts) > 5 else ""}',
            'current',
            level,
        )
        return patches

    def corners(self, size: tuple[int, int], path: str) -> list[tuple[int, int]]:
        """Upper left corners (x, y) of the patches of an image, row by row.

        Args:
            size: Width and height.
            path: What messages call it.

        Raises:
            ValueError: the image is smaller than a patch.
        """
        if min(size) < self.patch:
            raise ValueError(
                f'{self._name}: {path} is {size[0]}×{size[1]}, expected at least {self.patch}×{self.patch}; leave it '
                'out by exclude, or lower patch'
            )
        xs, ys = (grid_starts(side, self.patch, self.step) for side in size)
        return [(x, y) for y in ys for x in xs]

    def unreadable_files(self) -> list[str]:
        """Images with patches that were skipped so far, each once."""
        return list(dict.fromkeys(super().unreadable_files()))

    def _sample(self, idx: int) -> dict | None:
        info = self.get_data_info(idx)
        x, y = info['patch']
        image = self._image(info['img_path'])[y : y + self.patch, x : x + self.patch]
        if image.shape[:2] != (self.patch, self.patch):
            raise UnreadableImageError(f'{info["img_path"]}: has no patch at {(x, y)} any more; was it replaced?')
        return self.pipeline({**info, 'img': image.copy()})

    def _image(self, path: str) -> np.ndarray:
        """Pixels of an image; those of the last one are kept."""
        if self._last[0] != path:
            self._last = path, read_image(path)
        return self._last[1]
