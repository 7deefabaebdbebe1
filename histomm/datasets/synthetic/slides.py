"""Whole slides: pieces of tissue on glass, each a patchwork of regions of one tissue, with the truth of every cell."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .noise import texture
from .pyramid import write_pyramid
from .tissue import TISSUES, canvas, picture

CELL = 16
"""Side of a cell of the truth in level-0 pixels."""
SLIDE_MPP = 0.5
SLIDE_CLASSES = ('normal', 'tumor')
"""Labels of slides."""
SLIDE_TISSUES = ('BACK', 'ADI', 'DEB', 'LYM', 'MUC', 'MUS', 'NORM', 'STR', 'TUM')
"""Tissues in the order of their codes in the truth; 0 is glass."""

_SITES = ('05', '38', '44', '49', '50', '55', '64', '18', '21', '22', '33', '34')  # of two cancers of the lung
_SLIDE_STREAM, _REGION_STREAM = 6, 7
_PIECE = 3000  # px; about one piece of tissue in a square of this side, in a small slide four
_REGION = 26  # cells between the centres of regions
_SHARES = {'NORM': 0.30, 'STR': 0.25, 'MUS': 0.20, 'ADI': 0.12, 'LYM': 0.07, 'MUC': 0.06}
_CACHE_BYTES = 2**28
_GLASS_SIDE = 512
_CLEAN = 0.25  # veil on the glass of a slide, as a share of that on patches called BACK


@dataclass(frozen=True)
class SlidePlan:
    """What lies where on a slide.

    Attributes:
        regions: ``(h, w)`` int32, number of the region of each cell; 0 is glass.
        tissues: Tissue of each region by its number; that of 0 is BACK.
    """

    regions: np.ndarray
    tissues: tuple[str, ...]

    def truth(self) -> np.ndarray:
        """``(h, w)`` uint8, code of the tissue of each cell, in the order of :data:`SLIDE_TISSUES`."""
        codes = np.array([SLIDE_TISSUES.index(tissue) for tissue in self.tissues], np.uint8)
        return codes[self.regions]


def plan_slide(size: tuple[int, int], seed: int, index: int, label: str) -> SlidePlan:
    """Place pieces and their regions.

    Args:
        size: ``(width, height)`` of level 0.
        seed: Seed of the set.
        index: Number of the slide.
        label: 'normal', or 'tumor': a part of each piece is tumour, and some of it necrosis.
    """
    rng = np.random.default_rng([_SLIDE_STREAM, seed, index])
    shape = _cells(size)
    pieces = _pieces(rng, shape)
    seeds = _seeds(rng, shape, _REGION)
    ys, xs = (np.clip(axis.astype(int), 0, side - 1) for axis, side in zip(seeds.T, shape, strict=True))
    tissues = rng.choice(list(_SHARES), len(seeds), p=list(_SHARES.values())).tolist()
    if label == 'tumor':
        _grow_tumour(rng, seeds, pieces[ys, xs], tissues)
    return _assembled(rng, pieces, seeds, tissues)


def plan_mixture(rng: np.random.Generator, size: tuple[int, int], shares: dict[str, float], spacing: int) -> SlidePlan:
    """Place pieces whose regions are of tissues in given shares, each drawn for itself.

    Args:
        rng: Of all draws.
        size: ``(width, height)`` of level 0.
        shares: Tissue to its share, which add up to 1.
        spacing: Cells between the centres of regions.
    """
    pieces = _pieces(rng, _cells(size))
    seeds = _seeds(rng, pieces.shape, spacing)
    tissues = rng.choice(list(shares), len(seeds), p=list(shares.values())).tolist()
    return _assembled(rng, pieces, seeds, tissues)


def _cells(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells of a slide."""
    return -(-size[1] // CELL), -(-size[0] // CELL)


def _assembled(rng: np.random.Generator, pieces: np.ndarray, seeds: np.ndarray, tissues: list[str]) -> SlidePlan:
    """The plan of pieces (h, w) and of regions with these centres and tissues."""
    shape = pieces.shape
    nearest = _nearest(rng, shape, seeds)
    regions = np.where(pieces > 0, nearest + 1, 0)
    used, compact = np.unique(np.append(regions.ravel(), 0), return_inverse=True)
    names = ['BACK', *tissues]
    return SlidePlan(compact[:-1].reshape(shape).astype(np.int32), tuple(names[number] for number in used))


def _pieces(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Number of the piece of each cell, 0 on glass: blobs on a jittered grid, a few places left empty."""
    h, w = shape
    rows, columns = (max(2, round(side * CELL / _PIECE)) for side in shape)
    high, wide = h / rows, w / columns
    empty = rng.random((rows, columns)) < 0.15
    empty[0, 0] = empty[-1, -1] = False
    ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
    ragged = 0.22 * texture(rng, shape, max(2.0, min(high, wide) / 4)) + 0.05 * texture(rng, shape, 3)
    result = np.zeros(shape, np.int32)
    for number, (row, column) in enumerate(np.argwhere(~empty), 1):
        centre = (row + 0.5 + rng.uniform(-0.06, 0.06)) * high, (column + 0.5 + rng.uniform(-0.06, 0.06)) * wide
        radii = rng.uniform(0.36, 0.46) * high, rng.uniform(0.36, 0.46) * wide
        reach = np.hypot((ys - centre[0]) / radii[0], (xs - centre[1]) / radii[1])
        # Pieces fade before the border of their place, so that two never touch.
        limit = np.maximum(np.abs(ys - (row + 0.5) * high) / high, np.abs(xs - (column + 0.5) * wide) / wide)
        result[reach + ragged + 12 * np.maximum(limit - 0.39, 0) < 1] = number
    return result


def _seeds(rng: np.random.Generator, shape: tuple[int, int], spacing: int) -> np.ndarray:
    """Centres of regions on a jittered grid of so many cells, ``(n, 2)`` y and x in cells."""
    rows, columns = (max(2, round(side / spacing)) for side in shape)
    grid = np.stack(np.mgrid[0:rows, 0:columns], axis=-1) + rng.uniform(0.15, 0.85, (rows, columns, 2))
    return (grid * [shape[0] / rows, shape[1] / columns]).reshape(-1, 2)


def _grow_tumour(rng: np.random.Generator, seeds: np.ndarray, piece: np.ndarray, tissues: list[str]) -> None:
    """Make about a third of the regions of each piece tumour, those around one of them, and a few necrosis."""
    for number in np.unique(piece[piece > 0]):
        members = np.flatnonzero(piece == number)
        centre = seeds[rng.choice(members)]
        near = members[np.argsort(np.linalg.norm(seeds[members] - centre, axis=1))]
        count = max(1, round(rng.uniform(0.25, 0.5) * len(members)))
        for place, member in enumerate(near[:count].tolist()):
            tissues[member] = 'DEB' if place and rng.random() < 0.12 else 'TUM'


def _nearest(rng: np.random.Generator, shape: tuple[int, int], seeds: np.ndarray) -> np.ndarray:
    """Index of the nearest seed of each cell, seen through a wavy glass, so that borders are not straight."""
    marks = np.ones(shape, np.uint8)
    ys, xs = (np.clip(axis.astype(int), 0, side - 1) for axis, side in zip(seeds.T, shape, strict=True))
    marks[ys, xs] = 0
    _, labels = cv2.distanceTransformWithLabels(marks, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    order = np.zeros(labels.max() + 1, np.int32)
    order[labels[ys, xs]] = np.arange(len(seeds))
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    rows, columns = rows + 4 * texture(rng, shape, 14), columns + 4 * texture(rng, shape, 14)
    warped = cv2.remap(labels.astype(np.float32), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return order[warped.astype(np.int32)]


class SlidePainter:
    """Paints any part of a slide; regions painted last are kept, 256 MB of them, and painted again when asked for.

    Args:
        plan: What lies where.
        seed: Seed of the set.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the slide.
    """

    def __init__(self, plan: SlidePlan, seed: int, patient: int, index: int) -> None:
        self._plan, self._key, self._patient = plan, (seed, index), patient
        self._pictures: OrderedDict[int, np.ndarray] = OrderedDict()
        self._boxes = self._bounds()
        self._glass = self._paint(0, _GLASS_SIDE, _GLASS_SIDE)

    def _bounds(self) -> dict[int, tuple[int, int, int, int]]:
        """Cells (x1, y1, x2, y2) that each region reaches, its soft edge included."""
        from scipy import ndimage

        boxes = {}
        for number, place in enumerate(ndimage.find_objects(self._plan.regions), 1):
            rows, columns = place
            boxes[number] = columns.start - 2, rows.start - 2, columns.stop + 2, rows.stop + 2
        return boxes

    def _paint(self, number: int, width: int, height: int) -> np.ndarray:
        rng = np.random.default_rng([_REGION_STREAM, *self._key, number])
        shape = canvas((width, height))
        density = TISSUES[self._plan.tissues[number]](rng, shape)
        if number == 0:
            density *= np.float32(_CLEAN)
        return picture(rng, density, self._key[0], self._patient)

    def _region(self, number: int) -> np.ndarray:
        if number not in self._pictures:
            x1, y1, x2, y2 = self._boxes[number]
            self._pictures[number] = self._paint(number, (x2 - x1) * CELL, (y2 - y1) * CELL)
            while len(self._pictures) > 1 and sum(part.nbytes for part in self._pictures.values()) > _CACHE_BYTES:
                self._pictures.popitem(last=False)
        self._pictures.move_to_end(number)
        return self._pictures[number]

    def _on_glass(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A part of the glass, which is mirrored at the borders of its picture and so has no seam."""
        places = []
        for start, count in ((y, height), (x, width)):
            turn = np.arange(start, start + count) % (2 * _GLASS_SIDE)
            places.append(np.where(turn < _GLASS_SIDE, turn, 2 * _GLASS_SIDE - 1 - turn))
        return self._glass[np.ix_(*places)]

    def __call__(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a part of level 0 that begins at a cell, ``(height, width, 3)`` uint8 RGB."""
        left, top = x // CELL, y // CELL
        right, bottom = -(-(x + width) // CELL), -(-(y + height) // CELL)
        around = 6  # cells, more than the blur and the interpolation reach: parts meet without a seam
        rows = np.clip(np.arange(top - around, bottom + around), 0, self._plan.regions.shape[0] - 1)
        columns = np.clip(np.arange(left - around, right + around), 0, self._plan.regions.shape[1] - 1)
        numbers = self._plan.regions[np.ix_(rows, columns)]
        found = np.unique(numbers).tolist()
        total, weights = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
        for number in found:
            share = _soft(numbers == number)[around * CELL :, around * CELL :][:height, :width, None]
            if not share.any():
                continue
            if number == 0:
                part = self._on_glass(x, y, width, height)
            else:
                x1, y1 = self._boxes[number][:2]
                part = _window(self._region(number), x - x1 * CELL, y - y1 * CELL, width, height)
            total += share * part
            weights += share
        return np.rint(total / weights).astype(np.uint8)


def _soft(mask: np.ndarray) -> np.ndarray:
    """Mask of cells as weights of level-0 pixels: smooth outlines, and a few pixels from 0 to 1."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6)
    large = cv2.resize(blurred, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_CUBIC)
    # Where three regions meet none may reach a half: the floor keeps the sum of weights above 0.
    return np.clip((large - 0.5) * 6 + 0.5, 0, 1) + 1e-3 * np.clip(large, 0, 1) ** 2


def _window(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A part of an image; beyond its border black, where the weight is none."""
    part = np.zeros((height, width, 3), np.uint8)
    source = image[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    top, left = max(-y, 0), max(-x, 0)
    part[top : top + source.shape[0], left : left + source.shape[1]] = source
    return part


def slide_files(
    size: tuple[int, int], seed: int, patient: int, index: int, label: str
) -> tuple[Callable[[Path], None], np.ndarray]:
    """A slide of 0.5 µm per pixel as a function that writes it into a file, and its truth.

    Args:
        size: ``(width, height)`` of level 0.
        seed: Seed of the set.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the slide.
        label: One of :data:`SLIDE_CLASSES`.
    """
    return painted(plan_slide(size, seed, index, label), size, seed, patient, index, label)


def painted(
    plan: SlidePlan, size: tuple[int, int], seed: int, patient: int, index: int, label: str
) -> tuple[Callable[[Path], None], np.ndarray]:
    """A plan as a function that writes the slide into a file, and its truth; arguments as for :func:`slide_files`."""
    text = f'drawn slide {index} of seed {seed}: {label}'

    def write(path: Path) -> None:
        write_pyramid(path, size, SlidePainter(plan, seed, patient, index), SLIDE_MPP, text)

    return write, plan.truth()


def slide_case(index: int) -> tuple[int, str, str, str]:
    """Patient, barcode of the patient, file name without suffix, and label of a slide.

    The first of every four patients has two slides. No real barcode has a participant that begins with Z.
    """
    patient = index * 4 // 5
    barcode = f'TCGA-{_SITES[patient % len(_SITES)]}-Z{0xC00 + patient % 0x400:03X}'
    second = index > 0 and (index - 1) * 4 // 5 == patient
    return patient, barcode, f'{barcode}-01Z-00-DX{1 + second}', SLIDE_CLASSES[patient % len(SLIDE_CLASSES)]


def slide_tables(num: int, seed: int) -> dict[str, str]:
    """Tables beside the slides: ``slides.csv``, and the codes and the scale of the truth."""
    cases = [slide_case(index)[1:] for index in range(num)]
    slides = [f'{stem}.tif,{barcode},{label}' for barcode, stem, label in cases]
    return {'slides.csv': '\n'.join(['slide,patient,label', *slides, '']), **truth_tables()}


def truth_tables() -> dict[str, str]:
    """Tables beside the truth: the codes of tissues, and level-0 pixels of a cell."""
    codes = [f'{code},{tissue}' for code, tissue in enumerate(SLIDE_TISSUES)]
    return {'truth/tissues.csv': '\n'.join(['code,tissue', *codes, '']), 'truth/scale.txt': f'{CELL}\n'}
