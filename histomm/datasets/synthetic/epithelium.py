"""What glands are made of: epithelium with polarised nuclei, mucus, lumen, and the stroma around them.

Everything is derived from the label map, so that the truth and the picture cannot disagree: nuclei, cytoplasm and lumen
are placed by the distance to the edge of a gland's own region.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .glands import GlandGrade
from .noise import flow, scatter, texture
from .nuclei import stamp_nuclei
from .stroma import Stroma, add_stroma_cells, draw_stroma, fibre_density, smooth_step


@dataclass(frozen=True)
class _Geometry:
    """Distances that the drawing of glands needs, all ``(h, w)`` float32 in pixels; ``height`` is per label."""

    labels: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    slope: np.ndarray
    height: np.ndarray
    deepest: np.ndarray
    contours: list[np.ndarray]


def _measure(rng: np.random.Generator, labels: np.ndarray, grade: GlandGrade) -> _Geometry:
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    parts = ((labels > 0) & ~edge).astype(np.uint8), (labels == 0).astype(np.uint8)
    # Distances are unbounded where a gland, or none, fills the canvas.
    inside, outside = (np.minimum(cv2.distanceTransform(part, cv2.DIST_L2, 5), 500) for part in parts)
    signed = cv2.GaussianBlur(inside - outside, (0, 0), 2.5)
    slope = np.stack([cv2.Sobel(signed, cv2.CV_32F, 1, 0), cv2.Sobel(signed, cv2.CV_32F, 0, 1)], axis=-1)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True) + 1e-6
    count = int(labels.max())
    height, deepest, contours = np.ones(count + 1, np.float32), np.ones(count + 1, np.float32), []
    base = rng.uniform(*grade.epithelium)
    for label in range(1, count + 1):
        mask = (labels == label).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        contours.append(max(outlines, key=len)[:, 0])
        deepest[label] = max(float(cv2.minMaxLoc(inside, mask=mask)[1]), 2.0)
        wanted = base * rng.uniform(0.85, 1.15)
        height[label] = 1e3 if rng.random() < grade.solid else min(wanted, deepest[label] * rng.uniform(0.75, 0.94))
    return _Geometry(labels, inside, outside, slope, height, deepest, contours)


def _paint_cytoplasm(rng: np.random.Generator, density: np.ndarray, geo: _Geometry, grade: GlandGrade) -> None:
    """Cytoplasm from base to apex, lumen and its content, basement membrane; in place."""
    shape = geo.labels.shape
    height = geo.height[geo.labels]
    rise = geo.inside / np.minimum(height, geo.deepest[geo.labels])
    fine, rough = texture(rng, shape, 1.3), texture(rng, shape, 9)
    tint = rng.uniform(0.85, 1.2)
    eosin = np.float32(tint) * (0.50 + 0.22 * np.clip(rise, 0, 1) + 0.08 * fine + 0.06 * rough)
    haem = np.float32(rng.uniform(0.8, 1.3)) * (0.40 - 0.24 * np.clip(rise, 0, 1) + 0.07 * fine + 0.05 * rough)
    depth = geo.inside - height + 1.8 * texture(rng, shape, 4) + 2.0 * rough
    open_ = smooth_step(depth, 2.0)
    eosin += 0.22 * np.exp(-((depth + 2.0) ** 2) / 5)  # brush border
    lumen_h, lumen_e = _lumen(rng, shape, geo, grade)
    cover = cv2.GaussianBlur((geo.labels > 0).astype(np.float32), (0, 0), 0.8)
    membrane = np.exp(-((geo.outside - 1.0) ** 2) / 2.0) * (geo.outside > 0)
    density[..., 1] += 0.16 * membrane
    for channel, cell, hollow in ((0, haem, lumen_h), (1, eosin, lumen_e)):
        inner = cell + open_ * (hollow - cell)
        density[..., channel] += cover * (np.maximum(inner, 0) - density[..., channel])


def _lumen(
    rng: np.random.Generator, shape: tuple[int, int], geo: _Geometry, grade: GlandGrade
) -> tuple[np.ndarray, np.ndarray]:
    """Densities of the content of lumina: empty, or frothy secretion with pink flakes."""
    amount = np.zeros(len(geo.height), np.float32)
    for label in range(1, len(amount)):
        amount[label] = rng.uniform(0.35, 1.0) if rng.random() < grade.filled else rng.uniform(0, 0.12)
    amount = amount[geo.labels]
    froth = 0.8 * texture(rng, shape, 3) + 0.8 * texture(rng, shape, 14) + 0.5 * texture(rng, shape, 1.5)
    flakes = smooth_step(froth + 1.3 * amount - 0.9, 2.2) * amount * (1 + 0.25 * texture(rng, shape, 7))
    return 0.02 + 0.14 * flakes, 0.03 + 0.05 * amount + 0.42 * flakes


def _along(rng: np.random.Generator, contour: np.ndarray, spacing: float) -> np.ndarray:
    """Points of a contour at jittered steps of about ``spacing`` pixels, ``(n, 2)`` integer x, y."""
    count = max(3, round(len(contour) / spacing))
    steps = (np.arange(count) + rng.uniform(-0.28, 0.28, size=count)) * len(contour) / count
    return contour[np.round(steps).astype(int) % len(contour)]


def _inwards(geo: _Geometry, points: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points moved ``depth`` pixels along the inward normal, and the angle of that normal."""
    normal = geo.slope[points[:, 1], points[:, 0]]
    moved = np.round(points + normal * depth[:, None]).astype(int)
    h, w = geo.labels.shape
    moved = np.clip(moved, 0, (w - 1, h - 1))
    return moved, np.arctan2(normal[:, 1], normal[:, 0])


