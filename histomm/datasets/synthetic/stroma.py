"""Connective tissue and what lies in it: fibres, spindle nuclei, lymphocytes, capillaries."""

from dataclasses import dataclass

import numpy as np

from .noise import fibre_angle, fibres, scatter, texture
from .nuclei import stamp_nuclei


@dataclass(frozen=True)
class Stroma:
    """Make-up of a piece of connective tissue.

    Attributes:
        eosin: Mean density of the fibres.
        loose: Share of pale gaps between the fibres, 0 (dense) to 1 (loose).
        spindle: Share of places of a 11-pixel grid that hold a spindle nucleus.
        immune: Share of places of a 9-pixel grid that hold a lymphocyte where these gather.
        blood: Share of the area with capillaries full of red cells.
    """

    eosin: float
    loose: float
    spindle: float
    immune: float
    blood: float


def draw_stroma(rng: np.random.Generator) -> Stroma:
    """A make-up at random, from dense collagen to loose lamina propria."""
    return Stroma(
        eosin=float(rng.uniform(0.42, 0.68)),
        loose=float(rng.uniform(0.15, 0.75)),
        spindle=float(rng.uniform(0.12, 0.45)),
        immune=float(rng.uniform(0.25, 0.85) ** 1.3),
        blood=float(max(0.0, rng.uniform(-0.02, 0.03))),
    )


def smooth_step(value: np.ndarray, width: float) -> np.ndarray:
    """0 below ``-width / 2``, 1 above ``width / 2``, linear between."""
    return np.clip(value * np.float32(1 / width) + np.float32(0.5), 0, 1)


def fibre_density(
    rng: np.random.Generator, along: np.ndarray, across: np.ndarray, eosin: float, loose: float
) -> np.ndarray:
    """Densities ``(h, w, 2)`` of a bed of fibres without cells; see :func:`~.noise.flow` for the coordinates."""
    shape = along.shape
    broad = fibres(rng, along, across, 44, 7)
    fine = fibres(rng, along, across, 22, 2.6)
    cloud = texture(rng, shape, 30)
    thread = fibres(rng, along, across, 16, 1.6)
    level = 1 + 0.13 * broad + 0.18 * fine + 0.15 * thread + 0.16 * cloud
    ridge = np.square(fibres(rng, along, across, 50, 5))
    crack = np.square(fibres(rng, along, across, 30, 4.5))
    level += 0.22 * np.exp(-ridge / 0.06) - np.float32(0.2 + 0.35 * loose) * np.exp(-crack / 0.05)
    level += 0.13 * texture(rng, shape, 1.2) + 0.17 * texture(rng, shape, 3.5)
    cleft = fibres(rng, along, across, 26, 5) + 0.7 * cloud + 0.45 * fine + 0.2 * thread
    cleft += 0.4 * texture(rng, shape, 3.5) + 0.4 * texture(rng, shape, 8)
    gap = smooth_step(cleft - np.float32(1.9 - 2.2 * loose), 0.8)
    level *= 1 - np.float32(0.45 + 0.45 * loose) * gap
    density = np.empty((*shape, 2), np.float32)
    density[..., 1] = np.maximum(level, 0.03) * np.float32(eosin)
    density[..., 0] = np.maximum(0.10 + 0.05 * broad + 0.04 * texture(rng, shape, 6), 0.01) * (1 - 0.7 * gap)
    return density


def add_stroma_cells(
    rng: np.random.Generator, density: np.ndarray, across: np.ndarray, stroma: Stroma, free: np.ndarray | float = 1.0
) -> None:
    """Draw cells of connective tissue in place.

    Args:
        rng: Generator of the picture.
        density: ``(h, w, 2)`` canvas.
        across: ``(h, w)`` coordinate across the fibres; spindle nuclei lie along its level lines.
        stroma: Make-up.
        free: Chance in [0, 1] that a place may hold a cell, ``(h, w)`` or one number.
    """
    shape = across.shape
    if stroma.blood > 0:
        add_capillaries(rng, density, stroma.blood, free)
    x, y = scatter(
        rng, shape, 11, free * np.float32(stroma.spindle) * np.clip(0.8 + 0.7 * texture(rng, shape, 28), 0.1, 1.4)
    )
    angle = fibre_angle(across, x, y) + rng.normal(0, 0.25, size=len(x))
    stamp_nuclei(rng, density, 'spindle', x, y, angle, tone=(0.35, 1.15))
    crowd = 0.12 + smooth_step(texture(rng, shape, 45) + np.float32(1.6 * stroma.immune - 1.0), 1.2)
    x, y = scatter(rng, shape, 9, free * crowd * np.float32(0.15 + 0.8 * stroma.immune))
    plasma = rng.random(len(x)) < 0.35
    stamp_nuclei(rng, density, 'plasma', x[plasma], y[plasma], tone=(0.5, 1.1))
    stamp_nuclei(rng, density, 'lymphocyte', x[~plasma], y[~plasma], tone=(0.55, 1.15))


def add_capillaries(rng: np.random.Generator, density: np.ndarray, share: float, free: np.ndarray | float) -> None:
    """Red cells packed in small pale spots that cover about ``share`` of the canvas, in place."""
    shape = density.shape[:2]
    field = texture(rng, shape, 20)
    level = np.quantile(field[::7, ::7], 1 - share)
    inside = smooth_step(field - np.float32(level), 0.3) * free
    density *= (1 - np.float32(0.7) * inside)[..., None]
    x, y = scatter(rng, shape, 6, inside)
    stamp_nuclei(rng, density, 'red cell', x, y)
