"""Regions of breast tissue at 40x with the truth of every pixel, in the codes of BCSS."""

import math

import cv2
import numpy as np

from .epithelium import paint_gland_tissue
from .glands import GRADES, place_glands
from .noise import texture
from .nuclei import MARGIN
from .tissue import TISSUES, canvas, check_size, picture

_REGION_STREAM = 4
_TUMOR, _STROMA, _NORMAL = 1, 2, 13
_ISLANDS = {'LYM': 3, 'DEB': 4, 'ADI': 9, 'MUC': 12, 'NORM': _NORMAL}
"""Codes of the tissues that lie in a tumour as islands."""
_TUMOR_GRADES = ('moderately differentiated', 'moderately-to-poorly differentated', 'poorly differentiated')


def _glands(rng: np.random.Generator, shape: tuple[int, int], grade: str, code: int) -> tuple[np.ndarray, np.ndarray]:
    """Densities and codes of glands in stroma."""
    labels = place_glands(rng, shape, GRADES[grade])
    return paint_gland_tissue(rng, labels, GRADES[grade]), np.where(labels > 0, code, _STROMA).astype(np.uint8)


def island(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """A mask of smooth outline that covers about ``share`` of the picture inside the margins."""
    h, w = shape[0] - 2 * MARGIN, shape[1] - 2 * MARGIN
    field = texture(rng, shape, float(np.clip(min(h, w) / 3, 12, 160)))
    return field > np.quantile(field[MARGIN:-MARGIN, MARGIN:-MARGIN], 1 - share)


def _inside(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Mask of a turned rectangle, as regions of interest are drawn; its corners reach beyond the picture."""
    h, w = shape
    box = cv2.boxPoints(((w / 2, h / 2), (0.97 * w, 0.97 * h), rng.uniform(-7, 7)))
    mask = np.zeros(shape, np.uint8)
    return cv2.fillPoly(mask, [np.round(box).astype(np.int32)], 1) > 0


def draw_region(
    size: int | tuple[int, int] = (1800, 1500), seed: int = 0, patient: int = 0, index: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A region of a tumour at 40x (0.25 µm a pixel) with its semantic truth.

    Glands of a tumour in stroma, and islands of three of: lymphocytes, necrosis, fat, mucus and normal glands. What
    lies outside of a slightly turned rectangle is not annotated.

    Args:
        size: Side, or ``(width, height)``, in pixels.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the region; equal arguments give equal bytes.

    Returns:
        The picture, ``(height, width, 3)`` uint8 RGB, and the codes of BCSS, ``(height, width)`` uint8: 0 outside, 1
        tumour, 2 stroma, 3 lymphocytes, 4 necrosis, 9 fat, 12 mucus, 13 normal glands.

    Raises:
        ValueError: Impossible size.
    """
    width, height = check_size(size)
    # Everything is drawn at 20x, as the nuclei are, and then enlarged.
    half = max(32, math.ceil(width / 2)), max(32, math.ceil(height / 2))
    rng = np.random.default_rng([_REGION_STREAM, seed, patient, index])
    shape = canvas(half)
    density, codes = _glands(rng, shape, str(rng.choice(_TUMOR_GRADES)), _TUMOR)
    for tissue in rng.choice(list(_ISLANDS), 3, replace=False).tolist():
        if tissue == 'NORM':
            other, inner = _glands(rng, shape, 'healthy', _NORMAL)
        else:
            other, inner = TISSUES[tissue](rng, shape), np.full(shape, _ISLANDS[tissue], np.uint8)
        mask = island(rng, shape, rng.uniform(0.1, 0.25))
        cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
        density += cover * (other - density)
        codes[mask] = inner[mask]
    image = picture(rng, density, seed, patient, zoom=2)[:height, :width]
    codes = codes[MARGIN:-MARGIN, MARGIN:-MARGIN].repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.ascontiguousarray(image), np.where(_inside(rng, (height, width)), codes, 0).astype(np.uint8)
