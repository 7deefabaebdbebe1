"""JPEG images that are decoded at half, a quarter or an eighth of their size, as far as the crops allow.

The crops are drawn first, in pixels of the whole image and with the draws that they have anyway, so that the geometry
of the views is the same. Then one reduction serves all views of the image: the largest that leaves every crop at least
as large as its view, so that nothing is enlarged that would not be otherwise. What is seen may lie up to half a pixel
of the view beside its box.
"""

from collections.abc import Callable, Sequence

import numpy as np

from histomm.datasets.transforms.base import view_generator
from histomm.datasets.transforms.geometric import RandomResizedCrop

REDUCTIONS = (8, 4, 2)
"""Divisors of height and width at which a JPEG file can be decoded, beside 1."""

_WITHOUT_SIZE = {0xC4, 0xC8, 0xCC}  # tables among the marks of frames, 0xC0 to 0xCF


class PendingJpeg:
    """A JPEG image that is not decoded yet; only ``MultiView`` knows what to do with it.

    Attributes:
        size: (height, width) of the whole image.

    Args:
        name: What messages call it.
        size: See above.
        decode: From 1 or one of :data:`REDUCTIONS` to RGB pixels, of ⌈height / reduction⌉ × ⌈width / reduction⌉.
    """

    def __init__(self, name: str, size: tuple[int, int], decode: Callable[[int], np.ndarray]) -> None:
        self.name, self.size, self.decode = name, size, decode

    @property
    def shape(self) -> tuple[int, ...]:
        """Not known before decoding.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f'{self.name}: a transform asks for pixels that LoadPatch(reduce=True) has left to MultiView; put '
            'MultiView directly after LoadPatch, or leave out reduce'
        )

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        return self.shape


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) in the headers of a JPEG file, as pixels are stored; None if they cannot be followed to it."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        mark = data[position + 1]
        if 0xC0 <= mark <= 0xCF and mark not in _WITHOUT_SIZE:
            height, width = (int.from_bytes(data[position + at : position + at + 2], 'big') for at in (5, 7))
            return (height, width) if height and width else None
        position += 1 if mark == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return None


def largest_reduction(crops: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> int:
    """The largest of :data:`REDUCTIONS` that leaves each crop at least as large as its view, else 1.

    Args:
        crops: (height, width) of crop and view, in pixels, for each view.
    """
    fits = (
        reduction
        for reduction in REDUCTIONS
        if all(side >= reduction * target for crop, view in crops for side, target in zip(crop, view, strict=True))
    )
    return next(fits, 1)


def decode_for_views(
    image: PendingJpeg, pipelines: Sequence[Sequence[Callable]], sample: dict
) -> tuple[np.ndarray, list[dict]]:
    """Decode an image for pipelines that begin with ``RandomResizedCrop``; for others as a whole.

    Args:
        image: Not decoded.
        pipelines: Of each view.
        sample: What the views' generators are seeded from.

    Returns:
        tuple: the pixels, and for each view what its first transform finds in the sample: ``rng``, the generator after
        the draw, and ``drawn_crop``, the rectangle of the whole image and the reduction.
    """
    firsts = [steps[0] if steps else None for steps in pipelines]
    if not all(type(first) is RandomResizedCrop for first in firsts) or sample.get('seg_fields'):
        return image.decode(1), [{} for _ in pipelines]
    generators = [view_generator(sample, number) for number in range(1, len(pipelines) + 1)]
    rectangles = [crop.draw(*image.size, rng) for crop, rng in zip(firsts, generators, strict=True)]
    sizes = [(rectangle[2:], crop.size) for rectangle, crop in zip(rectangles, firsts, strict=True)]
    reduction = largest_reduction(sizes)
    drawn = [
        dict(rng=rng, drawn_crop=(rectangle, reduction)) for rng, rectangle in zip(generators, rectangles, strict=True)
    ]
    return image.decode(reduction), drawn
