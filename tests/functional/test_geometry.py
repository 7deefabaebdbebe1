"""Geometry against images that were really cropped, flipped and turned."""

import pytest
import torch
from torch.nn import functional as F

from histomm.functional.geometry import (
    ViewGeometry,
    canonicalize,
    cell_boxes,
    cell_centers,
    cell_edges,
    view_to_source,
)


def geometry(**changes):
    fields = {
        'box': torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 1.0, 8.0, 5.0]]),
        'hflip': torch.tensor([False, True]),
        'vflip': torch.tensor([False, False]),
        'rot90': torch.tensor([0, 3]),
    }
    return ViewGeometry(**{**fields, **changes})


def test_all_symmetries_of_one_batch_are_undone(turn, all_turns):
    maps = torch.randn(16, 3, 5, 5)
    views = torch.stack([turn(*args) for args in zip(maps, *all_turns, strict=True)])
    assert torch.equal(canonicalize(views, *all_turns), maps)
    same = torch.stack([turn(*args) for args in zip(maps[:1].expand(16, -1, -1, -1), *all_turns, strict=True)])
    assert len({tuple(view.flatten().tolist()) for view in same}) == 8


@pytest.mark.parametrize('shift', [-4, 4, 8])
def test_turns_count_modulo_four(turn, all_turns, shift):
    hflip, vflip, rot90 = all_turns
    views = torch.randn(16, 2, 4, 4)
    assert torch.equal(canonicalize(views, hflip, vflip, rot90 + shift), canonicalize(views, *all_turns))


def test_oblong_maps_take_flips_and_half_turns(turn, all_turns):
    even = all_turns[2] % 2 == 0
    flags = [flag[even] for flag in all_turns]
    maps = torch.randn(8, 2, 3, 7)
    views = torch.stack([turn(*args) for args in zip(maps, *flags, strict=True)])
    assert torch.equal(canonicalize(views, *flags), maps)


def test_odd_turn_of_oblong_maps_is_refused():
    off = torch.tensor([False, False])
    with pytest.raises(ValueError, match='H=3, W=7'):
        canonicalize(torch.zeros(2, 1, 3, 7), off, off, torch.tensor([0, 1]))


def test_unturned_maps_are_passed_through():
    feat = torch.randn(2, 3, 4, 6)
    off = torch.zeros(2, dtype=torch.bool)
    assert canonicalize(feat, off, off, torch.tensor([0, 4])) is feat


def test_gradient_goes_the_way_of_the_view(turn, all_turns):
    views = torch.randn(16, 2, 4, 4, requires_grad=True)
    upstream = torch.randn(16, 2, 4, 4)
    canonicalize(views, *all_turns).backward(upstream)
    expected = torch.stack([turn(*args) for args in zip(upstream, *all_turns, strict=True)])
    assert torch.equal(views.grad, expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_dtype_and_empty_batch(dtype):
    off = torch.zeros(0, dtype=torch.bool)
    out = canonicalize(torch.zeros(0, 3, 2, 2, dtype=dtype), off, off, off.long())
    assert out.shape == (0, 3, 2, 2)
    assert out.dtype == dtype


def test_wrong_shapes_name_the_argument():
    off = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r'feat has shape \(2, 3, 4\)'):
        canonicalize(torch.zeros(2, 3, 4), off, off, off.long())
    with pytest.raises(ValueError, match=r'vflip has shape \(3,\)'):
        canonicalize(torch.zeros(2, 3, 4, 4), off, torch.zeros(3, dtype=torch.bool), off.long())


def test_cell_centers_are_the_mean_positions_of_their_pixels(turn, all_turns, coordinate_image):
    """The pixels of a view, averaged cell by cell and turned back, sit where the box says."""
    image = coordinate_image(40, 50)
    x1, y1, x2, y2 = 7, 3, 25, 33  # 18×30 pixels, as 3×3 cells also after a quarter turn
    crop = image[:, y1:y2, x1:x2]
    maps = torch.stack([F.adaptive_avg_pool2d(turn(crop, *flags), 3) for flags in zip(*all_turns, strict=True)])
    box = torch.tensor([[x1, y1, x2, y2]], dtype=torch.float32).expand(16, -1)
    found = canonicalize(maps, *all_turns).flatten(2).mT
    torch.testing.assert_close(found, cell_centers(box, (3, 3)))


