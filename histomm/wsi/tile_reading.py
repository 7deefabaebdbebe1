"""Reading many tiles of a slide: neighbours together, since a slide is decoded in tiles of its own."""

from collections.abc import Iterator, Sequence

import numpy as np

from histomm.wsi.reader import Box, Slide
from histomm.wsi.resampling import resample

_WASTE = 2.0  # a common region may hold so many times the pixels of its tiles
_MAX_PIXELS = 2**23  # of a common region: 25 MB


def read_tiles(slide: Slide, corners: np.ndarray, size: int, mpp: float | None = None) -> list[np.ndarray]:
    """Read square tiles; the pixels are those of :meth:`Slide.read` for each.

    Tiles that follow each other and lie together are decoded as one region and cut out, so give neighbours one after
    the other. Where a slide interpolates its levels from where a region begins, tiles are read one by one, so that
    their pixels do not depend on what else is read.

    Args:
        slide: Open slide.
        corners: (n, 2), left and upper borders in level-0 pixels.
        size: Side in pixels at ``mpp``.
        mpp: µm per pixel; ``None`` for level 0.

    Returns:
        n arrays (size, size, 3), uint8 RGB.

    Raises:
        ValueError: as :meth:`Slide.read`; the region may be that of several tiles.
    """
    placed = [slide.locate(x, y, size, size, mpp) for x, y in np.asarray(corners).tolist()]
    if not placed:
        return []
    level, boxes = placed[0][0], [box for _, box in placed]
    images: list[np.ndarray] = []
    for group in ([box] for box in boxes) if slide.interpolates else _groups(boxes):
        x1, y1, x2, y2 = _union(group)
        region = slide.read_level(level, (x1, y1, x2, y2))
        for box in group:
            part = region[box[1] - y1 : box[3] - y1, box[0] - x1 : box[2] - x1]
            images.append(resample(np.ascontiguousarray(part), size, size))
    return images


def _groups(boxes: Sequence[Box]) -> Iterator[list[Box]]:
    """Boxes that follow each other, as long as their union is not much more than they are."""
    group: list[Box] = []
    for box in boxes:
        longer = [*group, box]
        area = _area(_union(longer))
        if group and (area > _MAX_PIXELS or area > _WASTE * sum(map(_area, longer))):
            yield group
            longer = [box]
        group = longer
    yield group


def _union(boxes: Sequence[Box]) -> Box:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