def _paint_goblets(rng: np.random.Generator, density: np.ndarray, geo: _Geometry, grade: GlandGrade) -> None:
    """Pale vacuoles of mucus between the nuclei and the lumen, and thin walls between cells; in place."""
    pale = np.zeros(geo.labels.shape, np.uint8)
    wall = np.zeros(geo.labels.shape, np.uint8)
    for label, contour in enumerate(geo.contours, start=1):
        height = float(min(geo.height[label], geo.deepest[label]))
        points = _along(rng, contour, 11)
        top, angle = _inwards(geo, points, np.full(len(points), height * 0.95))
        for (x0, y0), (x1, y1) in zip(points.tolist(), top.tolist(), strict=True):
            cv2.line(wall, (x0, y0), (x1, y1), int(rng.integers(60, 200)), 1, cv2.LINE_AA)
        keep = rng.random(len(points)) < grade.goblet
        centre, _ = _inwards(geo, points, height * rng.uniform(0.56, 0.72, size=len(points)))
        for (x, y), turn in zip(centre[keep].tolist(), angle[keep].tolist(), strict=True):
            if geo.labels[y, x] != label:
                continue
            axes = (round(16 * height * rng.uniform(0.22, 0.32)), round(16 * rng.uniform(3.6, 5.6)))
            cv2.ellipse(
                pale,
                (x * 16, y * 16),
                axes,
                math.degrees(turn),
                0,
                360,
                int(rng.integers(170, 255)),
                -1,
                cv2.LINE_AA,
                4,
            )
    room = (geo.inside > 2).astype(np.float32)
    lines = cv2.GaussianBlur(wall, (0, 0), 0.7).astype(np.float32) * (room / 255)
    density *= (1 + np.float32(0.22 if grade.goblet < 0.5 else 0.5) * lines)[..., None]
    mucus = cv2.GaussianBlur(pale, (0, 0), 1.0).astype(np.float32) * (room / 255)
    veil = 0.10 + 0.04 * texture(rng, geo.labels.shape, 4)
    density += mucus[..., None] * (np.stack([veil, veil], axis=-1) - density) * np.float32(0.85)


