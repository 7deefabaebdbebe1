"""The images behind the rows of a feature file."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from histomm.datasets.transforms import read_image
from histomm.wsi.reader import Slide, SlideCache, mpp_of
from histomm.wsi.tile_table import TileTable

Place = tuple[str, int, int]


class PatchReader:
    """Reads the image of a row: a file below a folder, or a tile of a slide.

    Args:
        names: (n,) of the feature file: paths below the folder, or file names of slides.
        coords: (n, 2) of the feature file, or ``None`` for images.
        root: Folder of the images or of the slides.
        tiles: Where the tiles lie; needed for tiles, whose size a feature file does not have.
        mpp: µm per level-0 pixel of slides whose file does not say, see :func:`~histomm.wsi.slide_files.mpp_of`.

    Raises:
        ValueError: tiles without a table, or a table that lacks some of them.
    """

    def __init__(
        self,
        names: Sequence[str],
        coords: np.ndarray | None,
        root: str | Path,
        tiles: TileTable | None = None,
        mpp: dict[str, float] | None = None,
    ) -> None:
        self.names, self.coords, self.root, self.mpp = names, coords, os.fspath(root), mpp or {}
        if coords is None:
            return
        if tiles is None:
            raise ValueError('the features are of tiles of slides: give the folder of the slides and the tile table')
        rows: dict[Place, int] = {
            (str(slide), int(x), int(y)): row
            for row, (slide, x, y) in enumerate(zip(tiles.slide, tiles.x, tiles.y, strict=True))
        }
        places = [(str(name), int(x), int(y)) for name, (x, y) in zip(names, coords, strict=True)]
        missing = [place for place in places if place not in rows]
        if missing:
            raise ValueError(
                f'the tile table lacks {len(missing)} of {len(places)} tiles of the features, such as {missing[0]}; '
                'give the table that they were extracted with'
            )
        self.tiles = tiles.select(np.array([rows[place] for place in places], np.int64))
        self.cache = SlideCache()

    def path(self, name: str) -> str:
        """Path of a slide or an image."""
        return os.path.join(self.root, name)

    def slide(self, name: str) -> Slide:
        """A slide by its name, kept open."""
        return self.cache.get(self.path(name), mpp_of(self.mpp, name))

    def read(self, row: int, size: int) -> np.ndarray:
        """Image of a row at (size, size), uint8 RGB; what is not square is cut around its centre."""
        name = str(self.names[row])
        if self.coords is None:
            image = read_image(self.path(name))
        else:
            x, y = (int(value) for value in self.coords[row])
            side = int(self.tiles.size[row])
            image = self.slide(name).read(x, y, side, side, float(self.tiles.mpp[row]))
        height, width = image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(image[top : top + side, left : left + side])
        return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)

    def boxes(self, rows: np.ndarray) -> np.ndarray:
        """(x1, y1, x2, y2) of tiles in level-0 px, (len(rows), 4) float64."""
        corners = self.coords[rows].astype(np.float64)
        slides = [self.slide(str(self.names[row])) for row in rows]
        scales = np.array([slide.scale(float(self.tiles.mpp[row])) for slide, row in zip(slides, rows, strict=True)])
        return np.concatenate((corners, corners + scales * self.tiles.size[rows, None]), axis=1)
