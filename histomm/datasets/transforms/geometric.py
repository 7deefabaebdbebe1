"""Crop, flips and quarter turns that write down where a view came from.

The record is ``crop_box`` (x1, y1, x2, y2) in source pixels, then ``hflip``, then ``vflip``, then ``rot90``
counter-clockwise quarter turns. A pipeline that applies them in another order is refused, because the record could not
describe it.

Label maps, which the loaders of mmseg list in ``seg_fields``, go through the same crop, flips and turns as the image.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from histomm.datasets.transforms.base import RandomTransform
from histomm.datasets.transforms.resizing import INTERPOLATIONS, resize, resize_labels
from histomm.registry import TRANSFORMS


def _check_probability(owner: str, name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f'{owner}: {name} is {value}, expected a probability in [0, 1]')
    return float(value)


def _apply(results: dict, change: Callable[[np.ndarray], np.ndarray], to_labels: Callable | None = None) -> None:
    """Change the image, and the label maps in ``seg_fields`` alike or by ``to_labels``.

    Raises:
        ValueError: a label map of another size than the image.
    """
    size = results['img'].shape[:2]
    results['img'] = change(results['img'])
    for key in results.get('seg_fields', ()):
        if results[key].shape[:2] != size:
            raise ValueError(
                f'{results.get("img_path", "an image")} is {size}, its label map {key} {results[key].shape[:2]}, '
                'expected the same height and width; correct the files'
            )
        results[key] = (to_labels or change)(results[key])


def _refuse_turned(owner: str, results: dict) -> None:
    if results.get('hflip') or results.get('vflip') or results.get('rot90'):
        raise ValueError(f'{owner}: the image is already flipped or turned; put crops first')


def _crop_box(results: dict, top: int, left: int, height: int, width: int) -> tuple[float, float, float, float]:
    """A rectangle of the image as it is now, in source pixels."""
    rows, columns = results['img'].shape[:2]
    x1, y1, x2, y2 = results.get('crop_box', (0.0, 0.0, float(columns), float(rows)))
    sx, sy = (x2 - x1) / columns, (y2 - y1) / rows
    return x1 + left * sx, y1 + top * sy, x1 + (left + width) * sx, y1 + (top + height) * sy


@TRANSFORMS.register_module()
class RandomResizedCrop(RandomTransform):
    """Crop a random rectangle and resize it, with the sampling law of torchvision, and record the rectangle.

    Area share U(scale) and log aspect U(log ratio), up to ten tries to fit, else the largest central crop within
    ``ratio``. Crops have whole-pixel sides and are at least one pixel; an image smaller than ``size`` is enlarged.

    **Required keys:** img

    **Modified keys:** img, img_shape, and the label maps named in seg_fields, if any, by :func:`resize_labels`

    **Added keys:** crop_box (x1, y1, x2, y2) floats in source pixels; a second crop is expressed in them too

    Args:
        size: Side of the view, or (height, width).
        scale: Bounds of the area share, 0 < min <= max <= 1.
        ratio: Bounds of width / height.
        interpolation: 'bilinear' or 'bicubic', antialiased where it shrinks.

    Raises:
        ValueError: a bad argument, or the image has already been flipped or turned.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f'RandomResizedCrop: size is {size}, expected a positive side or (height, width)')
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f'RandomResizedCrop: scale is {scale}, expected 0 < min <= max <= 1')
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'RandomResizedCrop: ratio is {ratio}, expected 0 < min <= max')
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f'RandomResizedCrop: interpolation is {interpolation!r}, expected one of {[*INTERPOLATIONS]}'
            )
        self.scale, self.ratio, self.interpolation = tuple(scale), tuple(ratio), interpolation
        self.log_ratio = (math.log(ratio[0]), math.log(ratio[1]))

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """A rectangle (top, left, height, width) in an image of ``height`` × ``width`` pixels."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(*self.log_ratio))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        w, h = width, height
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w

    def transform(self, results: dict) -> dict:
        """Crop the image and its label maps."""
        _refuse_turned('RandomResizedCrop', results)
        if 'drawn_crop' in results:
            return self._crop_reduced(results, *results.pop('drawn_crop'))
        height, width = results['img'].shape[:2]
        top, left, h, w = self.draw(height, width, self.generator(results))
        results['crop_box'] = _crop_box(results, top, left, h, w)
        rows, cols = slice(top, top + h), slice(left, left + w)
        _apply(
            results,
            lambda image: resize(image[rows, cols], self.size, self.interpolation),
            lambda labels: resize_labels(labels[rows, cols], self.size),
        )
        results['img_shape'] = self.size
        return results

    def _crop_reduced(self, results: dict, rectangle: tuple[int, int, int, int], reduction: int) -> dict:
        """Crop an image that was decoded at 1/``reduction`` of its size by a rectangle of the whole one.

        Edges go to the nearest pixel that was decoded, which is at most half a pixel of the view away: the crop is at
        least as large as the view.
        """
        top, left, h, w = rectangle
        results['crop_box'] = tuple(map(float, (left, top, left + w, top + h)))
        x1, y1, x2, y2 = (math.floor(edge / reduction + 0.5) for edge in results['crop_box'])
        results['img'] = resize(results['img'][y1:y2, x1:x2], self.size, self.interpolation)
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, '
            f'interpolation={self.interpolation!r})'
        )


@TRANSFORMS.register_module()
class RandomCrop(RandomTransform):
    """Cut a rectangle of a fixed size from a random place, each as likely, and record it.

    **Required keys:** img

    **Modified keys:** img, img_shape, and the label maps named in seg_fields, if any

    **Added keys:** crop_box (x1, y1, x2, y2) floats in source pixels; a second crop is expressed in them too

    Args:
        size: Side of the view, or (height, width), in pixels.

    Raises:
        ValueError: a bad argument, the image is smaller than the crop, or has already been flipped or turned.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f'RandomCrop: size is {size}, expected a positive side or (height, width)')

    def draw(
        self, height: int, width: int, rng: np.random.Generator, path: str = 'the image'
    ) -> tuple[int, int, int, int]:
        """A rectangle (top, left, height, width) in an image of ``height`` × ``width`` pixels, named ``path``."""
        h, w = self.size
        if height < h or width < w:
            raise ValueError(
                f'RandomCrop: {path} has {width}×{height} pixels, expected at least {w}×{h}; '
                'leave it out or choose a smaller size'
            )
        return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w

    def transform(self, results: dict) -> dict:
        """Crop the image and its label maps."""
        _refuse_turned('RandomCrop', results)
        path = results.get('img_path', 'the image')
        top, left, h, w = self.draw(*results['img'].shape[:2], self.generator(results), path)
        results['crop_box'] = _crop_box(results, top, left, h, w)
        _apply(results, lambda image: np.ascontiguousarray(image[top : top + h, left : left + w]))
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'


