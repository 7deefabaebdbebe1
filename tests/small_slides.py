"""Small slides for tests, drawn and written as tiled TIFF that OpenSlide reads."""

from pathlib import Path

import numpy as np
import tifffile


def slide_pixels(seed: int, width: int, height: int, tissue: bool = True) -> np.ndarray:
    """White glass with an ellipse of stained, textured tissue, uint8 RGB (height, width, 3)."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 242, np.uint8)
    if tissue:
        y, x = np.mgrid[:height, :width]
        inside = ((x - width * 0.45) / (width * 0.4)) ** 2 + ((y - height / 2) / (height * 0.4)) ** 2 < 1
        texture = rng.integers(-40, 40, (height, width, 1))
        pixels[inside] = np.clip(np.array([205, 120, 170]) + texture, 0, 255)[inside]
    return pixels


def write_slide(path: Path, pixels: np.ndarray, mpp: float | None = 0.5, tile: int = 128) -> Path:
    """Write uint8 RGB (h, w, 3) as a tiled TIFF of one level; without a resolution where ``mpp`` is ``None``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unit = dict(resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit='CENTIMETER') if mpp else {}
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(tile, tile), compression='zlib', metadata=None, **unit)
    return path


def draw_slide(path: Path, seed: int = 0, width: int = 640, height: int = 520, **options: bool | float | None) -> Path:
    """Write a slide of :func:`slide_pixels`; ``options`` are ``tissue`` and ``mpp``."""
    tissue = bool(options.pop('tissue', True))
    return write_slide(path, slide_pixels(seed, width, height, tissue), **options)


def break_tile(path: Path, number: int) -> None:
    """Overwrite a stored tile of a TIFF, so that it cannot be decoded."""
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[number], tiff.pages[0].databytecounts[number]
    with open(path, 'rb+') as file:
        file.seek(start)
        file.write(b'\xff' * count)
