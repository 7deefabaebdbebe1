"""Areas on a slide as GeoJSON, which QuPath and other viewers open; coordinates are level-0 pixels of the slide."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histomm.atomic_file import atomic_path
from histomm.wsi.outlines import Polygon, outline_labels

Feature = dict[str, Any]
"""A Feature of RFC 7946."""

OBJECT_TYPES = ('detection', 'annotation')
"""Kinds of objects in QuPath: detections are many and light, annotations can be edited."""


def feature_of_polygon(
    polygon: Polygon | Sequence[Polygon],
    object_type: str = 'detection',
    name: str | None = None,
    color: str = '#D55E00',
    measurements: dict[str, float] | None = None,
) -> Feature:
    """A Feature of a polygon, or of several that belong together.

    Args:
        polygon: In level-0 pixels.
        object_type: 'detection' or 'annotation'.
        name: Of the class; None is no class.
        color: Of the class, '#RRGGBB'.
        measurements: Numbers that QuPath lists with the object.

    Raises:
        ValueError: No polygon, a ring of fewer than three corners, or an argument that has no such value.
    """
    polygons = [polygon] if isinstance(polygon, Polygon) else list(polygon)
    if object_type not in OBJECT_TYPES:
        raise ValueError(f'object_type is {object_type!r}, expected one of {", ".join(OBJECT_TYPES)}')
    if not polygons:
        raise ValueError('found no polygon for a feature, expected at least one')
    coordinates = [[_closed(ring) for ring in (part.outline, *part.holes)] for part in polygons]
    properties: dict[str, Any] = {'objectType': object_type}
    if name is not None:
        properties['classification'] = {'name': name, 'color': _rgb(color)}
    if measurements:
        properties['measurements'] = measurements
    single = len(coordinates) == 1
    geometry = {
        'type': 'Polygon' if single else 'MultiPolygon',
        'coordinates': coordinates[0] if single else coordinates,
    }
    return {'type': 'Feature', 'geometry': geometry, 'properties': properties}


def features_of_labels(
    labels: NDArray[np.integer],
    offset: tuple[float, float] = (0, 0),
    scale: float | tuple[float, float] = 1.0,
    simplify: float = 0.0,
    object_type: str = 'detection',
    name: str | Callable[[int], str] | None = None,
    color: str | Callable[[int], str] = '#D55E00',
    measurements: Callable[[int], dict[str, float]] | None = None,
) -> Iterator[Feature]:
    """Features of a label map, one a label.

    Args:
        labels: (H, W) integers, 0 outside.
        offset: x, y of the map's upper left corner in level-0 pixels.
        scale: Level-0 pixels per pixel of the map, or those along x and along y.
        simplify: In pixels of the map, see :func:`~histomm.wsi.outlines.outline_labels`.
        object_type: See :func:`feature_of_polygon`.
        name: Of the class, or what gives it for a label.
        color: Likewise.
        measurements: What gives the measurements of a label.

    Raises:
        ValueError: ``scale`` is not above 0; see also :func:`~histomm.wsi.outlines.outline_labels`.
    """
    if not np.min(scale) > 0:
        raise ValueError(f'scale is {scale}, expected more than 0 level-0 pixels per pixel')
    for label, polygons in outline_labels(labels, simplify).items():
        moved = [
            Polygon(outline * np.array(scale) + offset, [hole * np.array(scale) + offset for hole in holes])
            for outline, holes in polygons
        ]
        yield feature_of_polygon(
            moved,
            object_type,
            name(label) if callable(name) else name,
            color(label) if callable(color) else color,
            measurements(label) if measurements else None,
        )


def write_geojson(path: str | os.PathLike, features: Iterable[Feature]) -> int:
    """Write a FeatureCollection, whole or not at all, one feature a line; only one is in memory at a time.

    Args:
        path: File to make or replace, such as ``slide.geojson``.
        features: Of :func:`feature_of_polygon` or :func:`features_of_labels`.

    Returns:
        How many were written.

    Raises:
        ValueError: A number of a feature is NaN or infinite, which JSON does not know.
    """
    count = 0
    with atomic_path(os.fspath(path)) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write('{"type":"FeatureCollection","features":[')
        for feature in features:
            try:
                line = json.dumps(feature, separators=(',', ':'), allow_nan=False)
            except ValueError as error:
                raise ValueError(f'{path}: feature {count} holds NaN or infinity, expected numbers: {error}') from error
            file.write(f'{"," if count else ""}\n{line}')
            count += 1
        file.write('\n]}\n')
    return count


def _closed(ring: NDArray[np.float64]) -> list[list[float]]:
    """Corners with the first repeated at the end, to a hundredth of a pixel."""
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
        raise ValueError(f'a ring has shape {ring.shape}, expected (n, 2) with three corners or more')
    corners = np.round(np.concatenate((ring, ring[:1])), 2)
    if (corners == np.round(corners)).all():
        return corners.astype(np.int64).tolist()
    return corners.tolist()


def _rgb(color: str) -> list[int]:
    if not re.fullmatch('#[0-9a-fA-F]{6}', color):
        raise ValueError(f'color is {color!r}, expected #RRGGBB')
    return list(bytes.fromhex(color[1:]))
