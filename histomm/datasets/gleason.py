"""Gleason 2019: cores whose pixels several experts graded, and tiles of one grade each."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .label_maps import ConversionError, read_label_map
from .nuclei_conversion import list_files
from .transforms.loading import UnreadableImageError, read_image

GRADES = {1: 'benign', 3: 'grade3', 4: 'grade4', 5: 'grade5'}
"""Classes by the codes of the maps; code 0 is background."""
IMAGES = 'Train_imgs'
_MAPS = re.compile(r'Maps(\d+)_T')
_SUFFIX = '_classimg_nonconvex'
_CORE = re.compile(r'slide\d+_core\d+')


class Core(NamedTuple):
    """A core of a tissue microarray."""

    name: str
    """``slide001_core003``."""
    image: Path
    maps: tuple[Path, ...]
    """One of each expert who graded it."""


class GradedTile(NamedTuple):
    """A tile of a core."""

    x: int
    """Left edge in pixels of the core."""
    y: int
    """Upper edge."""
    image: np.ndarray
    """(S, S, 3) uint8, RGB."""
    label: str
    """A value of :data:`GRADES`."""


def find_cores(data: Path) -> list[Core]:
    """Cores by name, each with the maps of its experts.

    Raises:
        ConversionError: no images, a core without map, a map without core, or a name of another form.
    """
    images = list_files(data / IMAGES, ('.jpg', '.jpeg', '.png', '.tif'))
    folders = sorted(path for path in data.iterdir() if path.is_dir() and _MAPS.fullmatch(path.name))
    if not folders:
        raise ConversionError(f'{data} holds no folders Maps1_T, Maps2_T and so on, expected one for each expert')
    maps: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for stem, path in list_files(folder, ('.png',)).items():
            maps[stem.removesuffix(_SUFFIX)].append(path)
    odd = sorted(name for name in images.keys() | maps.keys() if not _CORE.fullmatch(name))
    if odd:
        raise ConversionError(
            f'{images.get(odd[0]) or maps[odd[0]][0]} has a name of another form, expected slide<number>_core<number>, '
            f'for maps with {_SUFFIX}; rename or remove it'
        )
    for here, there, what in ((images, maps, 'map of an expert'), (maps, images, f'image in {IMAGES}')):
        lonely = sorted(here.keys() - there.keys())
        if lonely:
            raise ConversionError(f'{len(lonely)} cores such as {lonely[0]} have no {what}; add what is missing')
    if not images:
        raise ConversionError(f'{data / IMAGES} holds no images; give the folder of Gleason2019')
    return [Core(name, image, tuple(maps[name])) for name, image in images.items()]


def majority(maps: Sequence[np.ndarray]) -> np.ndarray:
    """What most experts say of each pixel; of codes with as many votes the lowest.

    Args:
        maps: Maps (H, W) of whole numbers from 0 on, one of each expert.

    Returns:
        (H, W) uint8.
    """
    codes = np.unique(np.concatenate([np.unique(one) for one in maps]))
    best, most = np.zeros(maps[0].shape, np.uint8), np.zeros(maps[0].shape, np.uint8)
    for code in codes.tolist():
        votes = sum((one == code).astype(np.uint8) for one in maps)
        better = votes > most
        best[better], most[better] = code, votes[better]
    return best


def tile_grade(codes: np.ndarray) -> int:
    """The most frequent code of a tile but for 0, the lowest where several are; 0 for a tile of nothing else."""
    counts = np.bincount(codes.ravel(), minlength=2)
    counts[0] = 0
    return int(counts.argmax())


def read_core(core: Core, recode: Mapping[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Image (H, W, 3) uint8 RGB, and the maps (H, W) uint8.

    Args:
        core: Files.
        recode: Codes of the files to those meant.

    Raises:
        ConversionError: an unreadable file, maps of another size, or codes that the data set does not have.
    """
    try:
        image = read_image(str(core.image))
    except UnreadableImageError as error:
        raise ConversionError(f'image {error}') from error
    maps = []
    for path in core.maps:
        codes = read_label_map(path)
        if codes.shape != image.shape[:2]:
            raise ConversionError(
                f'{path} is {codes.shape[1]}x{codes.shape[0]}, its image {core.image} is '
                f'{image.shape[1]}x{image.shape[0]}; they must be the same size'
            )
        found = np.unique(codes).tolist()
        for code in set(found) & recode.keys():
            codes[codes == code] = recode[code]
        unknown = sorted(set(found) - recode.keys() - {0, *GRADES})
        if unknown:
            raise ConversionError(
                f'{path} holds the code {unknown[0]}, expected 0 or one of {", ".join(map(str, GRADES))}; if you know '
                f'what it means, say so, as in --recode {unknown[0]}=1'
            )
        maps.append(codes.astype(np.uint8))
    return image, maps


def core_tiles(
    core: Core, side: int, size: int, recode: Mapping[int, int], min_graded: float = 0.0
) -> Iterator[GradedTile | None]:
    """Tiles of a core without overlap, row by row; None in place of one that is background or has too little graded.

    What is left at the right and at the bottom is dropped.

    Args:
        core: Files.
        side: Of a tile in the core, a multiple of ``size``.
        size: Side to which it is reduced, by means of pixels.
        recode: As in :func:`read_core`.
        min_graded: Share of a tile that must have a grade or be benign.
    """
    image, maps = read_core(core, recode)
    codes = majority(maps)
    for y in range(0, codes.shape[0] - side + 1, side):
        for x in range(0, codes.shape[1] - side + 1, side):
            part = codes[y : y + side, x : x + side]
            grade = tile_grade(part)
            if not grade or (part > 0).mean() < min_graded:
                yield None
                continue
            tile = image[y : y + side, x : x + side]
            yield GradedTile(x, y, cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA), GRADES[grade])
