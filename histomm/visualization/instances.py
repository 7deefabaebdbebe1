"""Outlines of instances over images, and reading instances from COCO files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from histomm.visualization.colors import rgb


class CocoImage(NamedTuple):
    """One image of a COCO file.

    Attributes:
        image_id: Its id.
        file_name: Relative to the data root.
        annotations: Its annotations as in the file.
    """

    image_id: int
    file_name: str
    annotations: list[dict]


def draw_outlines(image: np.ndarray, masks: Iterable[np.ndarray], color: str, width: int = 2) -> np.ndarray:
    """Outline masks in one colour, with a thin white edge that keeps it apart from any tissue.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        masks: Boolean (H, W), one an instance; holes are outlined too.
        color: '#RRGGBB'.
        width: Of the coloured line in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: a mask of another size than the image.
    """
    drawn = image.copy()
    outlines = []
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise ValueError(f'mask is {mask.shape}, expected {image.shape[:2]} as the image')
        outlines += cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(drawn, outlines, -1, (255, 255, 255), width + 2, cv2.LINE_AA)
    cv2.drawContours(drawn, outlines, -1, rgb(color), width, cv2.LINE_AA)
    return drawn


def read_coco(path: str | Path) -> list[CocoImage]:
    """Images of a COCO annotation file with their annotations, in the order of the file."""
    coco = json.loads(Path(path).read_text())
    by_image: dict[int, list[dict]] = {image['id']: [] for image in coco['images']}
    for annotation in coco['annotations']:
        by_image[annotation['image_id']].append(annotation)
    return [CocoImage(image['id'], image['file_name'], by_image[image['id']]) for image in coco['images']]


def read_predictions(path: str | Path, min_score: float = 0.5) -> dict[int, list[dict]]:
    """Instances of a COCO results file (``*.segm.json`` of mmdet's ``CocoMetric``) by image id, best first.

    Args:
        path: The file.
        min_score: Leave out what scores less.
    """
    found: dict[int, list[dict]] = {}
    for result in sorted(json.loads(Path(path).read_text()), key=lambda item: -item['score']):
        if result['score'] >= min_score:
            found.setdefault(result['image_id'], []).append(result)
    return found


def decode_masks(annotations: Iterable[dict]) -> list[np.ndarray]:
    """Boolean (H, W) masks of annotations or results whose ``segmentation`` is a compressed run length."""
    from pycocotools import mask as coder

    return [coder.decode(annotation['segmentation']).astype(bool) for annotation in annotations]
