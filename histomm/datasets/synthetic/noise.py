"""Random fields and fibre textures, taken from one small bank so that a patch costs milliseconds.

Shapes: ``(h, w)`` is always the canvas in pixels. All fields are float32 with mean 0 and standard deviation about 1.
"""

import math
from functools import lru_cache

import cv2
import numpy as np

_PERIOD = 512
_BANK_SEED = 20240229


@lru_cache(maxsize=1)
def _bank() -> tuple[np.ndarray, ...]:
    """Periodic Gaussian fields with a correlation length of 2 pixels, the same in every run."""
    rng = np.random.default_rng(_BANK_SEED)
    freq = np.fft.fftfreq(_PERIOD)
    low_pass = np.exp(-2 * (math.pi * 2.0) ** 2 * (freq[:, None] ** 2 + freq[None, :] ** 2) / 2)
    fields = []
    for _ in range(4):
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_PERIOD, _PERIOD))) * low_pass).real
        fields.append((field / field.std()).astype(np.float32))
    return tuple(fields)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """White noise for the sensor, ``(period, period, 3)``."""
    rng = np.random.default_rng(_BANK_SEED + 1)
    return rng.standard_normal((_PERIOD, _PERIOD, 3)).astype(np.float32)


def _wrapped(field: np.ndarray, top: int, left: int, h: int, w: int) -> np.ndarray:
    if top + h <= _PERIOD and left + w <= _PERIOD:
        return field[top : top + h, left : left + w]
    rows = np.arange(top, top + h) % _PERIOD
    cols = np.arange(left, left + w) % _PERIOD
    return field[rows[:, None], cols[None, :]]


def texture(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """A smooth random field whose details measure about ``scale`` pixels (``scale`` >= 1)."""
    h, w = shape
    step = scale / 2
    field = _bank()[rng.integers(4)]
    top, left = (int(v) for v in rng.integers(_PERIOD, size=2))
    small_h, small_w = math.ceil(h / step) + 2, math.ceil(w / step) + 2
    crop = _wrapped(field, top, left, small_h, small_w)
    if rng.random() < 0.5:
        crop = crop.T if h == w else crop[::-1]
    if step == 1:
        return np.ascontiguousarray(crop[:h, :w])
    size = (math.ceil(small_w * step), math.ceil(small_h * step))
    big = cv2.resize(np.ascontiguousarray(crop), size, interpolation=cv2.INTER_LINEAR if step < 4 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(big[:h, :w])


def grain(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """White noise ``(h, w, 3)``."""
    top, left = (int(v) for v in rng.integers(_PERIOD, size=2))
    return _wrapped(_grain(), top, left, *shape)


def fibres(rng: np.random.Generator, along: np.ndarray, across: np.ndarray, length: float, width: float) -> np.ndarray:
    """Streaks that run along the level lines of ``across``.

    Args:
        rng: Generator of the picture.
        along: ``(h, w)`` float32, coordinate along the fibres in pixels.
        across: ``(h, w)`` float32, coordinate across the fibres in pixels; its level lines are the fibres.
        length: Typical length of a streak in pixels.
        width: Typical width of a streak in pixels.
    """
    field = _bank()[rng.integers(4)]
    shift = rng.uniform(0, _PERIOD, size=2)
    map_x = along * np.float32(2 / length) + np.float32(shift[0])
    map_y = across * np.float32(2 / width) + np.float32(shift[1])
    return cv2.remap(field, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def flow(
    rng: np.random.Generator, shape: tuple[int, int], waviness: float, wavelength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates ``(along, across)`` of a wavy bundle of fibres in a random direction.

    Args:
        rng: Generator of the picture.
        shape: ``(h, w)``.
        waviness: Sideways swing of a fibre in pixels.
        wavelength: Distance in pixels over which it swings.
    """
    h, w = shape
    angle = rng.uniform(0, math.pi)
    ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
    along = xs * np.float32(math.cos(angle)) + ys * np.float32(math.sin(angle))
    across = ys * np.float32(math.cos(angle)) - xs * np.float32(math.sin(angle))
    across += np.float32(waviness) * texture(rng, shape, wavelength)
    return along, across


def fibre_angle(across: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction in radians of the level lines of ``across`` at integer pixel positions."""
    h, w = across.shape
    x0, x1 = np.clip(x - 2, 0, w - 1), np.clip(x + 2, 0, w - 1)
    y0, y1 = np.clip(y - 2, 0, h - 1), np.clip(y + 2, 0, h - 1)
    return np.arctan2(-(across[y, x1] - across[y, x0]), across[y1, x] - across[y0, x])


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float, chance: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Integer positions ``(x, y)`` on a jittered grid, each kept with the chance that holds at its place.

    Args:
        rng: Generator of the picture.
        shape: ``(h, w)``.
        spacing: Mesh of the grid in pixels; two positions are seldom nearer than half of it.
        chance: Probability in [0, 1], one number or an ``(h, w)`` map.
    """
    h, w = shape
    rows, cols = max(1, round(h / spacing)), max(1, round(w / spacing))
    gy, gx = np.mgrid[0:rows, 0:cols].astype(np.float32)
    jitter = rng.uniform(-0.42, 0.42, size=(2, rows, cols))
    y = np.clip(((gy + 0.5 + jitter[0]) * h / rows).astype(int), 0, h - 1).ravel()
    x = np.clip(((gx + 0.5 * (gy % 2) + 0.25 + jitter[1]) * w / cols).astype(int), 0, w - 1).ravel()
    limit = chance[y, x] if isinstance(chance, np.ndarray) else chance
    keep = rng.random(x.size) < limit
    return x[keep], y[keep]