def test_pixels_of_the_view_are_found_in_the_source(turn, all_turns, coordinate_image):
    crop = coordinate_image(40, 50)[:, 4:16, 10:18]
    box = torch.tensor([[10.0, 4.0, 18.0, 16.0]])
    for flags in zip(*all_turns, strict=True):
        view = turn(crop, *flags)
        height, width = view.shape[1:]
        pixels = coordinate_image(height, width).flatten(1).T[None]
        where = view_to_source(pixels, ViewGeometry(box, *(flag[None] for flag in flags)), (height, width))
        torch.testing.assert_close(where[0].T.unflatten(1, (height, width)), view)


def test_resized_view_has_the_corners_of_its_box():
    """224² pixels of a 10×20 px box, turned once counter-clockwise: the upper left corner shows the upper right."""
    one = ViewGeometry(
        torch.tensor([[100.0, 50.0, 110.0, 70.0]]), torch.tensor([False]), torch.tensor([False]), torch.tensor([1])
    )
    corners = torch.tensor([[[0.0, 0.0], [224.0, 0.0], [0.0, 224.0], [56.0, 112.0]]])
    expected = torch.tensor([[[110.0, 50.0], [110.0, 70.0], [100.0, 50.0], [105.0, 55.0]]])
    assert torch.equal(view_to_source(corners, one, (224, 224)), expected)


def test_cells_worked_by_hand():
    """The key view of the worked example before its flip, (x1, y1, x2, y2)."""
    box = torch.tensor([[0.125, 0.25, 0.625, 0.75]])
    expected = [
        [0.125, 0.25, 0.375, 0.5],
        [0.375, 0.25, 0.625, 0.5],
        [0.125, 0.5, 0.375, 0.75],
        [0.375, 0.5, 0.625, 0.75],
    ]
    assert cell_boxes(box, (2, 2))[0].tolist() == expected
    assert cell_centers(box, (2, 1))[0].tolist() == [[0.375, 0.375], [0.375, 0.625]]


def test_edges_end_exactly_at_the_box():
    box = torch.rand(200, 4) * 100
    box[:, 2:] += box[:, :2]
    y, x = cell_edges(box, (7, 11))
    assert torch.equal(torch.stack((x[:, 0], y[:, 0], x[:, -1], y[:, -1]), 1), box)
    assert (x.diff() > 0).all()
    assert (y.diff() > 0).all()


def test_half_precision_boxes_are_reckoned_in_float32():
    y, x = cell_edges(torch.tensor([[0, 0, 128, 256]], dtype=torch.bfloat16), (7, 7))
    assert y.dtype == x.dtype == torch.float32
    torch.testing.assert_close(y[0], torch.arange(8) * 256 / 7)


def test_length_and_device():
    moved = geometry().to('meta')
    assert len(moved) == 2
    assert {field.device.type for field in (moved.box, moved.hflip, moved.vflip, moved.rot90)} == {'meta'}
    assert (
        len(
            geometry(
                box=torch.zeros(0, 4),
                **{k: torch.zeros(0, dtype=torch.bool) for k in ('hflip', 'vflip')},
                rot90=torch.zeros(0, dtype=torch.long),
            )
        )
        == 0
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'box': torch.zeros(2, 5)}, r'box has shape \(2, 5\), expected \(B, 4\)'),
        ({'box': torch.tensor([[0, 0, 4, 4], [2, 1, 8, 5]])}, 'box must be of a floating dtype, found torch.int64'),
        ({'box': torch.tensor([[0.0, 0, 4, 4], [8, 1, 2, 5]])}, r'box\[1\] is \[8.0, 1.0, 2.0, 5.0\]'),
        ({'box': torch.tensor([[0.0, 3, 4, 3], [2, 1, 8, 5]])}, r'box\[0\]'),
        ({'box': torch.tensor([[0.0, 0, 4, 4], [2, 1, float('nan'), 5]])}, r'box\[1\].*finite'),
        ({'box': torch.tensor([[0.0, 0, 4, 4], [2, 1, float('inf'), 5]])}, r'box\[1\].*finite'),
        ({'hflip': torch.tensor([True])}, r'hflip has shape \(1,\), expected \(2,\)'),
        ({'vflip': torch.tensor([0, 1])}, 'vflip must be of dtype torch.bool'),
        ({'rot90': torch.tensor([0.0, 1.0])}, 'rot90 must be of an integer dtype'),
    ],
)
def test_wrong_geometry_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        geometry(**changes)


def test_wrong_sizes_and_points_are_named():
    with pytest.raises(ValueError, match=r'size is \(0, 2\)'):
        cell_edges(torch.tensor([[0.0, 0, 1, 1]]), (0, 2))
    with pytest.raises(ValueError, match=r'points has shape \(1, 3, 2\), expected \(2, P, 2\)'):
        view_to_source(torch.zeros(1, 3, 2), geometry(), (4, 4))
