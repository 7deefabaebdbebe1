"""Mirroring, turning by any angle, shifting and resizing of whole pictures."""

import math

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.geometric import _apply, _check_probability, resize, resize_labels
from histomm.registry import TRANSFORMS

_BORDERS = {'reflect': cv2.BORDER_REFLECT_101, 'white': cv2.BORDER_CONSTANT}
_NOWHERE = (math.nan,) * 4


def warp(image: np.ndarray, angle: float, shift: tuple[float, float], border: str = 'reflect') -> np.ndarray:
    """Turn a picture around its middle and shift it; it keeps its size.

    Args:
        image: (H, W) or (H, W, 3); label maps, of two dimensions, take the nearest label and 0 beyond the border.
        angle: Degrees, counter-clockwise.
        shift: To the right and down, in pixels.
        border: 'reflect' mirrors the picture at the middle of its outermost pixels, 'white' fills with 255.
    """
    height, width = image.shape[:2]
    place = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    place[:, 2] += shift
    if image.ndim == 2:
        return cv2.warpAffine(image, place, (width, height), flags=cv2.INTER_NEAREST)
    return _warp_pixels(image, cv2.invertAffineTransform(place), border)


def _warp_pixels(image: np.ndarray, source: np.ndarray, border: str) -> np.ndarray:
    """(H, W, 3) uint8 with the pixel at x taken from ``source`` · (x, 1), bilinear.

    OpenCV is three times as fast on four channels that it never has to look beyond the border of: what lies there is
    put around the picture before.

    Args:
        image: (H, W, 3) uint8.
        source: (2, 3).
        border: See :func:`warp`.
    """
    height, width = image.shape[:2]
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    places = source @ corners
    left, top = np.maximum(1 - np.floor(places.min(1)), 0).astype(int)
    right, bottom = np.maximum(np.ceil(places.max(1)) + 2 - (width, height), 0).astype(int)
    around = cv2.copyMakeBorder(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), top, bottom, left, right, _BORDERS[border], value=(255,) * 4
    )
    source = np.column_stack([source[:, :2], source[:, 2] + (left, top)])
    turned = cv2.warpAffine(around, source, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB)


@TRANSFORMS.register_module()
class RandomMirror(RandomTransform):
    """With probability ``prob`` mirror left-right, top-bottom or both, each as likely, and record it.

    :class:`~histomm.datasets.transforms.RandomFlip` draws for each direction by itself instead.

    **Required keys:** img

    **Modified keys:** img, and the label maps named in seg_fields, if any

    **Added keys:** hflip (bool), vflip (bool)

    Args:
        prob: Probability that the image is mirrored at all.

    Raises:
        ValueError: a probability outside [0, 1], or the image has already been turned.
    """

    def __init__(self, prob: float = 0.3) -> None:
        self.prob = _check_probability('RandomMirror', 'prob', prob)

    def transform(self, results: dict) -> dict:
        """Mirror the image and its label maps."""
        if results.get('rot90'):
            raise ValueError('RandomMirror: the image is already turned; put RandomMirror before RandomRotate90')
        rng = self.generator(results)
        mirrored, code = rng.random() < self.prob, int(rng.integers(-1, 2))
        if mirrored:
            _apply(results, lambda image: cv2.flip(image, code))
        results['hflip'] = results.get('hflip', False) ^ bool(mirrored and code != 0)
        results['vflip'] = results.get('vflip', False) ^ bool(mirrored and code != 1)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class RandomAffine(RandomTransform):
    """Turn by an angle U(−angle, angle) around the middle and shift by a share U(−translate, translate) of each side.

    A turned picture shows no rectangle of its source: ``crop_box`` becomes NaN, so that no method takes its places for
    those of the source.

    **Required keys:** img

    **Modified keys:** img, and the label maps named in seg_fields, if any (nearest label, 0 beyond the border)

    **Added keys:** crop_box, of NaN, where the image was changed

    Args:
        angle: Largest angle in degrees, or (min, max), counter-clockwise.
        translate: Largest shift as a share of the side, or (min, max), to the right and down.
        prob: Probability that the image is changed at all.
        border: 'reflect' or 'white', see :func:`warp`.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        angle: float | tuple[float, float] = 0.0,
        translate: float | tuple[float, float] = 0.0,
        prob: float = 0.5,
        border: str = 'reflect',
    ) -> None:
        self.angle = self._bounds('angle', angle, 180)
        self.translate = self._bounds('translate', translate, 1)
        self.prob = _check_probability('RandomAffine', 'prob', prob)
        if border not in _BORDERS:
            raise ValueError(f'RandomAffine: border is {border!r}, expected one of {[*_BORDERS]}')
        self.border = border

    @staticmethod
    def _bounds(name: str, value: float | tuple[float, float], most: float) -> tuple[float, float]:
        bounds = (-value, value) if isinstance(value, int | float) else tuple(value)
        if len(bounds) != 2 or not -most <= bounds[0] <= bounds[1] <= most:
            raise ValueError(f'RandomAffine: {name} is {value}, expected a number or (min, max) within ±{most}')
        return bounds

    def transform(self, results: dict) -> dict:
        """Turn and shift the image and its label maps."""
        rng = self.generator(results)
        if rng.random() < self.prob:
            angle, right, down = rng.uniform(*self.angle), rng.uniform(*self.translate), rng.uniform(*self.translate)
            height, width = results['img'].shape[:2]
            _apply(results, lambda image: warp(image, angle, (right * width, down * height), self.border))
            results['crop_box'] = _NOWHERE
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(angle={self.angle}, translate={self.translate}, prob={self.prob}, '
            f'border={self.border!r})'
        )


@TRANSFORMS.register_module()
class ResizeWhole(BaseTransform):
    """Resize the whole image to one size, whatever its shape was.

    **Required keys:** img

    **Modified keys:** img, img_shape, and the label maps named in seg_fields, if any

    Args:
        size: Side, or (height, width).
        interpolation: 'bilinear' or 'bicubic', antialiased where it shrinks.

    Raises:
        ValueError: the size is not positive, or an unknown interpolation.
    """

    def __init__(self, size: int | tuple[int, int], interpolation: str = 'bilinear') -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f'ResizeWhole: size is {size}, expected a positive side or (height, width)')
        if interpolation not in ('bilinear', 'bicubic'):
            raise ValueError(f"ResizeWhole: interpolation is {interpolation!r}, expected 'bilinear' or 'bicubic'")
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize the image and its label maps."""
        _apply(
            results,
            lambda image: resize(image, self.size, self.interpolation),
            lambda labels: resize_labels(labels, self.size),
        )
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, interpolation={self.interpolation!r})'
