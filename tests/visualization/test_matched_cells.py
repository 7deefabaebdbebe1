"""Matched cells against the pixels themselves.

The source image writes its own coordinates into its colours: red is x, green is y. So a pixel of a view says where it
came from, whatever crop, flip and turn brought it there, and nothing of the geometry needs to be trusted.
"""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from histomm.functional import ViewGeometry
from histomm.visualization.matching import View, best_cell, load_views, match_cell
from histomm.visualization.matching_figure import draw_matching
from histomm.visualization.panels import source_up

SIDE, CELLS = 224, 7
SEEDS = range(24)


@pytest.fixture(scope='module')
def coordinates(tmp_path_factory):
    """An image whose pixel (x, y) is (x, y, 0)."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.uint8)
    path = tmp_path_factory.mktemp('image') / 'coordinates.png'
    cv2.imwrite(str(path), np.stack((np.zeros_like(x), y, x), axis=2))
    return path


@pytest.fixture(scope='module')
def cfg():
    """Views with all eight symmetries and no change of colour."""
    view = [
        dict(type='histomm.RandomResizedCrop', size=SIDE, scale=(0.3, 0.9)),
        dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
        dict(type='histomm.RandomRotate90', prob=0.75),
    ]
    pipeline = [
        dict(type='histomm.LoadPatch'),
        dict(type='histomm.MultiView', views=[dict(pipeline=view, num=2)]),
        dict(type='histomm.PackViews'),
    ]
    return Config(dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))))


def _maps(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 5, CELLS, CELLS, generator=generator) for _ in range(2)]


def _tile(view, row, column, size=CELLS):
    """Pixels of a seen cell, (n, 2) source coordinates (x, y) by colour."""
    step = SIDE // size
    tile = view.image[row * step : (row + 1) * step, column * step : (column + 1) * step]
    return tile[..., :2].reshape(-1, 2).astype(float)


def _inside(points, box, slack=0.0):
    low, high = np.array(box[:2]) - slack, np.array(box[2:]) + slack
    return ((points > low) & (points < high)).all(1)


def _extent(points):
    """Source rectangle that the pixels of a cell cover."""
    return (*points.min(0), *(points.max(0) + 1))


def _shared_pixels(query, key, cell):
    """Share of a query cell's source rectangle in each key cell, (H, W), counted on a fine grid of source points."""
    x1, y1, x2, y2 = _extent(_tile(query, *cell))
    ticks = (np.arange(60) + 0.5) / 60
    points = np.stack(np.meshgrid(x1 + ticks * (x2 - x1), y1 + ticks * (y2 - y1)), -1).reshape(-1, 2)
    rows = [[_inside(points, _extent(_tile(key, r, c))).mean() for c in range(CELLS)] for r in range(CELLS)]
    return np.array(rows)


def test_seeds_cover_all_symmetries(cfg, coordinates):
    views = [view for seed in SEEDS for view in load_views(cfg, coordinates, seed)[1:]]
    seen = {(bool(v.geometry.hflip[0]), bool(v.geometry.vflip[0]), int(v.geometry.rot90[0])) for v in views}
    assert {turns for _, _, turns in seen} == {0, 1, 2, 3}
    assert {flips[:2] for flips in seen} == {(a, b) for a in (False, True) for b in (False, True)}


@pytest.mark.parametrize('seed', SEEDS)
def test_cells_lie_where_their_pixels_come_from(cfg, coordinates, seed):
    for view in load_views(cfg, coordinates, seed)[1:]:
        boxes = view.cell_boxes((CELLS, CELLS)).view(CELLS, CELLS, 4)
        for row in range(CELLS):
            for column in range(CELLS):
                found = _extent(_tile(view, row, column))
                np.testing.assert_allclose(found, boxes[row, column], atol=1.6)


