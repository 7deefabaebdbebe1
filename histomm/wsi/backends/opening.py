"""Which backend opens a file: told from its content."""

from pathlib import Path

from histomm.wsi.backends.base import Backend, SlideFormatError
from histomm.wsi.backends.dicom import DicomBackend, FramesBackend, is_dicom
from histomm.wsi.backends.openslide import OpenSlideBackend
from histomm.wsi.backends.tiff import TiffBackend

_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


def open_backend(path: Path) -> Backend:
    """Open a slide file with the first backend that reads its content.

    Raises:
        FileNotFoundError: there is no such file.
        SlideFormatError: no backend reads it; the message gives each one's reason.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path}: slide not found; correct the path')
    if path.is_file() and not path.stat().st_size:
        raise SlideFormatError(f'{path}: is empty, expected a slide; copy it anew or remove it')
    reasons = []
    for kind in _candidates(path):
        try:
            backend = kind(path)
        except SlideFormatError as error:
            reasons.append(str(error))
            continue
        return _with_more_levels(path, backend)
    raise SlideFormatError(
        f'{path}: cannot be opened as a slide: {"; ".join(reasons)}; '
        'copy it anew if it is not whole, or convert it to a tiled TIFF'
    )


def _candidates(path: Path) -> list[type]:
    """Backends that might read a file by its first bytes, or a folder of DICOM."""
    if path.is_dir() or is_dicom(path):
        return [DicomBackend] if path.is_dir() else [OpenSlideBackend, DicomBackend, FramesBackend]
    with open(path, 'rb') as file:
        start = file.read(4)
    return [OpenSlideBackend, TiffBackend] if start in _TIFF else [OpenSlideBackend]


def _with_more_levels(path: Path, backend: Backend) -> Backend:
    """The backend, or tifffile's where it finds a pyramid or a pixel size and OpenSlide does not.

    OpenSlide takes OME-TIFF for a plain TIFF: it sees neither levels in sub-files nor OME's metadata.
    """
    if not isinstance(backend, OpenSlideBackend) or backend.vendor != 'generic-tiff' or len(backend.level_sizes) > 1:
        return backend
    try:
        other = TiffBackend(path)
    except SlideFormatError:
        return backend
    better = len(other.level_sizes) > 1 or (backend.mpp is None and other.mpp is not None)
    (backend if better else other).close()
    return other if better else backend
