"""Feature files with what a test wants in them, and the tools on features by their command line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from tool_modules import load_tool

from histomm.evaluation.feature_store import FeatureWriter
from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles


def tool(name: str, *words: object) -> None:
    """Run ``tools/NAME.py`` with these words."""
    load_tool(f'tools/{name}.py').main([str(word) for word in words])


def write_features(
    path: Path,
    features: np.ndarray,
    names: Sequence[str],
    coords: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    settings: dict | None = None,
) -> Path:
    """A feature file as the extraction writes it."""
    writer = FeatureWriter(path, settings or {'weights': 'w', 'model': 'drawn'}, len(names), 10**6)
    writer.write(0, features)
    writer.finish(names, coords, labels, classes)
    return path


def draw_slides(root: Path) -> Path:
    """Two slides of 6 × 4 tiles, the left half dark and the right half light, and where the tiles lie."""
    rng = np.random.default_rng(0)
    for name, mpp in (('one', 0.5), ('two', 0.25)):
        pixels = rng.integers(0, 20, (128, 192, 3)).astype(np.uint8)
        pixels[:, 96:] += 200
        per_cm = round(1e4 / mpp)
        size = dict(resolution=(per_cm, per_cm), resolutionunit='CENTIMETER')
        tifffile.imwrite(root / f'{name}.tif', pixels, tile=(64, 64), photometric='rgb', **size)
    places = np.array([(x, y) for y in range(0, 128, 32) for x in range(0, 192, 32)])
    sizes = {'one.tif': 32, 'two.tif': 16}
    tables = [tiles_of_slide(name, places, size, 0.5, np.ones(24)) for name, size in sizes.items()]
    write_tiles(root / 'tiles.parquet', concat_tiles(tables, {'size': 32}))
    return root
