"""Instance label maps to COCO files, for any data set that stores one integer map per image.

Every object is written as compressed run lengths (RLE), which hold holes and any outline exactly. Polygons cannot hold
holes, and round outlines to vertices. mmdet (``LoadAnnotations``, ``CocoMetric``), Detectron2
(``INPUT.MASK_FORMAT='bitmask'``) and pycocotools read them.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from .label_maps import ConversionError, read_label_map


class Sample(NamedTuple):
    """One image with its instance label map."""

    image: Path
    label: Path
    file_name: str
    """How the COCO file names the image, relative to the data root."""


class Fragment(NamedTuple):
    """A part of a label map that was left out because it is small."""

    label: Path
    instance_id: int
    area: int
    """Pixels."""


class Check(NamedTuple):
    """What decoding a COCO file back gave."""

    images: int
    empty_images: int
    objects: int
    min_iou: float
    """Smallest intersection over union of a decoded object with its source; 1 without objects."""
    mean_iou: float


def split_objects(labels: np.ndarray, split_disconnected: bool = True) -> Iterator[tuple[int, np.ndarray]]:
    """Objects of a label map.

    Args:
        labels: ``(H, W)`` integers, 0 is background.
        split_disconnected: Give each 8-connected part of an id as an object of its own.

    Yields:
        The id and a boolean mask ``(H, W)``, by increasing id.
    """
    for instance_id in np.unique(labels[labels != 0]).tolist():
        mask = labels == instance_id
        if not split_disconnected:
            yield instance_id, mask
            continue
        count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        for part in range(1, count):
            yield instance_id, parts == part


def annotation(mask: np.ndarray) -> dict:
    """COCO's ``segmentation`` (RLE), ``bbox`` (x, y, width, height in pixels), ``area`` and ``iscrowd`` of a mask."""
    coder = _pycocotools().mask
    rle = coder.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        'segmentation': {'size': list(rle['size']), 'counts': rle['counts'].decode('ascii')},
        'bbox': coder.toBbox(rle).tolist(),
        'area': int(coder.area(rle)),
        'iscrowd': 0,
    }


def build_coco(
    samples: Iterable[Sample], category: str, split_disconnected: bool = True, min_area: int = 10
) -> tuple[dict, list[Fragment]]:
    """COCO dictionary of one category, and the parts that were left out.

    Images without objects stay in the list. Ids start at 1; each annotation keeps its ``instance_id`` in the map.

    Args:
        samples: Images with label maps, in the order wanted.
        category: Name of the one category, id 1.
        split_disconnected: See :func:`split_objects`.
        min_area: Smaller objects, in pixels, are left out.

    Raises:
        ConversionError: missing or unreadable file, or an image and a map of different size.
    """
    images, annotations, fragments = [], [], []
    for image_id, sample in enumerate(samples, 1):
        width, height = _image_size(sample.image)
        labels = read_label_map(sample.label)
        if labels.shape != (height, width):
            raise ConversionError(
                f'{sample.label} is {labels.shape[1]}x{labels.shape[0]}, its image {sample.image} is {width}x{height}; '
                'they must be the same size'
            )
        images.append({'id': image_id, 'file_name': sample.file_name, 'width': width, 'height': height})
        for instance_id, mask in split_objects(labels, split_disconnected):
            area = int(mask.sum())
            if area < min_area:
                fragments.append(Fragment(sample.label, instance_id, area))
                continue
            ids = {'id': len(annotations) + 1, 'image_id': image_id, 'category_id': 1, 'instance_id': instance_id}
            annotations.append({**ids, **annotation(mask)})
    categories = [{'id': 1, 'name': category, 'supercategory': ''}]
    return {'images': images, 'annotations': annotations, 'categories': categories}, fragments


def write_coco(coco: dict, path: Path) -> None:
    """Write a COCO file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    partial.write_text(json.dumps(coco))
    os.replace(partial, path)


def check_coco(path: Path, samples: list[Sample], fragments: list[Fragment], min_iou: float = 0.99) -> Check:
    """Decode a COCO file back with pycocotools and compare with the label maps it came from.

    Args:
        path: Written file.
        samples: What it was made from, in the same order.
        fragments: What was left out.
        min_iou: Every object must reach it.

    Raises:
        ConversionError: an object below ``min_iou``, or foreground that neither an object nor a fragment accounts for.
    """
    api = _pycocotools().mask
    coco = json.loads(path.read_text())
    by_image: dict[int, list[dict]] = {image['id']: [] for image in coco['images']}
    for item in coco['annotations']:
        by_image[item['image_id']].append(item)
    ious = []
    for image, sample in zip(coco['images'], samples, strict=True):
        labels = read_label_map(sample.label)
        covered = np.zeros(labels.shape, dtype=bool)
        for item in by_image[image['id']]:
            mask = api.decode(item['segmentation']).astype(bool)
            ious.append(_iou_with_source(mask, labels, item['instance_id']))
            covered |= mask
            if ious[-1] < min_iou:
                raise ConversionError(
                    f'{path}: annotation {item["id"]} decodes to IoU {ious[-1]:.3f} with {sample.label}, '
                    f'expected {min_iou} or more'
                )
        left_out = sum(fragment.area for fragment in fragments if fragment.label == sample.label)
        lost = int(((labels != 0) & ~covered).sum()) - left_out
        if lost:
            raise ConversionError(f'{path}: {lost} foreground pixels of {sample.label} are in no annotation')
    empty = sum(not items for items in by_image.values())
    return Check(len(by_image), empty, len(ious), min(ious, default=1.0), float(np.mean(ious)) if ious else 1.0)


def _iou_with_source(mask: np.ndarray, labels: np.ndarray, instance_id: int) -> float:
    """IoU of a decoded object with those connected parts of its id that it touches."""
    _, parts = cv2.connectedComponents((labels == instance_id).astype(np.uint8), connectivity=8)
    touched = np.unique(parts[mask & (parts != 0)])
    source = np.isin(parts, touched) & (parts != 0)
    union = int((mask | source).sum())
    return float((mask & source).sum() / union) if union else 0.0


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height; the whole image is decoded, so that a truncated one is found here and not in training."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ConversionError(f'image {path} cannot be read ({error}); is it complete?') from error


def _pycocotools():
    try:
        import pycocotools.mask
    except ImportError as error:
        raise ImportError('COCO files need pycocotools; install it with: pip install pycocotools') from error
    return pycocotools
