"""Nuclei of several kinds as small density stamps with chromatin, rim and nucleoli."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

MARGIN = 40  # pixels that a canvas keeps around the picture, so that nuclei may be cut by its border

_SHAPES = 24
_ANGLES = 16


@dataclass(frozen=True)
class NucleusKind:
    """Appearance of a kind of nucleus at 20x (about 0.5 micrometres a pixel).

    Attributes:
        long: Range of the longer half axis in pixels.
        ratio: Range of shorter over longer half axis.
        bumps: Amplitude of irregularities of the outline, as a share of the radius.
        haematoxylin: Range of the mean density.
        eosin: Density of eosin inside.
        clumps: Relative contrast of chromatin.
        rim: Relative extra density at the nuclear membrane.
        nucleoli: Largest number of nucleoli.
    """

    long: tuple[float, float]
    ratio: tuple[float, float]
    bumps: float
    haematoxylin: tuple[float, float]
    eosin: float
    clumps: float
    rim: float
    nucleoli: int


KINDS = {
    'lymphocyte': NucleusKind((3.1, 4.8), (0.84, 1.0), 0.025, (1.2, 1.75), 0.35, 0.24, 0.15, 0),
    'plasma': NucleusKind((4.0, 5.6), (0.68, 0.95), 0.035, (0.9, 1.4), 0.45, 0.28, 0.25, 0),
    'columnar': NucleusKind((6.5, 10.5), (0.34, 0.54), 0.035, (0.85, 1.45), 0.50, 0.24, 0.25, 1),
    'crypt': NucleusKind((4.6, 6.8), (0.55, 0.85), 0.04, (1.0, 1.5), 0.45, 0.26, 0.20, 0),
    'tumour': NucleusKind((5.5, 10.5), (0.50, 0.85), 0.045, (0.6, 1.25), 0.50, 0.36, 0.45, 2),
    'spindle': NucleusKind((5.0, 12.0), (0.14, 0.34), 0.06, (0.8, 1.35), 0.50, 0.20, 0.15, 0),
    'fragment': NucleusKind((1.2, 3.4), (0.6, 1.0), 0.06, (0.9, 1.9), 0.40, 0.20, 0.10, 0),
    'red cell': NucleusKind((3.0, 4.0), (0.75, 1.0), 0.05, (0.02, 0.06), 1.0, 0.10, 0.60, 0),
}


@dataclass(frozen=True)
class Stamp:
    """One drawn nucleus: ``cover`` ``(d, d, 1)`` in [0, 1] and ``density`` ``(d, d, 2)``, d odd."""

    cover: np.ndarray
    density: np.ndarray


def _stamp(rng: np.random.Generator, kind: NucleusKind, angle: float) -> Stamp:
    a = rng.uniform(*kind.long)
    b = a * rng.uniform(*kind.ratio)
    half = math.ceil(a * (1 + 2 * kind.bumps)) + 2
    ys, xs = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    u = xs * math.cos(angle) + ys * math.sin(angle)
    v = ys * math.cos(angle) - xs * math.sin(angle)
    v = v + rng.normal(0, 0.45) * (1 - b / a) * b * ((u / a) ** 2 - 0.3)  # slender nuclei are bent
    phi = np.arctan2(v / b, u / a)
    outline = 1 + sum(rng.normal(0, kind.bumps) * np.cos(k * phi + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    depth = (1 - np.hypot(u / a, v / b) / outline) * b  # about the distance to the outline in pixels
    cover = np.clip(depth + 0.5, 0, 1)
    chromatin = cv2.GaussianBlur(rng.standard_normal(xs.shape).astype(np.float32), (0, 0), 1.1)
    chromatin /= chromatin.std()
    tone = 1 + kind.clumps * chromatin + kind.rim * (np.exp(-((depth - 0.6) ** 2) / 1.5) - 0.35)
    for _ in range(rng.integers(kind.nucleoli + 1)):
        x0, y0 = rng.uniform(-0.45, 0.45, size=2) * (a, b)
        tone += 0.9 * np.exp(-((u - x0) ** 2 + (v - y0) ** 2) / rng.uniform(1.5, 3.5))
    base = rng.uniform(*kind.haematoxylin)
    haem = base * np.clip(tone, 0.25, 1.9)
    eosin = kind.eosin * (haem / base if base < 0.1 else np.ones_like(haem))
    return Stamp(cover[..., None].astype(np.float32), np.stack([haem, eosin], axis=-1).astype(np.float32))


class Placed(NamedTuple):
    """A nucleus that was drawn: its centre in pixels of the canvas, and its ``cover``, see :class:`Stamp`."""

    x: int
    y: int
    cover: np.ndarray


@lru_cache(maxsize=len(KINDS))
def _stamps(name: str) -> list[list[Stamp]]:
    """Bank ``[angle][shape]`` of a kind, the same in every run."""
    kind = KINDS[name]
    rng = np.random.default_rng([77, list(KINDS).index(name)])
    return [[_stamp(rng, kind, math.pi * i / _ANGLES) for _ in range(_SHAPES)] for i in range(_ANGLES)]


def stamp_nuclei(
    rng: np.random.Generator,
    density: np.ndarray,
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    angle: np.ndarray | None = None,
    tone: tuple[float, float] = (0.8, 1.2),
) -> list[Placed]:
    """Draw nuclei into a canvas, in place.

    Args:
        rng: Generator of the picture.
        density: ``(h, w, 2)`` float32 canvas; nuclei nearer to its border than their own size are left out, so the
            canvas should be larger than the picture by :data:`MARGIN` on each side.
        name: Key of :data:`KINDS`.
        x: ``(n,)`` integer columns of the centres.
        y: ``(n,)`` integer rows.
        angle: ``(n,)`` direction of the long axis in radians; drawn at random if None.
        tone: Range of a factor on the haematoxylin of each nucleus.

    Returns:
        What was drawn, in this order: later nuclei lie over earlier ones.
    """
    h, w = density.shape[:2]
    bank = _stamps(name)
    angle = rng.uniform(0, math.pi, size=len(x)) if angle is None else angle
    turn = np.round(np.asarray(angle) * (_ANGLES / math.pi)).astype(int) % _ANGLES
    shape = rng.integers(_SHAPES, size=len(x))
    tones = np.ones((len(x), 2), np.float32)
    tones[:, 0] = rng.uniform(*tone, size=len(x))
    placed = []
    for cx, cy, i, j, factor in zip(x.tolist(), y.tolist(), turn.tolist(), shape.tolist(), tones, strict=True):
        stamp = bank[i][j]
        half = stamp.cover.shape[0] // 2
        if cx < half or cy < half or cx >= w - half or cy >= h - half:
            continue
        part = density[cy - half : cy + half + 1, cx - half : cx + half + 1]
        part += stamp.cover * (stamp.density * factor - part)
        placed.append(Placed(cx, cy, stamp.cover))
    return placed
