"""Fields of nuclei at 40x with the truth of every nucleus."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from .noise import fibre_angle, flow, scatter, texture
from .nuclei import MARGIN, Placed, stamp_nuclei
from .stroma import draw_stroma, fibre_density, smooth_step
from .tissue import canvas, check_size, picture

_CELL_STREAM = 5
_ZOOM = 2  # nuclei are drawn at 20x
_BEYOND = 2  # pixels by which outlines may leave the picture, as those of annotators do
_SLIVER = 12  # pixels in the picture; who sees less of a nucleus does not annotate it

CLASSES = {'plasma': 2, 'lymphocyte': 2, 'tumour': 4, 'spindle': 5}
"""Codes of CoNSeP for the kinds of nuclei drawn: inflammatory, malignant epithelial, fibroblast."""


class NucleiPicture(NamedTuple):
    """A picture with its truth."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    labels: np.ndarray
    """(H, W) uint16: 0 outside of nuclei, 1..N those that are visible; a later one lies over an earlier one."""
    types: np.ndarray
    """(N,) uint8, :data:`CLASSES`."""
    outlines: list[np.ndarray]
    """N times (n, 2) integers: x and y of the pixels along the border of each nucleus, what others hide included."""


def _tissue(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, list[tuple[str, Placed]]]:
    """Densities of nests of tumour cells in stroma, and the nuclei in them in the order in which they were drawn."""
    along, across = flow(rng, shape, 12, 45)
    stroma = draw_stroma(rng)
    density = fibre_density(rng, along, across, stroma.eosin, stroma.loose)
    nest = texture(rng, shape, 45) + 0.12 * texture(rng, shape, 6) + np.float32(rng.uniform(-0.3, 1.2))
    inside = smooth_step(nest, 0.12)
    cell = np.empty_like(density)
    cell[..., 0] = rng.uniform(0.15, 0.3) * (1 + 0.22 * texture(rng, shape, 8) + 0.2 * texture(rng, shape, 1.4))
    cell[..., 1] = rng.uniform(0.40, 0.75) * (1 + 0.15 * texture(rng, shape, 8) + 0.15 * texture(rng, shape, 1.4))
    density += inside[..., None] * (cell - density)

    nuclei: list[tuple[str, Placed]] = []

    def stamp(kind: str, x: np.ndarray, y: np.ndarray, angle: np.ndarray | None = None) -> None:
        nuclei.extend((kind, placed) for placed in stamp_nuclei(rng, density, kind, x, y, angle, tone=(0.75, 1.2)))

    x, y = scatter(rng, shape, 16, (1 - inside) * np.float32(stroma.spindle + 0.1))
    stamp('spindle', x, y, fibre_angle(across, x, y) + rng.normal(0, 0.25, size=len(x)))
    x, y = scatter(rng, shape, 13, (1 - inside) * np.float32(0.5 * stroma.immune))
    plasma = rng.random(len(x)) < 0.35
    stamp('plasma', x[plasma], y[plasma])
    stamp('lymphocyte', x[~plasma], y[~plasma])
    stamp('tumour', *scatter(rng, shape, rng.uniform(17, 22), 0.9 * smooth_step(nest - 0.15, 0.1)))
    return density, nuclei


def _outline(placed: Placed, width: int, height: int) -> np.ndarray | None:
    """(n, 2) pixels along the border of a nucleus in the picture of this size; None if hardly any of it is inside."""
    size = placed.cover.shape[0] * _ZOOM
    mask = cv2.resize(placed.cover[..., 0], (size, size), interpolation=cv2.INTER_LINEAR) > 0.5
    left, top = ((centre - size // (2 * _ZOOM) - MARGIN) * _ZOOM for centre in (placed.x, placed.y))
    columns, rows = np.arange(left, left + size), np.arange(top, top + size)
    mask &= ((columns >= -_BEYOND) & (columns < width + _BEYOND))[None]
    mask &= ((rows >= -_BEYOND) & (rows < height + _BEYOND))[:, None]
    shown = mask & ((columns >= 0) & (columns < width))[None] & ((rows >= 0) & (rows < height))[:, None]
    if shown.sum() < _SLIVER:
        return None
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(borders, key=cv2.contourArea)[:, 0].astype(int) + np.array([left, top])


def _fill(outlines: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """(H, W) uint16 map of areas with these pixels as their border, later ones over earlier ones."""
    # Outlines that leave the picture are filled on a larger one: OpenCV clips their lines inexactly.
    labels = np.zeros((height + 2 * _BEYOND, width + 2 * _BEYOND), np.uint16)
    for number, outline in enumerate(outlines, 1):
        cv2.fillPoly(labels, [(outline + _BEYOND).astype(np.int32)], number)
    return np.ascontiguousarray(labels[_BEYOND:-_BEYOND, _BEYOND:-_BEYOND])


def draw_nuclei(size: int | tuple[int, int] = 1000, seed: int = 0, patient: int = 0, index: int = 0) -> NucleiPicture:
    """A field of tumour at 40x (0.25 µm a pixel) with every nucleus.

    Nests of tumour cells, lymphocytes, plasma cells and fibroblasts. Nuclei of which less than 12 pixels are in the
    picture, and those that others hide, are in no truth.

    Args:
        size: Side, or ``(width, height)``, in pixels.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the picture; equal arguments give equal bytes.

    Raises:
        ValueError: Impossible size.
    """
    width, height = check_size(size)
    half = max(32, math.ceil(width / _ZOOM)), max(32, math.ceil(height / _ZOOM))
    rng = np.random.default_rng([_CELL_STREAM, seed, patient, index])
    density, nuclei = _tissue(rng, canvas(half))
    image = picture(rng, density, seed, patient, zoom=_ZOOM)[:height, :width]
    found = [(CLASSES[kind], _outline(placed, width, height)) for kind, placed in nuclei]
    found = [(code, outline) for code, outline in found if outline is not None]
    visible = np.unique(_fill([outline for _, outline in found], width, height))
    found = [found[number - 1] for number in visible[visible > 0].tolist()]
    outlines = [outline for _, outline in found]
    types = np.array([code for code, _ in found], np.uint8)
    return NucleiPicture(np.ascontiguousarray(image), _fill(outlines, width, height), types, outlines)
