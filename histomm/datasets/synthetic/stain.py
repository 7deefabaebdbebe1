"""Haematoxylin and eosin as optical densities, and how both become colour (Beer-Lambert)."""

from dataclasses import dataclass

import cv2
import numpy as np

from .noise import grain

# Mean optical-density vectors of the two dyes in red, green and blue (unit length). They lie between those of
# Ruifrok and Johnston (2001) and of Macenko et al. (2009), where bright-field scanners put them.
HAEMATOXYLIN = (0.55, 0.79, 0.27)
EOSIN = (0.12, 0.945, 0.30)


@dataclass(frozen=True)
class Stain:
    """How one patient's slide was stained and scanned.

    Attributes:
        vectors: ``(2, 3)`` unit optical-density vectors (natural logarithm) of haematoxylin and eosin in R, G, B.
        strength: ``(2,)`` factors on the two densities.
        light: ``(3,)`` intensity of empty glass in R, G, B, 0 to 255.
        blur: Standard deviation of the focus blur in pixels.
        noise: Standard deviation of the sensor noise in grey levels.
    """

    vectors: np.ndarray
    strength: np.ndarray
    light: np.ndarray
    blur: float
    noise: float


def draw_stain(rng: np.random.Generator) -> Stain:
    """One patient's stain: dye vectors, strengths, glass, focus and sensor vary as between laboratories."""
    vectors = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, [[0.035, 0.02, 0.035], [0.035, 0.02, 0.05]])
    vectors = np.clip(vectors, 0.03, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(rng.normal(0, [0.18, 0.36]) + rng.normal(-0.02, 0.22))
    light = np.clip(rng.normal(247, 3) + rng.normal(0, 2.5, size=3) - [0, 3, 0], 232, 254)
    return Stain(vectors, strength, light, blur=float(rng.uniform(0.4, 0.72)), noise=float(rng.uniform(1.2, 2.6)))


def absorb(density: np.ndarray, stain: Stain) -> np.ndarray:
    r"""Light that passes the tissue, by Beer-Lambert.

    .. math:: I_c = L_c \exp\left(-\sum_{s \in \{H, E\}} k_s\, d_s\, v_{s,c}\right)

    Args:
        density: ``(h, w, 2)`` float32, amounts of haematoxylin and eosin (1 = optical density of natural-log unit).
        stain: Vectors ``v``, strengths ``k`` and light ``L``.

    Returns:
        ``(h, w, 3)`` float32, 0 to 255.
    """
    mixing = -(stain.vectors * stain.strength[:, None]).T
    passed = cv2.exp(cv2.transform(density, mixing.astype(np.float32)))
    return passed * stain.light.astype(np.float32)


def photograph(rng: np.random.Generator, density: np.ndarray, stain: Stain) -> np.ndarray:
    """Picture of the tissue: absorption, focus blur, sensor noise; ``(h, w, 3)`` uint8 RGB."""
    light = cv2.GaussianBlur(absorb(density, stain), (0, 0), stain.blur)
    light += grain(rng, light.shape[:2]) * np.float32(stain.noise)
    return cv2.convertScaleAbs(np.maximum(light, 0, out=light))