@pytest.mark.parametrize('seed', SEEDS)
def test_precise_weights_are_shared_pixels(cfg, coordinates, seed):
    _, query, key = load_views(cfg, coordinates, seed)
    maps = _maps(seed)
    for cell in (best_cell(query, key, (CELLS, CELLS)), (0, CELLS - 1), (5, 1)):
        weights = match_cell(query, key, cell, maps)[0].weights
        np.testing.assert_allclose(weights, _shared_pixels(query, key, cell), atol=0.2)
        assert weights.sum() <= 1 + 1e-5


@pytest.mark.parametrize('seed', SEEDS)
def test_nearest_cell_is_nearest_by_pixels(cfg, coordinates, seed):
    _, query, key = load_views(cfg, coordinates, seed)
    cell = best_cell(query, key, (CELLS, CELLS))
    weights = match_cell(query, key, cell, _maps(seed))[1].weights
    assert sorted(weights.flat)[-2:] == [0, 1]
    middle = _tile(query, *cell).mean(0)
    distance = np.array([[np.hypot(*(_tile(key, r, c).mean(0) - middle)) for c in range(CELLS)] for r in range(CELLS)])
    assert distance[np.unravel_index(weights.argmax(), weights.shape)] <= distance.min() + 1.5


def test_feature_match_is_the_seen_cell_with_the_same_feature(cfg, coordinates):
    for seed in SEEDS:
        _, query, key = load_views(cfg, coordinates, seed)
        maps = _maps(seed)
        maps[1][0, :, 4, 2] = 3 * maps[0][0, :, 1, 5]
        match = match_cell(query, key, (1, 5), maps)[2]
        assert np.unravel_index(match.weights.argmax(), match.weights.shape) == (4, 2)
        assert match.weights.sum() == 1
        assert match.note == 'cosine 1.00'


def test_best_cell_is_best_covered(cfg, coordinates):
    for seed in SEEDS:
        _, query, key = load_views(cfg, coordinates, seed)
        maps = _maps(seed)
        cells = [(r, c) for r in range(CELLS) for c in range(CELLS)]
        covered = {cell: match_cell(query, key, cell, maps)[0].weights.sum() for cell in cells}
        assert covered[best_cell(query, key, (CELLS, CELLS))] >= max(covered.values()) - 6e-3


def test_arrow_points_to_the_top_of_the_source(cfg, coordinates):
    for seed in SEEDS:
        for view in load_views(cfg, coordinates, seed)[1:]:
            dx, dy = source_up(view)
            middle = np.array([SIDE / 2, SIDE / 2])
            there, here = (middle + sign * 60 * np.array([dx, dy]) for sign in (1, -1))
            green = [view.image[int(point[1]), int(point[0]), 1] for point in (there, here)]
            red = [view.image[int(point[1]), int(point[0]), 0] for point in (there, here)]
            assert int(green[0]) < int(green[1]) - 20
            assert abs(int(red[0]) - int(red[1])) <= 2


def test_views_are_those_of_training(cfg, coordinates):
    drawn = copy.deepcopy(cfg)
    for step, kind in zip(drawn.train_dataloader.dataset.pipeline[1:], ('DrawViews', 'PackDraws'), strict=True):
        step.type = f'histomm.{kind}'  # as in the work directory of a run with views on the device
    first, second = (load_views(each, coordinates, 5) for each in (cfg, drawn))
    np.testing.assert_array_equal(first[1].image, second[1].image)
    assert not np.array_equal(first[1].image, load_views(cfg, coordinates, 6)[1].image)


def test_of_three_views_the_first_two_are_taken(cfg, coordinates):
    pipeline = cfg.train_dataloader.dataset.pipeline
    reference = dict(pipeline=[dict(type='histomm.BoundingCrop', size=SIDE)])
    views = dict(pipeline[1], views=[*pipeline[1]['views'], reference])
    three = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[pipeline[0], views, pipeline[2]]))))
    for view, expected in zip(load_views(three, coordinates, 5), load_views(cfg, coordinates, 5), strict=True):
        np.testing.assert_array_equal(getattr(view, 'image', view), getattr(expected, 'image', expected))


