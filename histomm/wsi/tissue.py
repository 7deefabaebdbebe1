"""Where the tissue of a slide is: a mask at low resolution, found by colour, and cleaned by area.

A finder has ``fit(overview)`` and ``transform(overview)``: the first learns what it needs from the picture of a slide
(uint8 RGB (h, w, 3)), the second gives its mask, bool (h, w). Finders without anything to learn have an empty ``fit``.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from histomm.wsi.reader import Slide

_BLACK = 16  # of 255: the colour of darker pixels is noise of the compression, as in the black border of some scanners


class TissueFinder(Protocol):
    """What finds tissue in a picture of a slide."""

    def fit(self, overview: np.ndarray) -> 'TissueFinder':
        """Learn from uint8 RGB (h, w, 3)."""

    def transform(self, overview: np.ndarray) -> np.ndarray:
        """Tissue in uint8 RGB (h, w, 3), as bool (h, w)."""


@dataclass(frozen=True)
class TissueMask:
    """Tissue of a slide at low resolution.

    Attributes:
        mask: (h, w) bool; pixel (row, column) covers ``scale`` level-0 px from (column · scale, row · scale) on.
        scale: Level-0 px per mask px, along x, and along y too unless ``scale_y`` is given.
        scale_y: Level-0 px per mask px along y, of slides whose pixels are not square.
    """

    mask: np.ndarray
    scale: float
    scale_y: float | None = None

    @property
    def scales(self) -> tuple[float, float]:
        """Level-0 px per mask px along x and y."""
        return self.scale, self.scale if self.scale_y is None else self.scale_y


class HsvTissue:
    """Pixels within a box of hue, saturation and value.

    The default box, .5 < H < .65, S > .1, .5 < V < .9, is the one published for pre-training on many histopathology
    data sets (Ciga et al. 2022), which does not say what the unit of hue is. In OpenCV's 8 bits, where a turn is 180,
    divided by 255, it reaches from 255° to 331°, from haematoxylin to eosin; with a turn as 1 it reaches from 180° to
    234°, cyan to blue, and rejects stained tissue.

    Args:
        hue: Lower and upper limit of hue, both excluded.
        saturation: Lower limit, excluded, 0..1.
        value: Lower and upper limit, both excluded, 0..1.
        hue_unit: 'cv2_255' (OpenCV's 8-bit hue / 255, 0 to .702; saturation and value have 8 bits too), or 'unit' (a
            turn is 1, no rounding).
        invert: The box is the background.

    Raises:
        ValueError: ``hue_unit`` is unknown.
    """

    def __init__(
        self,
        hue: tuple[float, float] = (0.5, 0.65),
        saturation: float = 0.1,
        value: tuple[float, float] = (0.5, 0.9),
        hue_unit: str = 'cv2_255',
        invert: bool = False,
    ) -> None:
        if hue_unit not in ('cv2_255', 'unit'):
            raise ValueError(f"hue_unit is {hue_unit!r}, expected 'cv2_255' or 'unit'")
        self.hue, self.saturation, self.value = hue, saturation, value
        self.hue_unit, self.invert = hue_unit, invert

    def fit(self, overview: np.ndarray) -> 'HsvTissue':
        """Nothing to learn."""
        return self

    def transform(self, overview: np.ndarray) -> np.ndarray:
        """Tissue in uint8 RGB (h, w, 3), as bool (h, w)."""
        if self.hue_unit == 'unit':
            hsv = cv2.cvtColor(np.float32(overview) / 255, cv2.COLOR_RGB2HSV) / np.array([360, 1, 1], np.float32)
        else:
            hsv = cv2.cvtColor(overview, cv2.COLOR_RGB2HSV) / np.float32(255)
        hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
        box = (self.hue[0] < hue) & (hue < self.hue[1]) & (saturation > self.saturation)
        box &= (self.value[0] < value) & (value < self.value[1])
        return ~box if self.invert else box


class OtsuTissue:
    """Pixels of higher saturation than Otsu's threshold of the slide.

    Args:
        floor: Lowest threshold, of 255. Otsu always splits: on a slide without tissue it would split the noise.

    Attributes:
        threshold: Of 255, after ``fit``; pixels above it are tissue.
    """

    def __init__(self, floor: int = 15) -> None:
        self.floor = floor
        self.threshold: int | None = None

    def fit(self, overview: np.ndarray) -> 'OtsuTissue':
        """Learn the threshold."""
        self.threshold = max(otsu(saturation_of(overview)), self.floor)
        return self

    def transform(self, overview: np.ndarray) -> np.ndarray:
        """Tissue in uint8 RGB (h, w, 3), as bool (h, w).

        Raises:
            RuntimeError: not fitted.
        """
        if self.threshold is None:
            raise RuntimeError('OtsuTissue has no threshold yet; call fit with the picture of a slide first')
        return saturation_of(overview) > self.threshold


class ClamTissue:
    """The tissue of CLAM (Lu et al. 2021, Methods): blurred saturation above a threshold, gaps closed.

    The saturation is smoothed by a median, thresholded, and the mask closed. Small pieces and holes are left to
    :func:`clean_mask`, which :func:`find_tissue` applies whatever the finder.

    Args:
        threshold: Pixels of higher saturation are tissue, of 255; without use where ``use_otsu``.
        use_otsu: Take the threshold of each slide, as :class:`OtsuTissue` does.
        median: Side of the median filter in px, odd.
        closing: Side of the square that closes gaps, in px; 0 or 1 for none.
    """

    def __init__(self, threshold: int = 8, use_otsu: bool = False, median: int = 7, closing: int = 4) -> None:
        if median < 1 or median % 2 == 0:
            raise ValueError(f'median is {median}, expected an odd number of pixels')
        self.threshold, self.use_otsu, self.median, self.closing = threshold, use_otsu, median, closing

    def fit(self, overview: np.ndarray) -> 'ClamTissue':
        """Learn the threshold where ``use_otsu``."""
        if self.use_otsu:
            self.threshold = max(otsu(self._smooth(overview)), OtsuTissue().floor)
        return self

    def transform(self, overview: np.ndarray) -> np.ndarray:
        """Tissue in uint8 RGB (h, w, 3), as bool (h, w)."""
        mask = np.uint8(self._smooth(overview) > self.threshold)
        if self.closing > 1:
            mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((self.closing, self.closing), np.uint8))
        return mask.astype(bool)

    def _smooth(self, overview: np.ndarray) -> np.ndarray:
        return cv2.medianBlur(saturation_of(overview), self.median)


def saturation_of(overview: np.ndarray) -> np.ndarray:
    """Saturation of uint8 RGB (h, w, 3) as uint8 (h, w); 0 for pixels that are all but black."""
    hsv = cv2.cvtColor(overview, cv2.COLOR_RGB2HSV)
    return np.where(hsv[..., 2] < _BLACK, np.uint8(0), hsv[..., 1])


def otsu(values: np.ndarray) -> int:
    """Otsu's threshold of uint8 values: the t that separates ``values <= t`` from the others best.

    It is the smallest t with the largest variance between the two, w0·w1·(m0 − m1)²; 0 where all values are equal.
    """
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    weight, moment = counts.cumsum(), (counts * np.arange(256)).cumsum()
    rest, rest_moment = weight[-1] - weight, moment[-1] - moment
    valid = (weight > 0) & (rest > 0)
    if not valid.any():
        return 0
    gap = moment / np.where(valid, weight, 1) - rest_moment / np.where(valid, rest, 1)
    return int(np.argmax(np.where(valid, weight * rest * gap**2, -1)))


def clean_mask(mask: np.ndarray, pixel_area: float, min_piece: float, min_hole: float) -> np.ndarray:
    """Drop small pieces of tissue, and fill small holes in it.

    Pieces touch by side or corner, holes by side only. Holes are filled first, so that a piece counts with them.

    Args:
        mask: (h, w) bool.
        pixel_area: µm² of a pixel.
        min_piece: Smaller pieces are dropped, µm².
        min_hole: Smaller holes are filled, µm²; background that touches the border is no hole.

    Returns:
        (h, w) bool.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.uint8(~mask), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] * pixel_area < min_hole
    fill[0] = True  # what is no background is tissue already
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    fill[border[border > 0]] = False
    filled = fill[labels]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.uint8(filled), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] * pixel_area >= min_piece
    keep[0] = False
    return keep[labels]


