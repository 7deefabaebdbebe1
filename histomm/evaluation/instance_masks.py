"""Instance masks, in all the forms that detectors and COCO files have, to label maps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.fileio import load


class GroundTruth(NamedTuple):
    """Objects of one image, at its original size.

    Attributes:
        masks: In any form that :func:`decode_masks` takes.
        void: Masks of regions that are not judged (``iscrowd``).
    """

    masks: Any
    void: Any


class CocoGroundTruth:
    """Objects of the images of a COCO annotation file.

    Args:
        ann_file: Its path, or an address that mmengine can read.

    Raises:
        ValueError: the file has no images, or an annotation without ``segmentation`` or of an image that is not there.
    """

    def __init__(self, ann_file: str | Path) -> None:
        self._file = ann_file
        coco = load(str(ann_file))
        if not coco.get('images') or 'annotations' not in coco:
            raise ValueError(f'{ann_file} has no images or no annotations, expected a COCO annotation file')
        self._sizes = {image['id']: (image['height'], image['width']) for image in coco['images']}
        self._names = {category['id']: category['name'] for category in coco.get('categories', [])}
        self._annotations: dict[Any, list[dict]] = {image_id: [] for image_id in self._sizes}
        for item in coco['annotations']:
            if not item.get('segmentation'):
                raise ValueError(f'{ann_file}: annotation {item["id"]} has no segmentation, which instances need')
            if item['image_id'] not in self._annotations:
                raise ValueError(
                    f'{ann_file}: annotation {item["id"]} is of image {item["image_id"]}, which is not there'
                )
            self._annotations[item['image_id']].append(item)

    def __call__(self, image_id: Any, shape: tuple[int, int], classes: Sequence[str] | None) -> GroundTruth:
        """Objects of one image.

        Args:
            image_id: As in the file.
            shape: Height and width that it should have.
            classes: Names of the categories to take; ``None`` takes all.

        Raises:
            ValueError: no such image, one of another size, or none of the classes is in the file.
        """
        if image_id not in self._sizes:
            raise ValueError(f'{self._file} has no image of id {image_id}; is it the file of another split?')
        if self._sizes[image_id] != tuple(shape):
            raise ValueError(f'{self._file}: image {image_id} is {self._sizes[image_id]}, the one given {tuple(shape)}')
        wanted = {key for key, name in self._names.items() if classes is None or name in classes}
        if classes is not None and not wanted:
            raise ValueError(
                f'{self._file} has categories {sorted(self._names.values())}, expected one of {list(classes)}'
            )
        items = [item for item in self._annotations[image_id] if classes is None or item['category_id'] in wanted]
        crowd = [bool(item.get('iscrowd')) for item in items]
        return GroundTruth(
            [item['segmentation'] for item, void in zip(items, crowd, strict=True) if not void],
            [item['segmentation'] for item, void in zip(items, crowd, strict=True) if void],
        )


def decode_masks(masks: Any, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Masks as boolean arrays, one after the other.

    Args:
        masks: (n, H, W) array or tensor; mmdet's ``BitmapMasks`` or ``PolygonMasks``; or a list whose entries are
            arrays (H, W), run lengths (``size`` and ``counts``, compressed or not) or lists of polygons.
        shape: Height and width that each must have.

    Yields:
        (H, W) booleans.

    Raises:
        ValueError: a mask of another size.
    """
    if hasattr(masks, 'to_ndarray'):
        masks = masks.to_ndarray()
    elif hasattr(masks, 'cpu'):
        masks = masks.detach().cpu().numpy()
    for mask in masks:
        decoded = np.asarray(mask if not isinstance(mask, (dict, list)) else _decode(mask, shape)).astype(bool)
        if decoded.shape != tuple(shape):
            raise ValueError(f'a mask is {decoded.shape}, expected the original size of its image, {tuple(shape)}')
        yield decoded


def _decode(mask: dict | list, shape: tuple[int, int]) -> np.ndarray:
    try:
        from pycocotools import mask as coder
    except ImportError as error:
        raise ImportError('run lengths need pycocotools; install it with: pip install pycocotools') from error
    if isinstance(mask, list):
        mask = coder.merge(coder.frPyObjects(mask, *shape))
    elif isinstance(mask['counts'], list):
        mask = coder.frPyObjects(mask, *mask['size'])
    return coder.decode(mask)


def predicted_label_map(masks: Any, scores: np.ndarray, score_thr: float, shape: tuple[int, int]) -> np.ndarray:
    """Label map of scored masks: 1 is the best; a pixel of several belongs to the best of them.

    An object whose pixels all belong to better ones is gone.

    Args:
        masks: n masks, see :func:`decode_masks`.
        scores: (n,).
        score_thr: Objects that score less are left out.
        shape: Height and width.

    Returns:
        (H, W) int32; of equal scores the first counts as better.
    """
    order = [index for index in np.argsort(-scores, kind='stable').tolist() if scores[index] >= score_thr]
    kept = [masks[index] for index in order] if isinstance(masks, (list, tuple)) else masks[order]
    labels = np.zeros(shape, np.int32)
    for label, mask in enumerate(decode_masks(kept, shape), 1):
        labels[mask & (labels == 0)] = label
    return labels


def true_label_map(masks: Any, shape: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Label map of annotated objects; a pixel of several belongs to the smallest of them.

    Args:
        masks: n masks, see :func:`decode_masks`.
        shape: Height and width.

    Returns:
        (H, W) int32 with label i + 1 for mask i, and the indices of masks that have no pixel left.
    """
    decoded = list(decode_masks(masks, shape))
    labels = np.zeros(shape, np.int32)
    for index in sorted(range(len(decoded)), key=lambda i: -np.count_nonzero(decoded[i])):
        labels[decoded[index]] = index + 1
    present = np.bincount(labels.ravel(), minlength=len(decoded) + 1)[1:]
    return labels, np.flatnonzero(present == 0).tolist()
