"""DigestPath 2019, segmentation of colonoscopy tissue: pictures with masks of lesions."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .label_maps import ConversionError
from .patch_sources import walk_files
from .semantic_tiles import Source, Tile, cut_picture
from .transforms.loading import UnreadableImageError, read_image

CLASSES = ('normal', 'lesion')
POSITIVE, NEGATIVE = 'pos', 'neg'
_SUFFIXES = ('.jpg', '.jpeg')
_MASK = '_mask'
_NAME = re.compile(r'(.+?)-lv\d+-\d+-\d+-\d+-\d+')
_UNCLEAR = 0.05  # share of grey pixels that JPEG leaves along outlines, with a margin


def find_pictures(data: Path, side: int, stride: int) -> list[Source]:
    """Pictures that have a mask, sorted by path; says how many without lesions are left out.

    Args:
        data: Folder with the folders ``tissue-train-pos`` and ``tissue-train-neg``, or the former itself.
        side: Of a tile in pixels.
        stride: From a tile to the next.

    Raises:
        ConversionError: no pictures, a mask without picture, a picture outside of a folder of negatives without mask,
            or a name that does not say of which slide it is.
    """
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder with tissue-train-pos')
    paths = [data / path for path in sorted(walk_files(str(data))) if Path(path).suffix.lower() in _SUFFIXES]
    masks = {path.with_name(path.stem.removesuffix(_MASK)): path for path in paths if path.stem.endswith(_MASK)}
    images = {path.with_name(path.stem): path for path in paths if not path.stem.endswith(_MASK)}
    lonely = sorted(masks.keys() - images.keys())
    if lonely:
        raise ConversionError(f'{len(lonely)} masks such as {masks[lonely[0]]} have no picture beside them; add it')
    bare = [path for stem, path in images.items() if stem not in masks]
    unmasked = [path for path in bare if not path.parent.name.lower().endswith(NEGATIVE)]
    if unmasked:
        raise ConversionError(
            f'{len(unmasked)} pictures such as {unmasked[0]} have no mask {unmasked[0].stem}{_MASK}.jpg beside them; '
            f'add it, or move pictures without lesions to a folder whose name ends in {NEGATIVE}'
        )
    if not masks:
        raise ConversionError(f'{data} holds no picture with a mask; give the folder with tissue-train-pos')
    if bare:
        print(f'note: {len(bare)} pictures without lesions have no mask and are left out')
    return [
        Source(
            stem.name.replace(' ', '_'),
            (images[stem], mask),
            _slide(stem),
            partial(_tiles, images[stem], mask, side, stride),
        )
        for stem, mask in masks.items()
    ]


def _slide(stem: Path) -> str:
    match = _NAME.fullmatch(stem.name)
    if match is None:
        raise ConversionError(
            f'{stem}.jpg has a name that does not say of which slide it is, expected <slide>-lv<level>-<x>-<y>-<width>-'
            '<height>; rename it, as slides must not be on both sides of a split'
        )
    return match[1]


def _tiles(image: Path, mask: Path, side: int, stride: int) -> Iterator[Tile]:
    return cut_picture(*read_picture(image, mask), side, stride)


def read_picture(image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) RGB, and mask (H, W): 1 where the stored grey value is above 127. Both uint8.

    Raises:
        ConversionError: an unreadable file, another size, or a mask that is not all but black and white.
    """
    try:
        pixels, grey = read_image(str(image)), read_image(str(mask))[..., 0]
    except UnreadableImageError as error:
        raise ConversionError(f'image {error}') from error
    if grey.shape != pixels.shape[:2]:
        raise ConversionError(
            f'{mask} is {grey.shape[1]}x{grey.shape[0]}, its image {image} is {pixels.shape[1]}x{pixels.shape[0]}; '
            'they must be the same size'
        )
    unclear = float(((grey > 64) & (grey < 192)).mean())
    if unclear > _UNCLEAR:
        raise ConversionError(
            f'{mask}: {unclear:.0%} of the pixels are grey, expected black and white; is it a mask of DigestPath?'
        )
    return pixels, (grey > 127).astype(np.uint8)
