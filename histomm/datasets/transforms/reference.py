"""A plain view that contains the views made before it."""

import numpy as np
from mmcv.transforms import BaseTransform

from histomm.datasets.transforms.geometric import INTERPOLATIONS, resize
from histomm.registry import TRANSFORMS

_TOLERANCE = 1e-6
"""Share of a pixel by which rounding may move the edge of a crop of whole pixels."""


@TRANSFORMS.register_module()
class BoundingCrop(BaseTransform):
    """Crop the bounding rectangle of the views made before this one and resize it, and record the rectangle.

    It makes the reference view of ConCL (Yang et al., ECCV 2022), which shows all that the other views show, without
    their colours and flips: as the one step of the last pipeline of :class:`~histomm.datasets.transforms.MultiView`.

    **Required keys:** img, earlier_views

    **Modified keys:** img, img_shape

    **Added keys:** crop_box (x1, y1, x2, y2) floats in source pixels

    Args:
        size: Side of the view, or (height, width).
        interpolation: 'bilinear' or 'bicubic', antialiased where it shrinks.

    Raises:
        ValueError: a bad argument, no view was made before, or the image has already been flipped or turned.
    """

    def __init__(self, size: int | tuple[int, int], interpolation: str = 'bicubic') -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f'BoundingCrop: size is {size}, expected a positive side or (height, width)')
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f'BoundingCrop: interpolation is {interpolation!r}, expected one of {INTERPOLATIONS}')
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Crop the image."""
        if results.get('hflip') or results.get('vflip') or results.get('rot90'):
            raise ValueError('BoundingCrop: the image is already flipped or turned; put crops first')
        if not results.get('earlier_views'):
            raise ValueError('BoundingCrop: there is no view before this one; put it last in the views of MultiView')
        height, width = results['img'].shape[:2]
        source = np.array(results.get('crop_box', (0, 0, width, height)), dtype=float)
        boxes = np.array([view.get('crop_box', source) for view in results['earlier_views']])
        # the source box is that of the image here, so that a rectangle can be told in its pixels
        corner, scale = source[:2], (source[2:] - source[:2]) / (width, height)
        x1, y1 = np.floor((boxes[:, :2].min(0) - corner) / scale + _TOLERANCE).astype(int)
        x2, y2 = np.ceil((boxes[:, 2:].max(0) - corner) / scale - _TOLERANCE).astype(int)
        results['crop_box'] = (*(corner + scale * (x1, y1)).tolist(), *(corner + scale * (x2, y2)).tolist())
        results['img'] = resize(results['img'][y1:y2, x1:x2], self.size, self.interpolation)
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, interpolation={self.interpolation!r})'