def _paint_nuclei(rng: np.random.Generator, density: np.ndarray, geo: _Geometry, grade: GlandGrade) -> None:
    """Rows of nuclei at the base of the epithelium, their long axis along the inward normal; in place."""
    tone = rng.uniform(0.85, 1.1)
    for label, contour in enumerate(geo.contours, start=1):
        height = float(min(geo.height[label], geo.deepest[label]))
        rows = int(rng.integers(grade.rows[0], grade.rows[1] + 1))
        kind = grade.nuclei[int(rng.integers(len(grade.nuclei)))]
        spacing = {'tumour': 12.5, 'columnar': 7.0, 'crypt': 7.0}[kind]
        step = {'tumour': 11.5, 'columnar': 9.5, 'crypt': 7.0}[kind]
        if geo.height[label] > 500:
            rows = max(rows, int(height / step))
        for row in range(rows):
            points = _along(rng, contour, spacing * (1 + 0.15 * row))
            depth = 7.0 + step * row + rng.normal(0, 1.8 if rows == 1 else 2.8, size=len(points))
            place, angle = _inwards(geo, points, depth)
            x, y = place[:, 0], place[:, 1]
            keep = (geo.labels[y, x] == label) & (geo.inside[y, x] > 3.5)
            keep &= geo.inside[y, x] < max(0.85 * geo.height[label], 8)
            keep &= rng.random(len(x)) < np.clip(1.05 - depth / (1.15 * geo.deepest[label]), 0.2, 1)
            turn = angle[keep] + rng.normal(0, 0.18 if kind == 'columnar' else 0.45, size=int(keep.sum()))
            stamp_nuclei(rng, density, kind, x[keep], y[keep], turn, tone=(0.75 * tone, 1.15 * tone))


def _paint_seams(rng: np.random.Generator, density: np.ndarray, geo: _Geometry) -> None:
    """A thin pale strand where two glands are pressed together, in place."""
    other = cv2.erode(np.where(geo.labels > 0, geo.labels, 1 << 20).astype(np.float32), np.ones((3, 3), np.uint8))
    between = ((geo.labels > 0) & (other != geo.labels)).astype(np.float32)
    seam = np.minimum(2.2 * cv2.GaussianBlur(between, (0, 0), 1.1), 0.85)[..., None]
    density += seam * (np.float32([0.08, rng.uniform(0.2, 0.5)]) - density)


def _paint_lumen_cells(rng: np.random.Generator, density: np.ndarray, geo: _Geometry, grade: GlandGrade) -> None:
    """Shed cells and dark fragments in the lumina, in place."""
    hollow = geo.inside > geo.height[geo.labels] + 5
    crowd = smooth_step(texture(rng, hollow.shape, 25) - 0.4, 1.0)
    x, y = scatter(rng, hollow.shape, 9, hollow * crowd * np.float32(0.75 * grade.filled))
    shed = rng.random(len(x)) < 0.25
    stamp_nuclei(rng, density, 'fragment', x[~shed], y[~shed])
    stamp_nuclei(rng, density, 'plasma', x[shed], y[shed])


def paint_gland_tissue(
    rng: np.random.Generator, labels: np.ndarray, grade: GlandGrade, stroma: Stroma | None = None
) -> np.ndarray:
    """Densities ``(h, w, 2)`` of stroma with the glands of a label map (margins included)."""
    shape = labels.shape
    stroma = stroma or draw_stroma(rng)
    geo = _measure(rng, labels, grade)
    along, across = flow(rng, shape, waviness=rng.uniform(3, 10), wavelength=rng.uniform(30, 70))
    around = cv2.GaussianBlur(np.exp(-geo.outside / 28), (0, 0), 6)
    across = across + 42 * around  # fibres wrap around the glands
    density = fibre_density(rng, along, across, stroma.eosin, stroma.loose)
    cleft = max(0.0, rng.normal(3, 6)) * np.clip(0.8 + 0.6 * texture(rng, shape, 50), 0, 2)
    halo = smooth_step(cleft - geo.outside + 1.5 * texture(rng, shape, 4), 2.5) * (cleft > 1)
    density *= (1 - np.float32(0.88) * halo)[..., None]
    free = smooth_step(geo.outside - 6, 4) * (1 - halo)
    add_stroma_cells(rng, density, across, stroma, free)
    _paint_cytoplasm(rng, density, geo, grade)
    _paint_goblets(rng, density, geo, grade)
    _paint_lumen_cells(rng, density, geo, grade)
    _paint_nuclei(rng, density, geo, grade)
    _paint_seams(rng, density, geo)
    return density
