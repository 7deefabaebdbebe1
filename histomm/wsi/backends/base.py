"""What every kind of slide file can do."""

from typing import Protocol

import numpy as np


class SlideFormatError(ValueError):
    """A file is not of the kind that a backend reads, or lacks what it needs; the message says what was found."""


class RegionError(ValueError):
    """Pixels of a slide cannot be decoded; the message says why."""


class Backend(Protocol):
    """An open slide file.

    Attributes:
        kind: Name of the library that reads it, for messages.
        level_sizes: (width, height) of each level in its pixels, the finest first.
        level_downsamples: Level-0 pixels per pixel of each level, ascending from 1.
        mpp: µm per level-0 pixel along x and y as the file says, ``None`` where it does not.
    """

    kind: str
    level_sizes: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    mpp: tuple[float, float] | None

    @property
    def icc_profile(self) -> bytes | None:
        """Bytes of the ICC profile of the pixels, or ``None``."""

    @property
    def interpolates(self) -> bool:
        """Whether the pixels of a place may depend on where the region begins that is read."""

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read the pixels of one level, a region that lies inside it; coordinates in pixels of that level.

        Returns:
            (height, width, 3) uint8 RGB; transparent pixels are composited over white.

        Raises:
            RegionError: the pixels cannot be decoded. The backend must be opened anew before it is read again.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def over_white(rgba: np.ndarray) -> np.ndarray:
    """Composite (H, W, 4) uint8, straight alpha, over white: (c·a + 255·(255 − a)) / 255, rounded."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def mpp_of_resolution(pixels_x: float, pixels_y: float, unit: str) -> tuple[float, float] | None:
    """µm per pixel from the resolution tags of a TIFF, pixels per ``unit`` ('inch' or 'centimeter'); else ``None``."""
    micrometres = {'inch': 25400.0, 'centimeter': 10000.0}.get(unit.lower())
    if micrometres is None or not (pixels_x > 0 and pixels_y > 0):
        return None
    return micrometres / pixels_x, micrometres / pixels_y
