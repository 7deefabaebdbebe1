"""BACH, part B: slides with outlines of benign, in situ and invasive regions."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histomm.wsi.reader import open_slide
from histomm.wsi.tiling import foreground_share
from histomm.wsi.tissue import OtsuTissue, find_tissue

from .imagescope import Region, read_regions
from .label_maps import ConversionError
from .nuclei_conversion import pair_up
from .semantic_tiles import IGNORED, Source, Tile, starts

CLASSES = ('normal', 'benign', 'in situ', 'invasive')
"""Names of the classes 0 to 3. What is outlined by nobody is normal."""
SHARES = (5, 3, 2)
"""Slides of train, val and test, of Ciga et al. 2022."""
_WORDS = (re.compile('benign', re.I), re.compile(r'in[\s_-]*situ', re.I), re.compile('invasive', re.I))


def class_of(path: Path, region: Region) -> int:
    """Class of an outline, by the first of its names, or its layer's, with one of the words benign, in situ, invasive.

    Raises:
        ConversionError: none has, or one has two of them.
    """
    for name in region.names:
        found = [number for number, word in enumerate(_WORDS, 1) if word.search(name)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise ConversionError(
        f'annotation {path}: region {region.number} is called {", ".join(map(repr, region.names)) or "nothing"}, '
        f'expected one of {", ".join(CLASSES[1:])}; correct it'
    )


def draw_window(regions: Iterable[tuple[Region, int]], x: int, y: int, shape: tuple[int, int]) -> np.ndarray:
    """Classes of a part of a slide.

    Outlines are filled in their order: later ones win, and negative ones take away. As in
    :func:`~.imagescope.draw_regions`, a vertex marks the pixel in which it lies, and lines belong to the region.
    Those of less than three vertices enclose nothing.

    Args:
        regions: Outlines in level-0 pixels, and their classes.
        x: Left edge of the part in level-0 pixels.
        y: Upper edge.
        shape: (height, width) of the part.

    Returns:
        (H, W) uint8.
    """
    height, width = shape
    canvas = Image.new('L', (width, height))
    pen = ImageDraw.Draw(canvas)
    for region, code in regions:
        if len(region.points) < 3:
            continue
        points = region.points.astype(int) - [x, y]
        low, high = points.min(axis=0), points.max(axis=0)
        if (high >= 0).all() and low[0] < width and low[1] < height:
            pen.polygon([tuple(point) for point in points.tolist()], fill=0 if region.negative else code)
    return np.array(canvas)


def find_outlined_slides(data: Path, side: int, stride: int, tissue: float, mpp: float | None = None) -> list[Source]:
    """Slides with their outlines, sorted; says how many slides have no outlines and are left out.

    Args:
        data: Folder with ``A01.svs``, ``A01.xml`` and so on.
        side: Of a tile in level-0 pixels.
        stride: From a tile to the next.
        tissue: Share of tissue from which on a tile without outlines is taken.
        mpp: µm a level-0 pixel, where the file does not say.

    Raises:
        ConversionError: no slides with outlines, or outlines without a slide.
    """
    slides, outlines = _files(data, ('.svs', '.tif', '.tiff')), _files(data, ('.xml',))
    bare = [name for name in slides if name not in outlines]
    if bare and outlines:
        print(f'note: {len(bare)} slides without xml, such as {slides[bare[0]]}, are left out')
    pairs = pair_up({name: path for name, path in slides.items() if name in outlines}, outlines, data)
    if not pairs:
        raise ConversionError(f'{data} holds no svs with an xml of the same name; give the folder WSI of BACH')
    return [
        Source(
            pair.image.stem,
            (pair.image, pair.label),
            pair.image.stem,
            partial(slide_tiles, *pair[:2], side, stride, tissue, mpp),
        )
        for pair in pairs
    ]


def _files(data: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not data.is_dir():
        raise ConversionError(f'{data} is not a folder; give the folder WSI of BACH')
    paths = sorted(path for path in data.iterdir() if not path.name.startswith('.'))
    return {path.stem: path for path in paths if path.suffix.lower() in suffixes}


def slide_tiles(
    image: Path, annotation: Path, side: int, stride: int, tissue: float, mpp: float | None
) -> Iterator[Tile | None]:
    """Tiles of level 0; None in place of those without outlines and with too little tissue.

    Raises:
        ConversionError: a slide or annotation that cannot be read, a vertex that is not finite or beside the slide by
            more than a tenth of its side, or a region of no known class.
    """
    regions = [(region, class_of(annotation, region)) for region in read_regions(annotation)]
    try:
        with open_slide(image, mpp) as slide:
            width, height = slide.size
            _check_places(annotation, [region for region, _ in regions], width, height)
            corners = np.array([(x, y) for y in starts(height, side, stride) for x in starts(width, side, stride)])
            share = foreground_share(find_tissue(slide, OtsuTissue()), corners, (side, side))
            for (x, y), part in zip(corners.tolist(), share.tolist(), strict=True):
                mask = draw_window(regions, x, y, (side, side))
                mask[height - y if height - y < side else side :] = IGNORED
                mask[:, width - x if width - x < side else side :] = IGNORED
                if part < tissue and not ((mask > 0) & (mask != IGNORED)).any():
                    yield None
                    continue
                yield Tile(x, y, slide.read(x, y, side, side), mask)
    except ConversionError:
        raise
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _check_places(path: Path, regions: Sequence[Region], width: int, height: int) -> None:
    for region in regions:
        points = region.points
        inside = np.isfinite(points).all() and (np.abs(points / [width, height] - 0.5) <= 0.6).all()
        if not inside:
            raise ConversionError(
                f'annotation {path}: region {region.number} reaches far beyond its slide of {width}x{height}; is it '
                'the annotation of another slide?'
            )
