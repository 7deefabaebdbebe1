"""Polygons, filled again, are the pixels they came from; files are what RFC 7946 and QuPath ask for."""

import json

import cv2
import numpy as np
import pytest

from histomm.wsi.geojson import feature_of_polygon, features_of_labels, write_geojson
from histomm.wsi.outlines import Polygon, outline_labels, ring_area


def inside(ring, x, y):
    """Whether points lie in a ring, by crossings of a ray to the left."""
    found = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            found ^= ((y1 > y) != (y2 > y)) & (x > x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return found


def fill(polygons_of, shape):
    """Label map from polygons: the label of the polygon around the middle of each pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    labels, times = np.zeros(shape, int), np.zeros(shape, int)
    for label, polygons in polygons_of.items():
        for outline, holes in polygons:
            mask = inside(outline, x, y)
            for hole in holes:
                assert not (inside(hole, x, y) & ~mask).any()
                mask &= ~inside(hole, x, y)
            labels[mask] = label
            times += mask
    assert times.max(initial=0) <= 1
    return labels


def test_one_pixel():
    ((outline, holes),) = outline_labels(np.array([[0, 0, 0], [0, 0, 7]]))[7]
    assert {tuple(corner) for corner in outline} == {(2, 1), (3, 1), (3, 2), (2, 2)}
    assert holes == []
    assert ring_area(outline) == 1


@pytest.mark.parametrize('seed', range(12))
def test_filled_again_it_is_the_map(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, (13, 17)) if seed % 2 else random.random((15, 12)) < 0.3 + seed / 20
    found = outline_labels(labels)
    np.testing.assert_array_equal(fill(found, labels.shape), labels)
    for polygons in found.values():
        for outline, holes in polygons:
            assert ring_area(outline) > 0
            for ring in (outline, *holes):
                assert len({tuple(corner) for corner in ring}) == len(ring), 'a ring touches itself'
            assert all(ring_area(hole) < 0 for hole in holes)
    assert sum(
        ring_area(ring) for parts in found.values() for outline, holes in parts for ring in (outline, *holes)
    ) == np.count_nonzero(labels)


def test_polygons_are_valid():
    shapely = pytest.importorskip('shapely')
    labels = np.random.default_rng(0).random((40, 40)) < 0.6
    for outline, holes in outline_labels(labels)[1]:
        assert shapely.Polygon(outline, holes).is_valid


def test_hole_within_an_island_within_a_hole():
    labels = np.zeros((9, 9), int)
    for margin, value in enumerate((1, 0, 1, 0)):
        labels[margin : 9 - margin, margin : 9 - margin] = value
    polygons = outline_labels(labels)[1]
    assert sorted((ring_area(outline), [ring_area(hole) for hole in holes]) for outline, holes in polygons) == [
        (25, [-9]),
        (81, [-49]),
    ]


def test_simplified_discs_keep_their_area_in_fewer_corners():
    labels = np.zeros((80, 80), np.uint8)
    cv2.circle(labels, (40, 40), 30, 1, -1)
    ((exact, _),) = outline_labels(labels)[1]
    ((simple, _),) = outline_labels(labels, simplify=1.0)[1]
    assert len(simple) < len(exact) / 3
    assert ring_area(simple) == pytest.approx(ring_area(exact), rel=0.03)
    tiny = outline_labels(np.array([[1]]), simplify=5.0)[1][0].outline
    assert ring_area(tiny) == 1


def test_features_lie_at_level_0(tmp_path):
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:5] = 3
    labels[4, 6] = labels[5, 7] = 9
    features = features_of_labels(
        labels, offset=(1000, 2000), scale=4, name='nucleus', color='#0072B2', measurements=lambda label: {'n': label}
    )
    path = tmp_path / 'deep' / 'a.geojson'
    assert write_geojson(path, features) == 2
    collection = json.loads(path.read_text())
    assert collection['type'] == 'FeatureCollection'
    first, second = collection['features']
    assert first['geometry']['type'] == 'Polygon'
    (ring,) = first['geometry']['coordinates']
    assert ring[0] == ring[-1]
    assert sorted(map(tuple, ring[:-1])) == [(1008, 2004), (1008, 2012), (1020, 2004), (1020, 2012)]
    assert first['properties'] == {
        'objectType': 'detection',
        'classification': {'name': 'nucleus', 'color': [0, 114, 178]},
        'measurements': {'n': 3},
    }
    assert second['geometry']['type'] == 'MultiPolygon'
    assert len(second['geometry']['coordinates']) == 2


def test_holes_move_with_their_outline():
    labels = np.ones((3, 3), np.int32)
    labels[1, 1] = 0
    (feature,) = features_of_labels(labels, offset=(1000, 2000), scale=(4, 2))
    outline, hole = feature['geometry']['coordinates']
    assert {tuple(corner) for corner in outline} == {(1000, 2000), (1012, 2000), (1012, 2006), (1000, 2006)}
    assert {tuple(corner) for corner in hole} == {(1004, 2002), (1008, 2002), (1008, 2004), (1004, 2004)}


def test_no_feature_is_an_empty_collection(tmp_path):
    assert write_geojson(tmp_path / 'a.geojson', features_of_labels(np.zeros((3, 3), int))) == 0
    assert json.loads((tmp_path / 'a.geojson').read_text()) == {'type': 'FeatureCollection', 'features': []}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.geojson'
    write_geojson(path, [])
    old = path.read_bytes()
    square = Polygon(np.array([[0.0, 0], [2, 0], [2, 2]]), [])
    features = [feature_of_polygon(square), feature_of_polygon(square, measurements={'a': float('nan')})]
    with pytest.raises(ValueError, match='feature 1 holds NaN or infinity'):
        write_geojson(path, features)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(object_type='cell'), "object_type is 'cell', expected one of detection, annotation"),
        (dict(color='red', name='a'), "color is 'red', expected #RRGGBB"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        feature_of_polygon(Polygon(np.array([[0.0, 0], [2, 0], [2, 2]]), []), **arguments)


def test_wrong_maps():
    with pytest.raises(ValueError, match=r'float64 \(2, 2\), expected integers'):
        outline_labels(np.zeros((2, 2)))
    with pytest.raises(ValueError, match='scale is 0'):
        next(features_of_labels(np.ones((2, 2), int), scale=0))
    with pytest.raises(ValueError, match='simplify is -1'):
        outline_labels(np.ones((2, 2), int), simplify=-1)
    with pytest.raises(ValueError, match=r'shape \(2, 2\), expected \(n, 2\) with three'):
        feature_of_polygon(Polygon(np.zeros((2, 2)), []))
    with pytest.raises(ValueError, match='found no polygon'):
        feature_of_polygon([])
