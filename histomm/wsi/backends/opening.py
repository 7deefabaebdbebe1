"""Which backend opens a file: told from its content."""

from pathlib import Path

from histomm.wsi.backends.base import Backend, SlideFormatError
from histomm.wsi.backends.openslide import OpenSlideBackend


def open_backend(path: Path) -> Backend:
    """Open a slide file with the first backend that reads its content.

    Raises:
        FileNotFoundError: there is no such file.
        SlideFormatError: no backend reads it; the message gives each one's reason.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path}: slide not found; correct the path')
    try:
        return OpenSlideBackend(path)
    except SlideFormatError as error:
        raise SlideFormatError(f'{path}: cannot be opened as a slide: {error}; convert it to a tiled TIFF') from error
