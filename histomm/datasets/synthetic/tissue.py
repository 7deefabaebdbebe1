"""Nine tissues of the colon, and pictures of them: the public drawing functions."""

from dataclasses import replace

import cv2
import numpy as np

from .epithelium import paint_gland_tissue
from .glands import GRADES, place_glands, visible_instances
from .noise import fibre_angle, fibres, flow, scatter, texture
from .nuclei import MARGIN, stamp_nuclei
from .stain import draw_stain, photograph
from .stroma import Stroma, add_capillaries, add_stroma_cells, draw_stroma, fibre_density, smooth_step

STAIN_STREAM = 1
"""First number of the seeds of stains."""
_PATCH_STREAM, _GLAND_STREAM = 2, 3


def _fat(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Adipose cells: empty polygons with rounded corners and thin pink walls."""
    h, w = shape
    x, y = scatter(rng, shape, rng.uniform(46, 80), 1.0)
    seeds = np.ones(shape, np.uint8)
    seeds[y, x] = 0
    _, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
    bend = np.float32(rng.uniform(3, 6))
    map_x, map_y = xs + bend * texture(rng, shape, 26), ys + bend * texture(rng, shape, 26)
    cells = cv2.remap(cells.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    same = np.ones(shape, np.uint8)
    same[:, 1:] &= cells[:, 1:] == cells[:, :-1]
    same[1:] &= cells[1:] == cells[:-1]
    depth = np.minimum(cv2.distanceTransform(same, cv2.DIST_L2, 5), 200)  # unbounded where one cell fills all
    rounded = cv2.GaussianBlur(depth, (0, 0), 5) - 0.25 * cv2.GaussianBlur(depth, (0, 0), 12)
    thick = rng.uniform(0.6, 1.3) * (1.3 + 0.5 * texture(rng, shape, 30))
    wall = smooth_step(thick - np.minimum(depth, rounded), 1.6)
    nodes = smooth_step(2.6 + 0.8 * texture(rng, shape, 18) - rounded, 1.2) * smooth_step(texture(rng, shape, 40), 1)
    wall = np.maximum(wall * (0.75 + 0.2 * texture(rng, shape, 5)), 0.6 * nodes)
    density = np.empty((*shape, 2), np.float32)
    density[..., 0] = 0.015 + 0.13 * wall
    density[..., 1] = 0.02 + rng.uniform(0.4, 0.7) * wall + 0.01 * texture(rng, shape, 20)
    x, y = scatter(rng, shape, 9, (wall > 0.5) * 0.09)
    stamp_nuclei(rng, density, 'spindle', x, y, fibre_angle(depth, x, y), tone=(0.6, 1.0))
    return density


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Glass with a faint veil and some dust."""
    density = np.empty((*shape, 2), np.float32)
    veil = 0.02 + 0.012 * texture(rng, shape, 60) + 0.006 * texture(rng, shape, 12)
    density[..., 0], density[..., 1] = 0.7 * veil, veil
    x, y = scatter(rng, shape, 40, rng.uniform(0, 0.12))
    speck = np.zeros((*shape, 2), np.float32)
    stamp_nuclei(rng, speck, 'fragment', x, y)
    return np.maximum(density + 0.12 * cv2.GaussianBlur(speck, (0, 0), 1.2), 0)


def _debris(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Necrosis: granular pink matter with holes, smeared nuclei and fragments."""
    cloud, clump, fine = texture(rng, shape, 40), texture(rng, shape, 11), texture(rng, shape, 3)
    matter = smooth_step(0.7 * cloud + 0.7 * clump + 0.35 * fine + rng.uniform(0.2, 1.3), 0.9)
    density = np.empty((*shape, 2), np.float32)
    grainy = 1 + 0.28 * fine + 0.22 * clump + 0.12 * texture(rng, shape, 1)
    density[..., 1] = 0.04 + matter * np.maximum(grainy, 0.2) * rng.uniform(0.38, 0.65)
    smear = np.maximum(0.16 + 0.14 * clump + 0.12 * cloud + 0.10 * fine, 0)
    density[..., 0] = 0.03 + matter * smear * rng.uniform(0.6, 1.6)
    dark = smooth_step(texture(rng, shape, 30) + 0.4, 1.5) * matter
    x, y = scatter(rng, shape, 8, dark * rng.uniform(0.2, 0.7))
    stamp_nuclei(rng, density, 'fragment', x, y, tone=(0.5, 1.1))
    x, y = scatter(rng, shape, 16, dark * rng.uniform(0.1, 0.5))
    stamp_nuclei(rng, density, 'plasma', x, y, tone=(0.3, 0.9))
    return density


def _lymphocytes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A sheet of lymphocytes on sparse stroma."""
    along, across = flow(rng, shape, 12, 40)
    density = fibre_density(rng, along, across, rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.7))
    density[..., 0] += 0.08
    add_capillaries(rng, density, rng.uniform(0, 0.02), 1.0)
    crowd = np.clip(rng.uniform(0.75, 1.0) + 0.25 * texture(rng, shape, 40), 0.1, 1)
    x, y = scatter(rng, shape, rng.uniform(8.2, 10.5), crowd)
    other = rng.random(len(x)) < rng.uniform(0.05, 0.35)
    stamp_nuclei(rng, density, 'plasma', x[other], y[other], tone=(0.6, 1.0))
    stamp_nuclei(rng, density, 'lymphocyte', x[~other], y[~other], tone=(0.6, 1.15))
    return density


def _mucus(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Pools of pale stringy mucus with a few floating cells."""
    along, across = flow(rng, shape, rng.uniform(10, 20), 50)
    broad, strand = fibres(rng, along, across, 60, 20), fibres(rng, along, across, 30, 3)
    thread = np.exp(-np.square(fibres(rng, along, across, 60, 9)) / 0.03)  # thin lines where the field crosses 0
    veil = 0.16 + 0.04 * broad + 0.045 * strand + 0.06 * texture(rng, shape, 35) + 0.06 * thread
    veil = np.maximum(veil, 0.02) * np.float32(rng.uniform(0.6, 1.4))
    blue = rng.uniform(0.6, 1.5)
    foam = 1 + 0.22 * texture(rng, shape, 2.5) + 0.22 * texture(rng, shape, 7)
    veil = cv2.GaussianBlur(veil, (0, 0), 0.8) * np.maximum(foam, 0.1)
    density = np.stack([veil * np.float32(blue), veil * np.float32(1.7 - 0.5 * blue)], axis=-1)
    crowd = smooth_step(texture(rng, shape, 35) - 1.0, 1.0)
    x, y = scatter(rng, shape, 11, crowd * rng.uniform(0.1, 0.9))
    stamp_nuclei(rng, density, ('plasma', 'lymphocyte')[int(rng.integers(2))], x, y, tone=(0.4, 0.9))
    return density


def _muscle(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Smooth muscle: parallel bundles of eosin with clefts and slender nuclei along them."""
    along, across = flow(rng, shape, rng.uniform(3, 8), 60)
    broad, fine = fibres(rng, along, across, 120, 9), fibres(rng, along, across, 60, 3)
    level = 1 + 0.10 * broad + 0.12 * fine + 0.08 * texture(rng, shape, 35)
    level += 0.09 * texture(rng, shape, 1.2) + 0.06 * texture(rng, shape, 4)
    cleft = np.exp(-np.square(fibres(rng, along, across, 110, 22)) / rng.uniform(0.004, 0.03))
    level *= 1 - np.float32(rng.uniform(0.4, 0.9)) * cleft
    density = np.empty((*shape, 2), np.float32)
    density[..., 1] = np.maximum(level, 0.05) * rng.uniform(0.55, 0.85)
    density[..., 0] = np.maximum(0.14 + 0.04 * broad + 0.03 * fine, 0.02) * (1 - 0.6 * cleft)
    x, y = scatter(rng, shape, rng.uniform(15, 20), rng.uniform(0.45, 0.9))
    angle = fibre_angle(across, x, y) + rng.normal(0, 0.07, size=len(x))
    stamp_nuclei(rng, density, 'spindle', x, y, angle, tone=(0.55, 0.95))
    return density


def _stroma(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Tumour-associated connective tissue: wavy collagen, fibroblasts, some immune cells."""
    along, across = flow(rng, shape, rng.uniform(8, 22), rng.uniform(30, 60))
    stroma = draw_stroma(rng)
    stroma = replace(stroma, immune=0.6 * stroma.immune)
    density = fibre_density(rng, along, across, stroma.eosin, stroma.loose)
    add_stroma_cells(rng, density, across, stroma)
    return density


def _mucosa(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Normal mucosa: round crypts with goblet cells in a cellular lamina propria."""
    grade = GRADES['healthy']
    stroma = Stroma(rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.7), 0.35, rng.uniform(0.4, 0.9), rng.uniform(0, 0.03))
    return paint_gland_tissue(rng, place_glands(rng, shape, grade), grade, stroma)


def _tumour(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Carcinoma: irregular crowded glands, or sheets of large pleomorphic cells."""
    if rng.random() < 0.4:
        return _sheet(rng, shape)
    names = ('moderately differentiated', 'moderately-to-poorly differentated', 'poorly differentiated')
    grade = GRADES[names[int(rng.integers(3))]]
    return paint_gland_tissue(rng, place_glands(rng, shape, grade), grade)


def _sheet(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Solid carcinoma: cells without glands, strands of stroma between their nests."""
    along, across = flow(rng, shape, 12, 45)
    stroma = draw_stroma(rng)
    density = fibre_density(rng, along, across, stroma.eosin, stroma.loose)
    nest = texture(rng, shape, 45) + 0.12 * texture(rng, shape, 6) + np.float32(rng.uniform(0.5, 1.8))
    inside = smooth_step(nest, 0.12)
    add_stroma_cells(rng, density, across, stroma, 1 - inside)
    rough = texture(rng, shape, 8)
    cell = np.empty_like(density)
    cell[..., 0] = rng.uniform(0.18, 0.42) * (1 + 0.22 * rough + 0.22 * texture(rng, shape, 1.4))
    cell[..., 1] = rng.uniform(0.40, 0.75) * (1 + 0.15 * rough + 0.15 * texture(rng, shape, 1.4))
    seam = np.exp(-np.square(texture(rng, shape, 9)) / 0.04) * smooth_step(texture(rng, shape, 30), 1)
    cell *= (1 - np.float32(rng.uniform(0.1, 0.45)) * seam)[..., None]
    density += inside[..., None] * (cell - density)
    spacing = rng.uniform(14, 20)
    x, y = scatter(rng, shape, spacing, smooth_step(nest - 0.15, 0.1) * 0.95)
    stamp_nuclei(rng, density, 'tumour', x, y, tone=(0.7, 1.2))
    return density


TISSUES = {
    'ADI': _fat,
    'BACK': _background,
    'DEB': _debris,
    'LYM': _lymphocytes,
    'MUC': _mucus,
    'MUS': _muscle,
    'NORM': _mucosa,
    'STR': _stroma,
    'TUM': _tumour,
}


def check_size(size: int | tuple[int, int], largest: int = 8192) -> tuple[int, int]:
    """``(width, height)`` of a picture, from one side or both.

    Raises:
        ValueError: A side is not a whole number of 32 to ``largest`` pixels.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if not all(isinstance(v, int) and 32 <= v <= largest for v in (width, height)):
        raise ValueError(f'size is {size!r}, expected sides of 32 to {largest} whole pixels; use S or (width, height)')
    return width, height


def canvas(size: int | tuple[int, int]) -> tuple[int, int]:
    """Shape ``(h, w)`` of the canvas of a picture, margins included."""
    width, height = check_size(size)
    return height + 2 * MARGIN, width + 2 * MARGIN


def thickness(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Thickness of a section, about 1, ``(h, w, 1)``."""
    return 1 + 0.07 * texture(rng, shape, 80)[..., None]


def picture(rng: np.random.Generator, density: np.ndarray, seed: int, patient: int, zoom: int = 1) -> np.ndarray:
    """Photograph of a canvas without its margins, ``zoom`` times as large; uint8 RGB."""
    stain = draw_stain(np.random.default_rng([STAIN_STREAM, seed, patient]))
    density = np.ascontiguousarray((density * thickness(rng, density.shape[:2]))[MARGIN:-MARGIN, MARGIN:-MARGIN])
    if zoom > 1:
        density = np.maximum(cv2.resize(density, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), 0)
    return photograph(rng, density, stain)


def draw_patch(
    tissue: str, size: int | tuple[int, int] = 224, seed: int = 0, patient: int = 0, index: int = 0
) -> np.ndarray:
    """A patch of one tissue at 20x.

    Args:
        tissue: One of the NCT class names, the keys of :data:`TISSUES`.
        size: Side, or ``(width, height)``, in pixels.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the patch; equal arguments give equal bytes.

    Returns:
        ``(height, width, 3)`` uint8 RGB.

    Raises:
        ValueError: Unknown tissue or impossible size.
    """
    if tissue not in TISSUES:
        raise ValueError(f'tissue is {tissue!r}, expected one of {", ".join(TISSUES)}')
    shape = canvas(size)
    rng = np.random.default_rng([_PATCH_STREAM, seed, patient, index, list(TISSUES).index(tissue)])
    return picture(rng, TISSUES[tissue](rng, shape), seed, patient)


def draw_glands(
    size: int | tuple[int, int] = (775, 522),
    seed: int = 0,
    patient: int = 0,
    index: int = 0,
    grade: str = 'healthy',
) -> tuple[np.ndarray, np.ndarray]:
    """A field of glands at 20x with its instance truth.

    Args:
        size: Side, or ``(width, height)``, in pixels.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the picture; equal arguments give equal bytes.
        grade: One of the GlaS grades, the keys of :data:`~.glands.GRADES`.

    Returns:
        The picture, ``(height, width, 3)`` uint8 RGB, and the map of glands, ``(height, width)`` uint8: 0 outside,
        1..N the visible glands, each of one piece. A gland covers its epithelium and its lumen.

    Raises:
        ValueError: Unknown grade or impossible size.
    """
    if grade not in GRADES:
        raise ValueError(f'grade is {grade!r}, expected one of {", ".join(GRADES)}')
    shape = canvas(size)
    rng = np.random.default_rng([_GLAND_STREAM, seed, patient, index, list(GRADES).index(grade)])
    labels = place_glands(rng, shape, GRADES[grade])
    truth = visible_instances(labels)
    return picture(rng, paint_gland_tissue(rng, labels, GRADES[grade]), seed, patient), truth
