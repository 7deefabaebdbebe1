"""Single nuclei of images of any size, tile by tile, equal to those of the whole.

Morphology needs some pixels around a tile, and no more. Pieces of the cleaned mask that do not touch a border between
tiles are split into nuclei at once. Those that do are kept, joined across the borders when all tiles are done, and
split then. So no nucleus is cut or counted twice, and of the image only the pieces at borders stay in memory.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from .nuclei_post import RADII, clean_mask, split_nuclei
from .tiled_confidence import Box


def halo_of(radii: Sequence[int] = RADII) -> int:
    """Pixels around a tile that :func:`~histomm.evaluation.clean_mask` looks at: each disk opens and closes."""
    return 4 * sum(radii)


class NucleiBlock(NamedTuple):
    """Nuclei of a part of an image; no nucleus is in two blocks.

    Attributes:
        x: Left border of the part in the image.
        y: Upper border.
        labels: (h, w) int32: 0 outside, 1, 2, … for its nuclei.
        confidence: (h, w) float32.
    """

    x: int
    y: int
    labels: np.ndarray
    confidence: np.ndarray

    def count(self) -> int:
        """How many nuclei."""
        return int(self.labels.max(initial=0))

    def mean_confidence(self) -> np.ndarray:
        """(n,) mean confidence of each nucleus."""
        labels = self.labels.ravel()
        sums = np.bincount(labels, self.confidence.ravel(), self.count() + 1)
        return sums[1:] / np.bincount(labels, minlength=self.count() + 1)[1:]


class _Piece(NamedTuple):
    """A piece of the mask that touches a border between tiles."""

    x: int
    y: int
    mask: np.ndarray
    confidence: np.ndarray


class NucleiStitcher:
    """Takes the confidences of tile after tile and gives nuclei; see the module.

    Args:
        size: Of the image: width, height.
        threshold: Pixels of more confidence are nuclei.
        radii: Of the morphology.
    """

    def __init__(self, size: tuple[int, int], threshold: float = 0.5, radii: Sequence[int] = RADII) -> None:
        self.size, self.threshold, self.radii = size, threshold, radii
        self._pieces: list[_Piece] = []
        self._parents: list[int] = []
        self._borders: dict[tuple[int, int], int] = {}

    def add(self, core: Box, given: Box, confidence: np.ndarray) -> NucleiBlock:
        """Nuclei of a tile that touch no other one.

        Args:
            core: The tile; tiles do not overlap.
            given: The tile with :func:`halo_of` pixels around it, as far as the image has them.
            confidence: (height, width) of ``given``.
        """
        inner = core.within(given)
        mask = clean_mask(confidence > self.threshold, self.radii)[inner]
        values = confidence[inner].astype(np.float32)
        _, pieces, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for label in self._at_borders(core, pieces):
            x, y, width, height = boxes[label, :4]
            part = slice(y, y + height), slice(x, x + width)
            self._keep(core, int(x), int(y), pieces[part] == label, values[part].copy())
            mask[part] &= pieces[part] != label
        return NucleiBlock(core.x, core.y, split_nuclei(mask), values)

    def finish(self) -> Iterator[NucleiBlock]:
        """Nuclei at the borders between tiles, a block for each joined piece."""
        groups: dict[int, list[_Piece]] = {}
        for number, piece in enumerate(self._pieces):
            groups.setdefault(self._root(number), []).append(piece)
        for group in groups.values():
            x, y = min(piece.x for piece in group), min(piece.y for piece in group)
            right = max(piece.x + piece.mask.shape[1] for piece in group)
            lower = max(piece.y + piece.mask.shape[0] for piece in group)
            mask, values = np.zeros((lower - y, right - x), bool), np.zeros((lower - y, right - x), np.float32)
            for piece in group:
                height, width = piece.mask.shape
                part = slice(piece.y - y, piece.y - y + height), slice(piece.x - x, piece.x - x + width)
                mask[part] |= piece.mask
                values[part][piece.mask] = piece.confidence[piece.mask]
            yield NucleiBlock(x, y, split_nuclei(mask), values)
        self._pieces, self._parents, self._borders = [], [], {}

    def _at_borders(self, core: Box, pieces: np.ndarray) -> np.ndarray:
        """Labels at those borders of a tile that are not the image's."""
        edges = [
            (core.x > 0, pieces[:, 0]),
            (core.y > 0, pieces[0]),
            (core.x + core.width < self.size[0], pieces[:, -1]),
            (core.y + core.height < self.size[1], pieces[-1]),
        ]
        found = np.unique(np.concatenate([line for inner, line in edges if inner] or [np.zeros(0, int)]))
        return found[found > 0]

    def _keep(self, core: Box, x: int, y: int, mask: np.ndarray, confidence: np.ndarray) -> None:
        """Remember a piece and join it to those that it touches, by a side or a corner."""
        number = len(self._pieces)
        self._pieces.append(_Piece(core.x + x, core.y + y, mask, confidence))
        self._parents.append(number)
        rows, columns = np.nonzero(mask)
        rows, columns = rows + y, columns + x
        edge = (rows == 0) | (columns == 0) | (rows == core.height - 1) | (columns == core.width - 1)
        for row, column in zip((rows[edge] + core.y).tolist(), (columns[edge] + core.x).tolist(), strict=True):
            for neighbour in ((row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if neighbour in self._borders:
                    self._parents[self._root(self._borders[neighbour])] = self._root(number)
            self._borders[row, column] = number

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number
