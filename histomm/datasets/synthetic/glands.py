"""Where glands lie: outlines by grade, placement, and the instance truth of a picture."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from .nuclei import MARGIN

_ROUND = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
_MIN_VISIBLE = 250  # smallest number of pixels of a gland that may show at the border of a picture


@dataclass(frozen=True)
class GlandGrade:
    """How glands of a grade look.

    Attributes:
        radius: Range of the mean radius in pixels.
        epithelium: Range of the height of the epithelium in pixels.
        bumps: Amplitude of the irregularities of the outline, as a share of the radius.
        stretch: Largest ratio of length over width.
        tube: Share of glands that are bent tubes.
        goblet: Share of cells with a mucus vacuole.
        nuclei: Kinds of nuclei in the epithelium.
        rows: Range of the number of rows of nuclei.
        gap: Range of the gap between glands in pixels.
        touching: Share of glands that are pressed against a neighbour.
        solid: Share of glands without a lumen.
        filled: Share of lumina with debris or secretion.
        tries: Placement attempts for each gland that would fit.
    """

    radius: tuple[float, float]
    epithelium: tuple[float, float]
    bumps: float
    stretch: float
    tube: float
    goblet: float
    nuclei: tuple[str, ...]
    rows: tuple[int, int]
    gap: tuple[float, float]
    touching: float
    solid: float
    filled: float
    tries: float


# Keys are the words of the GlaS grade column, with the spelling of that file.
GRADES = {
    'healthy': GlandGrade((40, 66), (42, 62), 0.035, 1.5, 0.05, 0.85, ('crypt',), (1, 1), (10, 30), 0.05, 0.0, 0.1, 6),
    'adenomatous': GlandGrade(
        (45, 95), (26, 44), 0.06, 2.2, 0.25, 0.25, ('columnar', 'crypt'), (2, 3), (7, 22), 0.12, 0.0, 0.25, 6
    ),
    'moderately differentiated': GlandGrade(
        (55, 125), (28, 46), 0.12, 2.2, 0.3, 0.04, ('columnar', 'tumour'), (2, 4), (8, 40), 0.12, 0.05, 0.6, 5
    ),
    'moderately-to-poorly differentated': GlandGrade(
        (38, 120), (26, 44), 0.17, 2.6, 0.35, 0.02, ('tumour', 'columnar'), (2, 4), (8, 60), 0.15, 0.2, 0.6, 4
    ),
    'poorly differentiated': GlandGrade(
        (24, 95), (24, 50), 0.22, 2.8, 0.3, 0.0, ('tumour',), (2, 5), (8, 70), 0.2, 0.45, 0.5, 4
    ),
}


def gland_outline(rng: np.random.Generator, grade: GlandGrade, radius: float) -> np.ndarray:
    """Closed outline around the origin, ``(n, 2)`` float pixels."""
    theta = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    wave = np.zeros_like(theta)
    for k in range(2, 8):
        wave += rng.normal(0, grade.bumps * (2 / k) ** 1.3) * np.cos(k * theta + rng.uniform(0, 2 * math.pi))
    r = radius * np.clip(1 + wave, 0.45, 1.7)
    stretch = math.sqrt(rng.uniform(1, grade.stretch))
    bend, blunt = 0.0, 1.0
    if rng.random() < grade.tube:
        stretch, bend, blunt = math.sqrt(rng.uniform(2.2, 4.5)), rng.normal(0, 0.3), 0.55
    across = np.sign(np.sin(theta)) * np.abs(np.sin(theta)) ** blunt  # blunt ends instead of an ellipse's tips
    x, y = r * np.cos(theta) * stretch, r * across / stretch
    y = y + bend * (x**2 / (radius * stretch) - 0.3 * radius * stretch)
    turn = rng.uniform(0, 2 * math.pi)
    points = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1)
    window = np.array([1, 4, 8, 10, 8, 4, 1]) / 36  # rounds sharp tips
    return ndimage.correlate1d(points, window, axis=0, mode='wrap')


def _largest_part(mask: np.ndarray) -> np.ndarray:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count <= 2:
        return mask
    return (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)


def _encloses(mask: np.ndarray) -> bool:
    """Whether a gland would run around another one."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return len(outlines) > 1


def _shows_slivers(mask: np.ndarray, top: int, left: int, shape: tuple[int, int]) -> bool:
    """Whether the border of the picture cuts off a part of the gland too small to be called one."""
    h, w = shape
    view = mask[max(MARGIN - top, 0) : max(h - MARGIN - top, 0), max(MARGIN - left, 0) : max(w - MARGIN - left, 0)]
    if view.size == 0:
        return False
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(view), connectivity=8)
    return bool((stats[1:, cv2.CC_STAT_AREA] < _MIN_VISIBLE).any())


def place_glands(rng: np.random.Generator, shape: tuple[int, int], grade: GlandGrade) -> np.ndarray:
    """Label map ``(h, w)`` int32 of a canvas with margins: 0 stroma, 1..N glands, each in one piece."""
    h, w = shape
    labels = np.zeros(shape, np.int32)
    taken = np.zeros(shape, np.uint8)
    mean_radius = sum(grade.radius) / 2
    attempts = max(10, round(grade.tries * h * w / (math.pi * mean_radius**2)))
    count = 0
    for _ in range(attempts):
        radius = rng.uniform(*grade.radius)
        reach = 0.3 * radius if count else -MARGIN  # the first gland lies in the picture
        centre = rng.uniform((-reach, -reach), (w + reach, h + reach))
        x, y = np.clip(centre.astype(int), 0, (w - 1, h - 1))
        if taken[y, x]:
            continue
        outline = gland_outline(rng, grade, radius) + centre
        gap = 0 if rng.random() < grade.touching else round(rng.uniform(*grade.gap))
        left, top = np.maximum(np.floor(outline.min(0)).astype(int) - gap, 0).tolist()
        right, bottom = (np.ceil(outline.max(0)).astype(int) + gap + 1).tolist()
        near = np.s_[top:bottom, left:right]
        mask = np.zeros(taken[near].shape, np.uint8)
        if min(mask.shape, default=0) < 8:
            continue
        cv2.fillPoly(mask, [np.round((outline - (left, top)) * 16).astype(np.int32)], 1, shift=4)
        whole = np.count_nonzero(mask)
        if gap == 0:
            free = cv2.morphologyEx(mask & (1 - taken[near]), cv2.MORPH_OPEN, _ROUND)
            mask = _largest_part(free)
            if _encloses(mask):
                continue
        elif np.any(cv2.dilate(mask, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8)) & taken[near]):
            continue
        if np.count_nonzero(mask) < max(0.8 * whole, 1) or _shows_slivers(mask, top, left, shape):
            continue
        count += 1
        labels[near][mask > 0] = count
        taken[near] |= mask
    return labels


def visible_instances(labels: np.ndarray) -> np.ndarray:
    """Truth of the picture inside the margins: every visible piece is one instance, ids 1..N, uint8."""
    view = labels[MARGIN:-MARGIN, MARGIN:-MARGIN]
    if len(np.unique(view)) > 200:
        raise ValueError(f'a picture of {view.shape} shows too many glands for an 8-bit map; ask for a smaller one')
    truth = np.zeros(view.shape, np.uint8)
    count = 0
    for label in np.unique(view[view > 0]):
        parts, pieces = cv2.connectedComponents((view == label).astype(np.uint8), connectivity=8)
        truth[pieces > 0] = pieces[pieces > 0] + count
        count += parts - 1
    return truth