def read_overview(slide: Slide, mpp: float) -> tuple[np.ndarray, float, float]:
    """The whole slide at ``mpp`` µm per px: uint8 RGB (h, w, 3), and level-0 px per px of it along x and y.

    The last row and column may reach beyond the border, where it is white.

    Raises:
        ValueError: the slide has no resolution, or cannot be read.
    """
    scale_x, scale_y = slide.scale(mpp)
    width, height = math.ceil(slide.size[0] / scale_x), math.ceil(slide.size[1] / scale_y)
    return slide.read(0, 0, width, height, mpp), scale_x, scale_y


def find_tissue(
    slide: Slide, finder: TissueFinder, mpp: float = 8.0, min_piece: float = 2e4, min_hole: float = 2e4
) -> TissueMask:
    """Tissue of a slide.

    Args:
        slide: The slide.
        finder: What finds it; fitted to this slide.
        mpp: Resolution of the mask in µm per px.
        min_piece: Smaller pieces of tissue are dropped, µm².
        min_hole: Smaller holes in it are filled, µm².
    """
    overview, scale_x, scale_y = read_overview(slide, mpp)
    mask = finder.fit(overview).transform(overview)
    return TissueMask(clean_mask(mask, mpp**2, min_piece, min_hole), scale_x, scale_y)
