"""Pictures of several tissues with the truth of every pixel, in the layouts of data sets with regions or shares."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from .encoding import Content
from .nuclei import MARGIN
from .regions import island
from .tissue import TISSUES, canvas, picture

Plan = tuple[tuple[str, ...], Callable[[], tuple[Content, ...]]]

_STREAM, _CASE_STREAM = 9, 10
_GRADES = {1: 'NORM', 3: 'MUS', 4: 'TUM', 5: 'LYM'}
"""Tissues that are drawn for the codes of Gleason2019: benign, and the grades 3, 4 and 5."""
_EXPERTS = 6
_NEST = 'LYM'  # of all tissues the one with the most nuclei


def draw_patchwork(
    tissues: Sequence[str],
    shares: Sequence[float],
    size: int | tuple[int, int] = 512,
    seed: int = 0,
    patient: int = 0,
    index: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A tissue with islands of others.

    Args:
        tissues: Keys of :data:`~.tissue.TISSUES`; the first is everywhere, the others lie on it, later ones on top.
        shares: What each island covers of the picture, about, 0 to 1; as many as there are islands.
        size: Side, or ``(width, height)``, in pixels.
        seed: Seed of the whole set, not negative.
        patient: Decides stain, glass, focus and sensor.
        index: Number of the picture; equal arguments give equal bytes.

    Returns:
        The picture, ``(height, width, 3)`` uint8 RGB, and the place in ``tissues`` of each pixel's tissue, ``(height,
        width)`` uint8.
    """
    shape = canvas(size)
    rng = np.random.default_rng([_STREAM, seed, patient, index])
    density, which = TISSUES[tissues[0]](rng, shape), np.zeros(shape, np.uint8)
    for number, (tissue, share) in enumerate(zip(tissues[1:], shares, strict=True), 1):
        mask = island(rng, shape, share)
        cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
        density += cover * (TISSUES[tissue](rng, shape) - density)
        which[mask] = number
    return picture(rng, density, seed, patient), np.ascontiguousarray(which[MARGIN:-MARGIN, MARGIN:-MARGIN])


# ---- Gleason2019


def _draw_core(
    size: tuple[int, int], seed: int, patient: int, index: int, experts: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """A core on glass, and the map of each expert, who sees outlines a little elsewhere, and one grade as another."""
    rng = np.random.default_rng([_CASE_STREAM, seed, index])
    codes = rng.permutation(list(_GRADES)).tolist()
    image, which = draw_patchwork([_GRADES[code] for code in codes], (0.4, 0.3, 0.2), size, seed, patient, index)
    height, width = which.shape
    ys, xs = np.mgrid[0:height, 0:width]
    outside = np.hypot((xs - width / 2) / width, (ys - height / 2) / height) > 0.48
    image[outside] = 244
    truth = np.array(codes, np.uint8)[which]
    maps = []
    for expert in experts:
        own = np.random.default_rng([_CASE_STREAM, seed, index, expert])
        seen = np.roll(truth, own.integers(-4, 5, size=2), (0, 1))
        if expert == experts[-1]:
            seen = np.where(seen == 3, 4, seen)
        seen[outside] = 0
        maps.append(seen.astype(np.uint8))
    return image, *maps


def gleason_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``Train_imgs/slide001_core003.jpg``, and a map of each of 3 to 6 experts in ``Maps1_T`` and so on."""
    for index in range(num):
        slide, core = divmod(index, 4)
        rng = np.random.default_rng([_CASE_STREAM, seed, index, 100])
        experts = sorted((rng.permutation(_EXPERTS)[: rng.integers(3, _EXPERTS + 1)] + 1).tolist())
        stem = f'slide{slide + 1:03d}_core{core + 1:03d}'
        files = f'Train_imgs/{stem}.jpg', *(f'Maps{expert}_T/{stem}_classimg_nonconvex.png' for expert in experts)
        yield files, partial(_draw_core, size, seed, slide, index, experts)


# ---- DigestPath2019


def _draw_lesion(*args: object) -> tuple[np.ndarray, np.ndarray]:
    image, which = draw_patchwork(('NORM', 'TUM'), (0.35,), *args)
    return image, which * np.uint8(255)


def _draw_mucosa(*args: object) -> tuple[np.ndarray]:
    return (draw_patchwork(('NORM',), (), *args)[0],)


def digestpath_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``tissue-train-pos/2018_90000_1-1_2019-02-25 21_26_36-lv1-…jpg`` and ``…_mask.jpg``; a third is without lesions.

    The first two of every three pictures are of one slide.
    """
    for index in range(num):
        case, which = divmod(index, 3)
        positive = which < 2
        slide = f'2018_{90000 + 2 * case + (which == 2)}_1-1_2019-02-25 21_26_36'
        stem = f'{slide}-lv1-{1000 * which}-{2000 + index}-{size[0]}-{size[1]}'
        image = f'tissue-train-{"pos" if positive else "neg"}/{stem}.jpg'
        files = (image, f'tissue-train-pos/{stem}_mask.jpg') if positive else (image,)
        draw = _draw_lesion if positive else _draw_mucosa
        yield files, partial(draw, size, seed, 2 * case + (which == 2), index)


# ---- BreastPathQ


def _cellularity(seed: int, index: int) -> float:
    """Share of a patch that is tumour cells, a multiple of .05; every fifth has none."""
    value = np.random.default_rng([_CASE_STREAM, seed, index]).uniform(0.05, 0.95)
    return 0.0 if index % 5 == 0 else round(20 * float(value)) / 20


def _breastpathq_case(index: int) -> tuple[str, int, int]:
    """``train`` or ``validation``, slide and number of a patch; a slide has six, and every fourth is to validate."""
    slide, rid = divmod(index, 6)
    return ('validation' if slide % 4 == 3 else 'train'), slide, rid + 1


def _draw_cellularity(value: float, *args: object) -> tuple[np.ndarray]:
    return (draw_patchwork(('STR', _NEST), (value,), *args)[0],)


def breastpathq_pictures(num: int, size: tuple[int, int], seed: int) -> Iterator[Plan]:
    """``datasets/train/90000_1.tif`` and ``datasets/validation/90003_1.tif``."""
    for index in range(num):
        part, slide, rid = _breastpathq_case(index)
        draw = partial(_draw_cellularity, _cellularity(seed, index), size, seed, slide, index)
        yield (f'datasets/{part}/{90000 + slide}_{rid}.tif',), draw


def breastpathq_tables(num: int, seed: int) -> dict[str, str]:
    """``datasets/train_labels.csv`` and ``val_labels.csv``: slide, rid, y from 0 to 1."""
    tables = {'train': 'slide,rid,y\n', 'validation': 'slide,rid,y\n'}
    for index in range(num):
        part, slide, rid = _breastpathq_case(index)
        tables[part] += f'{90000 + slide},{rid},{_cellularity(seed, index):g}\n'
    return {'datasets/train_labels.csv': tables['train'], 'datasets/val_labels.csv': tables['validation']}
