"""Pictured pairs of cells against distances and areas counted cell by cell in the source."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from histomm.functional import ViewGeometry
from histomm.models.matchers import LocationMatcher
from histomm.visualization.matching import View
from histomm.visualization.pairs import draw_pairs, location_matcher, match_locations

SIZE_Q, SIZE_K = (5, 5), (4, 4)
SIDE = 40
TURNS = [(False, False, 0), (True, False, 0), (False, True, 1), (True, True, 3), (True, False, 2)]


def _view(box, turns):
    hflip, vflip, rot90 = turns
    geometry = ViewGeometry(
        torch.tensor([box], dtype=torch.float32), torch.tensor([hflip]), torch.tensor([vflip]), torch.tensor([rot90])
    )
    return View(np.zeros((SIDE, SIDE, 3), np.uint8), geometry)


def _seen_boxes(view, size):
    """(H, W, 4) rectangles of the cells as seen, by turning an array of the rectangles."""
    x1, y1, x2, y2 = view.box
    xs, ys = np.linspace(x1, x2, size[1] + 1), np.linspace(y1, y2, size[0] + 1)
    boxes = np.array([[(xs[c], ys[r], xs[c + 1], ys[r + 1]) for c in range(size[1])] for r in range(size[0])])
    geometry = view.geometry
    boxes = boxes[:, ::-1] if geometry.hflip[0] else boxes
    boxes = boxes[::-1] if geometry.vflip[0] else boxes
    return np.rot90(boxes, int(geometry.rot90[0]))


def _views(number):
    """Boxes of odd sides, so that no two distances tie."""
    query = _view((3.0, 11.0, 100.0, 92.0), TURNS[number])
    return query, _view((31.0, 22.0, 144.0, 171.0), TURNS[number - 2])


@pytest.mark.parametrize('number', range(len(TURNS)))
@pytest.mark.parametrize('gamma', [1, 6, None])
def test_pairs_are_the_nearest_centres(number, gamma):
    query, key = _views(number)
    found = match_locations(query, key, SIZE_Q, SIZE_K, LocationMatcher(gamma=gamma))
    centers = [
        (boxes[..., :2] + boxes[..., 2:]) / 2 for boxes in (_seen_boxes(query, SIZE_Q), _seen_boxes(key, SIZE_K))
    ]
    nearest = {}
    for cell in np.ndindex(SIZE_Q):
        distances = {other: np.hypot(*(centers[1][other] - centers[0][cell])) for other in np.ndindex(SIZE_K)}
        best = min(distances, key=distances.get)
        nearest[cell] = distances[best], best
    kept = sorted(nearest, key=lambda cell: nearest[cell][0])[:gamma]
    drawn = {tuple(pair[0]): tuple(pair[1]) for pair in found.pairs.tolist()}
    assert drawn == {cell: nearest[cell][1] for cell in kept}


@pytest.mark.parametrize('number', range(len(TURNS)))
def test_shares_are_the_covered_areas(number):
    query, key = _views(number)
    found = match_locations(query, key, SIZE_Q, SIZE_K, LocationMatcher())
    for view, other, size, covered in ((query, key, SIZE_Q, found.covered[0]), (key, query, SIZE_K, found.covered[1])):
        boxes, (x1, y1, x2, y2) = _seen_boxes(view, size), other.box
        width = np.clip(np.minimum(boxes[..., 2], x2) - np.maximum(boxes[..., 0], x1), 0, None)
        height = np.clip(np.minimum(boxes[..., 3], y2) - np.maximum(boxes[..., 1], y1), 0, None)
        area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        np.testing.assert_allclose(covered, width * height / area, atol=1e-5)


def test_figure_numbers_the_cells_of_each_pair_and_writes_shares():
    query, key = _views(1)
    found = match_locations(query, key, SIZE_Q, SIZE_K, LocationMatcher(gamma=None))
    figure = draw_pairs(query, key, found)
    for side, size in enumerate((SIZE_Q, SIZE_K)):
        step = SIDE / size[0]
        written = {}
        for text in figure.axes[side].texts:
            column, row = (int(place // step) for place in text.get_position())
            written.update({int(number): [row, column] for number in text.get_text().split()})
        assert written == dict(enumerate(found.pairs[:, side].tolist(), start=1))
        shares = {
            tuple(int(place // step) for place in text.get_position()[::-1]): int(text.get_text())
            for text in figure.axes[2 + side].texts
        }
        expected = {
            cell: round(100 * float(share)) for cell, share in np.ndenumerate(found.covered[side]) if share >= 0.005
        }
        assert shares == expected
        assert len(figure.axes[2 + side].patches) == len(expected)


@pytest.mark.parametrize(
    ('model', 'gamma'),
    [
        (dict(matchers=[dict(type='FeatureMatcher'), dict(type='LocationMatcher', gamma=3)]), 3),
        (dict(dense=dict(matchers=[dict(type='LocationMatcher', gamma=None)])), None),
        (dict(matchers=[dict(type='PreciseLocationMatcher')]), 20),
        (dict(), 20),
    ],
)
def test_number_of_pairs_is_that_of_the_config(model, gamma):
    assert location_matcher(Config(dict(model=model))).gamma == gamma