@TRANSFORMS.register_module()
class RandomFlip(RandomTransform):
    """Flip left-right and top-bottom, each by its own draw, and record it.

    Two flips of one view compose. One number is always drawn for each direction, so that changing a probability does
    not shift the draws of later transforms.

    **Required keys:** img

    **Modified keys:** img, and the label maps named in seg_fields, if any

    **Added keys:** hflip (bool), vflip (bool)

    Args:
        prob_h: Probability of the left-right flip.
        prob_v: Probability of the top-bottom flip.

    Raises:
        ValueError: a probability outside [0, 1], or the image has already been turned.
    """

    def __init__(self, prob_h: float = 0.5, prob_v: float = 0.0) -> None:
        self.prob_h = _check_probability('RandomFlip', 'prob_h', prob_h)
        self.prob_v = _check_probability('RandomFlip', 'prob_v', prob_v)

    def draw(self, rng: np.random.Generator) -> tuple[bool, bool]:
        """Whether to flip left-right, and whether top-bottom."""
        draws = rng.random(2)
        return bool(draws[0] < self.prob_h), bool(draws[1] < self.prob_v)

    def transform(self, results: dict) -> dict:
        """Flip the image and its label maps."""
        if results.get('rot90'):
            raise ValueError('RandomFlip: the image is already turned; put RandomFlip before RandomRotate90')
        flip_h, flip_v = self.draw(self.generator(results))
        if flip_h or flip_v:
            code = -1 if flip_h and flip_v else int(flip_h)
            _apply(results, lambda image: cv2.flip(image, code))
        results['hflip'] = results.get('hflip', False) ^ flip_h
        results['vflip'] = results.get('vflip', False) ^ flip_v
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob_h={self.prob_h}, prob_v={self.prob_v})'


@TRANSFORMS.register_module()
class RandomRotate90(RandomTransform):
    """Turn by one, two or three quarter turns, each as likely, with probability ``prob``, and record it.

    ``prob=0.75`` makes all four orientations equally likely. Two turns of one view compose.

    **Required keys:** img, of square shape, since views of one batch must share a shape

    **Modified keys:** img, and the label maps named in seg_fields, if any

    **Added keys:** rot90 (counter-clockwise quarter turns, 0 to 3)

    Args:
        prob: Probability that the image is turned at all.

    Raises:
        ValueError: a probability outside [0, 1], or the image is not square.
    """

    def __init__(self, prob: float = 0.75) -> None:
        self.prob = _check_probability('RandomRotate90', 'prob', prob)

    def draw(self, rng: np.random.Generator) -> int:
        """Number of counter-clockwise quarter turns, 0 to 3."""
        return int(rng.random() < self.prob) * int(rng.integers(1, 4))

    def transform(self, results: dict) -> dict:
        """Turn the image and its label maps."""
        height, width = results['img'].shape[:2]
        if height != width:
            raise ValueError(
                f'RandomRotate90: the image has {width}×{height} pixels, expected a square; crop to a square before'
            )
        turns = self.draw(self.generator(results))
        if turns:
            code = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[turns - 1]
            _apply(results, lambda image: cv2.rotate(image, code))
        results['rot90'] = (results.get('rot90', 0) + turns) % 4
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