def test_maps_of_other_sizes_for_the_two_views(cfg, coordinates):
    _, query, key = load_views(cfg, coordinates, 1)
    matches = match_cell(query, key, (2, 3), [torch.randn(1, 4, 7, 7), torch.randn(1, 4, 14, 14)])
    assert [match.weights.shape for match in matches] == [(14, 14)] * 3


@pytest.mark.parametrize('cell', [(7, 0), (0, 7), (-1, 0)])
def test_cell_outside_is_refused(cfg, coordinates, cell):
    _, query, key = load_views(cfg, coordinates, 1)
    with pytest.raises(ValueError, match='expected a row below 7 and a column below 7'):
        match_cell(query, key, cell, _maps(0))


def test_pipeline_without_two_views_is_refused(coordinates):
    pipeline = [dict(type='histomm.LoadPatch'), dict(type='histomm.PackViews')]
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))))
    with pytest.raises(ValueError, match='does not give 2 views'):
        load_views(cfg, coordinates)
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.pipeline'):
        load_views(Config(dict()), coordinates)


def test_views_without_overlap_give_no_weight():
    def view(x):
        flag = torch.tensor([False])
        box = torch.tensor([[x, 0.0, x + 50, 50.0]])
        return View(np.zeros((70, 70, 3), np.uint8), ViewGeometry(box, flag, flag, torch.tensor([0])))

    precise, nearest, _ = match_cell(view(0.0), view(100.0), (3, 3), _maps(0))
    assert precise.weights.sum() == 0
    assert precise.note == '0 % of the cell covered'
    assert np.unravel_index(nearest.weights.argmax(), (CELLS, CELLS)) == (3, 0)


def test_figure_marks_the_cells_on_the_pixels_that_match(cfg, coordinates):
    """What is drawn: the green patches of the key view lie on pixels of the query cell's tissue."""
    for seed in SEEDS[:8]:
        source, query, key = load_views(cfg, coordinates, seed)
        cell = best_cell(query, key, (CELLS, CELLS))
        matches = match_cell(query, key, cell, _maps(seed))
        figure = draw_matching(source, query, key, cell, (CELLS, CELLS), matches)
        asked = _extent(_tile(query, *cell))
        axes = figure.axes[3]  # precise location, key view
        drawn = [patch.get_bbox().extents for patch in axes.patches if patch.get_alpha() is not None]
        assert len(drawn) == (matches[0].weights > 1e-6).sum()
        for x1, y1, x2, y2 in np.round(drawn).astype(int):
            pixels = key.image[y1:y2, x1:x2, :2].reshape(-1, 2).astype(float)
            assert _inside(pixels, asked, slack=1.5).any()
        in_source = figure.axes[6]
        drawn = [patch.get_bbox().extents for patch in in_source.patches if patch.get_alpha() is not None]
        for x1, y1, x2, y2 in drawn:
            assert min(x2, asked[2]) - max(x1, asked[0]) > -1.5
            assert min(y2, asked[3]) - max(y1, asked[1]) > -1.5


@pytest.mark.parametrize(
    ('hflip', 'vflip', 'rot90', 'words'),
    [
        (False, False, 0, 'upright'),
        (True, False, 0, 'mirrored left-right'),
        (False, True, 1, 'mirrored top-bottom, turned 90°'),
        (True, True, 3, 'mirrored both ways, turned 270°'),
        (False, False, 2, 'turned 180°'),
    ],
)
def test_words_for_a_view(hflip, vflip, rot90, words):
    box = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    geometry = ViewGeometry(box, torch.tensor([hflip]), torch.tensor([vflip]), torch.tensor([rot90]))
    assert View(np.zeros((9, 9, 3), np.uint8), geometry).describe() == words
