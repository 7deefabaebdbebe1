"""Colour spaces in which stains are told apart, and the question whether an image shows tissue at all.

Images are RGB (H, W, 3) uint8; values in a space are (H, W, 3) float32:

- ``lab``: CIE L*a*b* of sRGB under D65, L in [0, 100];
- ``hsv``: hue in degrees from cyan, which puts stained tissue far from the wrap; saturation and value in [0, 1];
- ``hed``: haematoxylin, eosin and DAB by Ruifrok and Johnston (2001), in natural optical density;
- ``lalphabeta``: logarithmic l, α, β of Ruderman et al. (1998), in which Reinhard et al. (2001) transfer colour.
"""

import cv2
import numpy as np

_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STAINS = (_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)).astype(np.float32)
"""Optical density of R, G and B in one unit of haematoxylin, eosin and DAB, one a row, of unit length."""

UNSTAINED = 240
"""Grey level of light that met no tissue, as Macenko's implementations take it."""

DENSITY = 0.15
"""Optical density from which on a pixel counts as stained, likewise."""

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_OPPONENT = np.diag(1 / np.sqrt([3, 6, 2])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
# the darkest level counts as 1, since black has no logarithm
_DENSITIES = np.log(255 / np.maximum(np.arange(256), 1)).astype(np.float32)


def _map(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``matrix`` times the channels of every pixel."""
    return cv2.transform(np.ascontiguousarray(values, np.float32), matrix.astype(np.float64))


def _levels(image: np.ndarray) -> np.ndarray:
    """Float in [0, 255] to uint8, rounded."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def density(image: np.ndarray) -> np.ndarray:
    """Natural optical density −ln(I/255) of each channel, (H, W, 3) float32; black counts as grey level 1."""
    return _DENSITIES[image]


def from_density(values: np.ndarray) -> np.ndarray:
    """The image of optical densities; what would be brighter than white is white."""
    return _levels(255 * np.exp(-values))


def _to_lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _from_lab(values: np.ndarray) -> np.ndarray:
    values = np.stack([np.clip(values[..., 0], 0, 100), values[..., 1], values[..., 2]], axis=-1)
    return _levels(255 * cv2.cvtColor(values, cv2.COLOR_LAB2RGB))


def _to_hsv(image: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 180) % 360
    return hsv


def _from_hsv(values: np.ndarray) -> np.ndarray:
    hue, others = (values[..., :1] + 180) % 360, np.clip(values[..., 1:], 0, 1)
    return _levels(255 * cv2.cvtColor(np.concatenate([hue, others], axis=-1), cv2.COLOR_HSV2RGB))


def _to_hed(image: np.ndarray) -> np.ndarray:
    return _map(density(image), np.linalg.inv(STAINS.T.astype(np.float64)))


def _from_hed(values: np.ndarray) -> np.ndarray:
    return from_density(_map(values, STAINS.T))


def _to_lalphabeta(image: np.ndarray) -> np.ndarray:
    lms = _map(np.maximum(image, 1), _LMS)
    return _map(np.log(lms), _OPPONENT)


def _from_lalphabeta(values: np.ndarray) -> np.ndarray:
    lms = np.exp(_map(values, np.linalg.inv(_OPPONENT)))
    return _levels(_map(lms, np.linalg.inv(_LMS)))


_SPACES = {
    'lab': (_to_lab, _from_lab),
    'hsv': (_to_hsv, _from_hsv),
    'hed': (_to_hed, _from_hed),
    'lalphabeta': (_to_lalphabeta, _from_lalphabeta),
}
SPACES = tuple(_SPACES)


def to_space(image: np.ndarray, space: str) -> np.ndarray:
    """Values of an image in one of :data:`SPACES`, (H, W, 3) float32."""
    return _SPACES[space][0](image)


def from_space(values: np.ndarray, space: str) -> np.ndarray:
    """The image of values in one of :data:`SPACES`, with colours that uint8 RGB cannot show clipped."""
    return _SPACES[space][1](np.asarray(values, np.float32))


def channel_statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and standard deviation (3,) of the channels over all pixels, float64."""
    mean, std = cv2.meanStdDev(values)
    return mean[:, 0], std[:, 0]


def match_statistics(image: np.ndarray, mean: np.ndarray, std: np.ndarray, space: str) -> np.ndarray:
    """The image with these channel means and standard deviations in ``space`` (Reinhard et al. 2001, eqs. 10 and 11).

    A channel without spread is moved to the mean.
    """
    values = to_space(image, space)
    own_mean, own_std = channel_statistics(values)
    factor = np.where(own_std > 1e-6, std / np.maximum(own_std, 1e-6), 1.0)
    return from_space(values * factor + (mean - own_mean * factor), space)


def stained_share(image: np.ndarray) -> float:
    """Share of pixels in which some channel has the optical density :data:`DENSITY` at least, against 240."""
    limit = UNSTAINED * np.exp(-DENSITY)
    return float((image.min(axis=2) <= limit).mean())
