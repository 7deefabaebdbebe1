"""One place of a tissue at several magnifications, in the layout of BreakHis."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from .nuclei import MARGIN
from .stain import draw_stain, photograph
from .tissue import STAIN_STREAM, TISSUES, canvas, thickness

FACTORS = (1.0, 2.5, 5.0, 10.0)
"""Of 40X, 100X, 200X and 400X over the first."""

_STREAM = 8
# Subtype of BreakHis to its class, its folder, and the tissue that is drawn for it.
_SUBTYPES = {
    'A': ('benign', 'adenosis', 'NORM'),
    'DC': ('malignant', 'ductal_carcinoma', 'TUM'),
    'F': ('benign', 'fibroadenoma', 'STR'),
    'LC': ('malignant', 'lobular_carcinoma', 'LYM'),
    'PT': ('benign', 'phyllodes_tumor', 'MUS'),
    'MC': ('malignant', 'mucinous_carcinoma', 'MUC'),
    'TA': ('benign', 'tubular_adenoma', 'NORM'),
    'PC': ('malignant', 'papillary_carcinoma', 'TUM'),
}
_PLACES = 2  # of a patient before the next patient of the subtype comes
_FIRST_SLIDE = 90000  # beyond the numbers of real slides
_FOLDERS = {'A': 4, 'F': 10, 'PT': 3, 'TA': 7, 'DC': 38, 'LC': 5, 'MC': 9, 'PC': 6}  # of BreakHis, 82
_FIRST_OF_82 = 95000  # other patients than those of the smaller layout


def draw_magnifications(
    tissue: str,
    size: int | tuple[int, int] = (700, 460),
    seed: int = 0,
    patient: int = 0,
    index: int = 0,
    factors: Sequence[float] = FACTORS,
) -> tuple[np.ndarray, ...]:
    """Pictures of one size around the same point of a tissue, at growing magnification.

    Args:
        tissue: Key of :data:`~.tissue.TISSUES`.
        size: Side, or ``(width, height)``, in pixels of each picture.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the place; equal arguments give equal bytes.
        factors: Magnifications over that of 20x (0.5 µm a pixel), 1 or more.

    Returns:
        A picture for each factor, ``(height, width, 3)`` uint8 RGB. Pixel p of the picture of factor f shows what lies
        at ``c + (p - c) / f`` in that of factor 1, with c the middle ``((width - 1) / 2, (height - 1) / 2)``.

    Raises:
        ValueError: Unknown tissue, impossible size or a factor below 1.
    """
    if tissue not in TISSUES:
        raise ValueError(f'tissue is {tissue!r}, expected one of {", ".join(TISSUES)}')
    if min(factors) < 1:
        raise ValueError(f'factors are {tuple(factors)}, expected 1 or more: nothing is drawn beyond the first picture')
    height, width = shape = canvas(size)
    rng = np.random.default_rng([_STREAM, seed, patient, index, list(TISSUES).index(tissue)])
    density = TISSUES[tissue](rng, shape)
    density *= thickness(rng, shape)
    stain = draw_stain(np.random.default_rng([STAIN_STREAM, seed, patient]))
    middle, inner = np.array([width - 1, height - 1]) / 2, (width - 2 * MARGIN, height - 2 * MARGIN)
    pictures = []
    for factor in factors:
        start = middle - (np.array(inner) - 1) / (2 * factor)
        place = np.array([[1 / factor, 0, start[0]], [0, 1 / factor, start[1]]])
        near = cv2.warpAffine(density, place, inner, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        pictures.append(photograph(rng, np.maximum(near, 0), stain))
    return tuple(pictures)


def breakhis_pictures(
    num: int, size: tuple[int, int], seed: int
) -> Iterator[tuple[tuple[str, ...], Callable[[], tuple[np.ndarray, ...]]]]:
    """``…/benign/SOB/adenosis/SOB_B_A_14-90000/40X/SOB_B_A-14-90000-40-001.png``, and 100X, 200X and 400X of the place.

    Subtypes, benign and malignant in turn, each patient with two places; every other patient shares the number of the
    slide with another one, and differs from it by a letter.
    """
    for index in range(num):
        turn, which = divmod(index, len(_SUBTYPES))
        subtype = list(_SUBTYPES)[which]
        number, place = divmod(turn, _PLACES)
        patient = number * len(_SUBTYPES) + which
        slide = f'14-{_FIRST_SLIDE + number // 2 * len(_SUBTYPES) + which}{"AC"[number % 2]}{"BD"[number % 2]}'
        yield _files(subtype, slide, place), partial(_draw, subtype, size, seed, patient, index)


def breakhis_82_pictures(
    num: int, size: tuple[int, int], seed: int
) -> Iterator[tuple[tuple[str, ...], Callable[[], tuple[np.ndarray, ...]]]]:
    """As :func:`breakhis_pictures`, with the 82 folders that BreakHis has, a place of each in turn.

    As there, one patient has a folder of ductal and one of lobular carcinoma, slides differ in their letters alone, and
    one is of the year 15.
    """
    folders = _folders_of_82()
    for index in range(num):
        place, which = divmod(index, len(folders))
        subtype, slide, patient = folders[which]
        yield _files(subtype, slide, place), partial(_draw, subtype, size, seed, patient, index)


def _folders_of_82() -> list[tuple[str, str, int]]:
    """Subtype, slide and patient of each folder, the subtypes spread over the list by their shares."""
    order = sorted((number / count, subtype, number) for subtype, count in _FOLDERS.items() for number in range(count))
    slides, found = {}, []
    for patient, (_, subtype, number) in enumerate(order):
        slide = f'14-{_FIRST_OF_82 + patient}'
        if (subtype, number) == ('LC', 0):
            slide, patient = slides['DC', 0]
        elif number == 1 and subtype != 'DC':
            slide = f'{slides[subtype, 0][0]}C'
        elif (subtype, number) == ('PC', 2):
            slide = f'15-{_FIRST_OF_82 + patient}EF'
        slides[subtype, number] = slide, patient
        found.append((subtype, slide, patient))
    return found


def _files(subtype: str, slide: str, place: int) -> tuple[str, ...]:
    """Paths of a place at the four magnifications."""
    label, folder, _ = _SUBTYPES[subtype]
    kind = 'B' if label == 'benign' else 'M'
    case = f'histology_slides/breast/{label}/SOB/{folder}/SOB_{kind}_{subtype}_{slide}'
    return tuple(
        f'{case}/{magnification}X/SOB_{kind}_{subtype}-{slide}-{magnification}-{place + 1:03d}.png'
        for magnification in (40, 100, 200, 400)
    )


def _draw(subtype: str, *args: int) -> tuple[np.ndarray, ...]:
    return draw_magnifications(_SUBTYPES[subtype][2], *args)
