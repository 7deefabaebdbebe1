"""Slides through OpenSlide: Aperio, Hamamatsu, Leica, MIRAX, Philips, Ventana, Zeiss, DICOM and tiled TIFF."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from histomm.wsi.backends.base import RegionError, SlideFormatError, mpp_of_resolution, over_white


class OpenSlideBackend:
    """A slide that OpenSlide opens; see :class:`~histomm.wsi.backends.base.Backend`.

    Raises:
        SlideFormatError: OpenSlide refuses the file.
    """

    kind = 'OpenSlide'

    def __init__(self, path: Path) -> None:
        import openslide

        self._errors = (openslide.OpenSlideError,)
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideUnsupportedFormatError:
            raise SlideFormatError('OpenSlide does not know its format') from None
        except openslide.OpenSlideError as error:
            raise SlideFormatError(f'OpenSlide refuses it ({error})') from error
        self.level_sizes = tuple(self._slide.level_dimensions)
        self.level_downsamples = tuple(self._slide.level_downsamples)
        self.mpp = _mpp(self._slide.properties)
        self.vendor = self._slide.properties.get('openslide.vendor', '')

    @property
    def icc_profile(self) -> bytes | None:
        """Bytes of the ICC profile, or ``None``."""
        profile = self._slide.color_profile
        return profile.tobytes() if profile is not None else None

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level as (height, width, 3) uint8 RGB."""
        down = self.level_downsamples[level]
        try:
            image = self._slide.read_region((round(x * down), round(y * down)), level, (width, height))
        except self._errors as error:
            raise RegionError(str(error)) from error
        if image.getchannel('A').getextrema()[0] == 255:
            return np.asarray(image.convert('RGB'))
        return over_white(np.asarray(image))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """µm per pixel along x and y: OpenSlide's own, Aperio's, or that of the TIFF resolution tags."""
    for key_x, key_y in (('openslide.mpp-x', 'openslide.mpp-y'), ('aperio.MPP', 'aperio.MPP')):
        x, y = _number(properties.get(key_x)), _number(properties.get(key_y))
        if x > 0 and y > 0:
            return x, y
    unit = properties.get('tiff.ResolutionUnit', '')
    return mpp_of_resolution(
        _number(properties.get('tiff.XResolution')), _number(properties.get('tiff.YResolution')), unit
    )


def _number(text: str | None) -> float:
    """The number a property holds; 0 where it is missing or none. Some scanners write a decimal comma."""
    try:
        return float((text or '').replace(',', '.'))
    except ValueError:
        return 0.0
