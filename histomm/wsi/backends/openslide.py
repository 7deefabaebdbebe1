"""Slides through OpenSlide: Aperio, Hamamatsu, Leica, MIRAX, Philips, Ventana, Zeiss, DICOM and tiled TIFF."""

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from histomm.wsi.backends.base import RegionError, SlideFormatError, mpp_of_resolution, over_white
from histomm.wsi.backends.jpeg_tiles import jpeg_levels

_CACHE_BYTES = 2**25
_caches: dict[int, Any] = {}


class OpenSlideBackend:
    """A slide that OpenSlide opens; see :class:`~histomm.wsi.backends.base.Backend`.

    The tiles decoded last are kept, 32 MB of all open slides of a process together. JPEG tiles of Aperio and plain TIFF
    are decoded by :mod:`~histomm.wsi.backends.jpeg_tiles`.

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
        self._slide.set_cache(_process_cache())
        self.level_sizes = tuple(self._slide.level_dimensions)
        self.level_downsamples = tuple(self._slide.level_downsamples)
        self.mpp = _mpp(self._slide.properties)
        self.vendor = self._slide.properties.get('openslide.vendor', '')
        self._direct = jpeg_levels(path, self.level_sizes) if self.vendor in ('aperio', 'generic-tiff') else []
        self._file: int | None = None
        if self._direct:
            self._file = os.open(path, os.O_RDONLY)
            self._release = weakref.finalize(self, os.close, self._file)  # also where nobody calls close

    @property
    def interpolates(self) -> bool:
        """Whether pixels depend on where a region begins: at levels that are no whole multiples of each other."""
        return self._file is None and not all(float(down).is_integer() for down in self.level_downsamples)

    @property
    def icc_profile(self) -> bytes | None:
        """Bytes of the ICC profile, or ``None``."""
        profile = self._slide.color_profile
        return profile.tobytes() if profile is not None else None

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level as (height, width, 3) uint8 RGB."""
        if self._file is not None:
            return self._direct[level].read(self._file, x, y, width, height)
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
        if self._file is not None:
            self._release()
            self._file = None


def _process_cache() -> Any:
    """One cache for all slides: each its own, as OpenSlide has it, would take 32 MB for each slide that is open."""
    import openslide

    pid = os.getpid()
    if pid not in _caches:
        _caches[pid] = openslide.OpenSlideCache(_CACHE_BYTES)
    return _caches[pid]


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
