"""Outlines that Aperio ImageScope stores as xml, and the label maps that they make."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from PIL import Image, ImageDraw

from .label_maps import ConversionError

FAR = 0.1
"""How far beyond the image a vertex may lie, as a share of its side; those of MoNuSeg stray by 3 pixels of 1000."""


class Region(NamedTuple):
    """One outline, closed by itself."""

    number: int
    """Place in the file, from 1, over all layers of annotations."""
    points: np.ndarray
    """(N, 2) floats, x and y of the vertices in pixels of the image; fewer than 3 enclose nothing."""
    negative: bool
    """Whether it takes away what earlier regions gave (``NegativeROA``)."""
    names: tuple[str, ...] = ()
    """What region and layer are called: values of the region's attributes and its text, then those of its layer."""


def read_regions(path: Path) -> list[Region]:
    """Regions of all layers, in the order of the file.

    Raises:
        ConversionError: a missing or damaged file, one with a document type (and so perhaps entities or references to
            other files, which are never followed), no ImageScope annotations, or a vertex without numbers X and Y.
    """
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError as error:
        raise ConversionError(f'annotation {path} is missing; every image needs one') from error
    except DefusedXmlException as error:
        raise ConversionError(
            f'annotation {path} declares a document type or entities, which ImageScope does not write and which can '
            'read files or fill the memory; it is refused: get it from its source again'
        ) from error
    except (ParseError, OSError, LookupError, ValueError) as error:
        raise ConversionError(f'annotation {path} cannot be read ({error}); is it a complete xml file?') from error
    if root.tag != 'Annotations':
        raise ConversionError(
            f'annotation {path} begins with <{root.tag}>, expected <Annotations> of Aperio ImageScope'
        )
    layers = {region: layer for layer in root.iter('Annotation') for region in layer.iter('Region')}
    return [
        _region(path, number, element)._replace(names=_names(element, layers.get(element)))
        for number, element in enumerate(root.iter('Region'), 1)
    ]


def _names(region: Element, layer: Element | None) -> tuple[str, ...]:
    """What a region and its layer are called, without what is empty."""
    found = [attribute.get('Value', '') for attribute in region.iterfind('Attributes/Attribute')]
    found.append(region.get('Text', ''))
    if layer is not None:
        found += [attribute.get('Value', '') for attribute in layer.iterfind('Attributes/Attribute')]
        found.append(layer.get('Name', ''))
    return tuple(name for name in found if name)


def _region(path: Path, number: int, element: Element) -> Region:
    points = []
    for vertex in element.iter('Vertex'):
        place = vertex.get('X'), vertex.get('Y')
        try:
            points.append([float(value or '') for value in place])
        except ValueError as error:
            raise ConversionError(
                f'annotation {path}: region {number} has a vertex with X={place[0]!r} and Y={place[1]!r}, expected '
                'numbers; correct it'
            ) from error
    return Region(number, np.array(points, float).reshape(-1, 2), element.get('NegativeROA', '0') == '1')


def draw_regions(path: Path, regions: Iterable[Region], shape: tuple[int, int]) -> tuple[np.ndarray, Counter[str]]:
    """Label map of the regions, each filled with its number; where they overlap, the later one wins.

    A vertex marks the pixel in which it lies: ImageScope counts from the corner of the image, so fractions are cut off
    (towards 0). A region has the pixels of its vertices, those of the lines between them, and those inside. MATLAB's
    ``poly2mask`` leaves out most pixels of the lines; its nuclei are about a pixel thinner.

    Args:
        path: File of the regions, for messages.
        regions: In the order in which they are drawn.
        shape: (height, width) of the image.

    Returns:
        The map, (H, W) int32, 0 is background, and how many regions there are (``regions``), reach beyond the image and
        were cut (``cut``), take away (``negative``), or left nothing: those that have no vertices (``empty``), 1 or 2
        of them (``open``), lie beside the image (``outside``), or under later regions (``covered``).

    Raises:
        ConversionError: a vertex further beyond the image than :data:`FAR`, or not finite.
    """
    height, width = shape
    canvas = Image.new('I', (width, height))
    pen = ImageDraw.Draw(canvas)
    drawn: list[int] = []
    counts: Counter[str] = Counter()
    for region in regions:
        counts['regions'] += 1
        if len(region.points) < 3:
            counts['open' if len(region.points) else 'empty'] += 1
            continue
        beyond = _beyond(path, region, width, height)
        if beyond and not _touches(region, width, height):
            counts['outside'] += 1
            continue
        counts['cut'] += beyond
        counts['negative'] += region.negative
        pen.polygon(_pixels(region), fill=0 if region.negative else region.number)
        if not region.negative:
            drawn.append(region.number)
    labels = np.array(canvas, dtype=np.int32)
    counts['covered'] = len(set(drawn) - set(np.unique(labels).tolist()))
    return labels, counts


def _pixels(region: Region) -> list[tuple[int, int]]:
    return [(x, y) for x, y in region.points.astype(int).tolist()]


def _beyond(path: Path, region: Region, width: int, height: int) -> bool:
    """Whether a vertex lies beyond the image."""
    x, y = region.points.T
    excess = np.maximum(np.maximum(-x, x - width) / width, np.maximum(-y, y - height) / height)
    worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    if not excess[worst] <= FAR:
        raise ConversionError(
            f'annotation {path}: region {region.number} has a vertex at ({x[worst]:g}, {y[worst]:g}), far outside of '
            f'its image of {width}x{height}; is it the annotation of another image?'
        )
    return bool(excess[worst] > 0)


def _touches(region: Region, width: int, height: int) -> bool:
    """Whether drawing the region marks a pixel."""
    alone = Image.new('1', (width, height))
    ImageDraw.Draw(alone).polygon(_pixels(region), fill=1)
    return alone.getbbox() is not None
