"""Regions of BCSS as they are distributed: which there are, how they are split, and the patches of one."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .bcss import CLASSES, TEST_INSTITUTES
from .label_maps import ConversionError, read_label_map
from .patients import tcga_participant
from .transforms.loading import UnreadableImageError, read_image

MPP = 0.25
"""Micrometres a pixel of the regions."""

_RESOLUTION = re.compile(r'_MPP-(\d+(?:\.\d+)?)$')


@dataclass(frozen=True)
class Region:
    """A region of interest.

    Attributes:
        name: Name of its files without the resolution.
        image: PNG file.
        mask: PNG file of codes.
        participant: ``TCGA-XX-XXXX``.
    """

    name: str
    image: Path
    mask: Path
    participant: str

    @property
    def institute(self) -> str:
        """Tissue source site, the second part of the barcode."""
        return self.participant.split('-')[1]


class Patch(NamedTuple):
    """A patch of a region, reduced."""

    x: int
    """Left edge in pixels of the region."""
    y: int
    """Upper edge."""
    image: np.ndarray
    """(S, S, 3) uint8, RGB."""
    mask: np.ndarray
    """(S, S) uint8, codes."""
    filled_up: bool
    """Whether the region ends inside of it."""


def _list_png(folder: Path) -> dict[str, Path]:
    """PNG files of a folder by stem; others are said to be left out, but for hidden ones."""
    if not folder.parent.is_dir():
        raise ConversionError(f'{folder.parent} is not a folder; give the folder with images and masks')
    if not folder.is_dir():
        found = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise ConversionError(
            f'{folder} is not a folder; {folder.parent} holds {", ".join(found) or "no folders"}; correct the path, or '
            'name the folders with --images and --masks'
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    images = {path.stem: path for path in files if path.suffix.lower() == '.png'}
    others = [path.name for path in files if path.suffix.lower() != '.png']
    if others:
        print(f'note: {folder} holds {len(others)} files other than png, such as {others[0]}')
    return images


def find_regions(images: Path, masks: Path) -> list[Region]:
    """Regions by name.

    Raises:
        ConversionError: no regions, an image without mask or the other way round, or a name that does not say which
            participant it is from or that it has 0.25 µm a pixel.
    """
    found, labels = _list_png(images), _list_png(masks)
    if not found:
        raise ConversionError(f'{images} holds no png; give the folder with the regions of BCSS')
    for here, there, folder in ((found, labels, masks), (labels, found, images)):
        lonely = sorted(here.keys() - there.keys())
        if lonely:
            raise ConversionError(
                f'{len(lonely)} files such as {here[lonely[0]]} have no counterpart in {folder}; every image needs a '
                'mask of the same name: add what is missing, or remove these'
            )
    regions = {region.name: region for region in (_region(stem, found[stem], labels[stem]) for stem in sorted(found))}
    if len(regions) < len(found):
        raise ConversionError(f'{images} holds a region twice, with its resolution written in two ways; keep one')
    return list(regions.values())


def _region(stem: str, image: Path, mask: Path) -> Region:
    participant, resolution = tcga_participant(stem), _RESOLUTION.search(stem)
    if participant is None:
        raise ConversionError(
            f'{image} has no TCGA barcode in its name, expected one as in TCGA-A1-A0SK-DX1_xmin45749_ymin25055_'
            'MPP-0.2500.png; the split needs it'
        )
    if resolution is None or float(resolution[1]) != MPP:
        raise ConversionError(
            f'{image} is called {stem}, expected a name that ends in _MPP-0.2500: other resolutions are not resampled; '
            'download the regions at 0.25 µm a pixel'
        )
    return Region(stem[: resolution.start()], image, mask, participant)


def split_participants(regions: Iterable[Region], val_share: float, seed: int) -> dict[str, str]:
    """Participant to ``train``, ``val`` or ``test``.

    Args:
        regions: All of them.
        val_share: Share of the participants of train that go to val; at least one does, and one stays.
        seed: Of the draw.

    Raises:
        ConversionError: fewer than two participants for train and val.
    """
    institutes = {region.participant: region.institute for region in regions}
    others = sorted(name for name, institute in institutes.items() if institute not in TEST_INSTITUTES)
    if len(others) < 2:
        raise ConversionError(
            f'{len(others)} participants are of other institutes than those of the test set ('
            f'{", ".join(TEST_INSTITUTES)}), expected 2 or more for train and val'
        )
    if len(others) == len(institutes):
        print(f'note: no region is of the institutes {", ".join(TEST_INSTITUTES)}: there is no test set')
    drawn = np.random.default_rng(seed).permutation(others)
    count = min(max(1, round(val_share * len(others))), len(others) - 1)
    val = {str(name) for name in drawn[:count]}
    return {
        name: 'test' if institute in TEST_INSTITUTES else 'val' if name in val else 'train'
        for name, institute in sorted(institutes.items())
    }


def cut(image: np.ndarray, mask: np.ndarray, side: int, factor: int) -> Iterator[Patch]:
    """Patches of a region on a grid from its upper left corner, row by row.

    A patch that reaches beyond the region is filled up: the image with white, the mask with code 0. So every patch is
    reduced by exactly ``factor``, and nothing shifts. A pixel of the image becomes the mean of factor × factor ones;
    one of the mask takes the code of that in the middle, or, where factor is even, of that below and to the right of
    the middle, as nearest-neighbour sampling by pixel centres does.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, codes.
        side: Of a patch, in pixels of the region; a multiple of ``factor``.
        factor: By which image and mask are reduced.
    """
    height, width = mask.shape
    for y in range(0, height, side):
        for x in range(0, width, side):
            part, codes = image[y : y + side, x : x + side], mask[y : y + side, x : x + side]
            below, right = side - codes.shape[0], side - codes.shape[1]
            if below or right:
                part = np.pad(part, ((0, below), (0, right), (0, 0)), constant_values=255)
                codes = np.pad(codes, ((0, below), (0, right)))
            small = cv2.resize(part, (side // factor, side // factor), interpolation=cv2.INTER_AREA)
            yield Patch(x, y, small, codes[factor // 2 :: factor, factor // 2 :: factor], bool(below or right))


def read_region(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and codes (H, W), uint8.

    Raises:
        ConversionError: an unreadable file, other sizes, or codes that BCSS does not have.
    """
    try:
        image = read_image(str(region.image))
    except UnreadableImageError as error:
        raise ConversionError(f'image {error}') from error
    mask = read_label_map(region.mask)
    if mask.shape != image.shape[:2]:
        raise ConversionError(
            f'{region.mask} is {mask.shape[1]}x{mask.shape[0]}, its image {region.image} is '
            f'{image.shape[1]}x{image.shape[0]}; they must be the same size'
        )
    unknown = np.unique(mask[mask > len(CLASSES)]).tolist()
    if unknown:
        raise ConversionError(
            f'{region.mask} holds the codes {", ".join(map(str, unknown[:5]))}, expected 0 to {len(CLASSES)}; is it a '
            'mask of BCSS?'
        )
    return image, mask.astype(np.uint8)
