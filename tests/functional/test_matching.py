"""Matching against pixel counts, naive loops, dense products and examples worked out by hand."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from histomm.functional import (
    canonicalize,
    cell_centers,
    feature_match,
    info_nce,
    nearest_match,
    overlap_factors,
    overlap_matrix,
    overlap_weights,
    precise_match,
    row_shares,
)

SIZES = [((7, 7), (7, 7)), ((2, 5), (4, 3)), ((1, 1), (3, 2))]


def random_boxes(batch):
    """Boxes of 20 to 100 pixels a side; most pairs overlap, some do not."""
    start = torch.rand(batch, 2, dtype=torch.float64) * 60
    return torch.cat((start, start + 20 + torch.rand(batch, 2, dtype=torch.float64) * 80), 1)


def cells(box, size):
    """Naive rectangles of one box's cells, from the definition."""
    x1, y1, x2, y2 = box.tolist()
    height, width = (y2 - y1) / size[0], (x2 - x1) / size[1]
    return [
        (x1 + c * width, y1 + r * height, x1 + (c + 1) * width, y1 + (r + 1) * height)
        for r, c in itertools.product(range(size[0]), range(size[1]))
    ]


def naive_matrix(box_q, box_k, size_q, size_k):
    def shared(a, b):
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        return width * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

    rows = [
        [[shared(a, b) for b in cells(k, size_k)] for a in cells(q, size_q)] for q, k in zip(box_q, box_k, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def one(*box):
    return torch.tensor([box], dtype=torch.float32)


class TestOracles:
    """Numbers of the reference; its boxes are (t, l, h, w), ours (x1, y1, x2, y2)."""

    box_q = one(0, 0, 0.5, 0.5)
    box_k = one(0.125, 0.25, 0.625, 0.75)
    flipped = (torch.tensor([True]), torch.tensor([False]), torch.tensor([0]))

    def seen_as(self):
        """Index of the cell in the flipped view, for each canonical cell."""
        view = torch.arange(4.0).view(1, 1, 2, 2)
        return canonicalize(view, *self.flipped).flatten().long()

    def test_o2_overlap(self):
        m = overlap_matrix(self.box_q, self.box_k, (2, 2), (2, 2))[0]
        expected = torch.zeros(4, 4)
        expected[2, 1] = expected[3, 0] = expected[3, 1] = 0.03125
        torch.testing.assert_close(m, expected[:, self.seen_as()])
        fy, fx = overlap_factors(self.box_q, self.box_k, (2, 2), (2, 2))
        weights_q = overlap_weights(fy, fx, self.box_q, (2, 2)).flatten()
        weights_k = overlap_weights(fy.mT, fx.mT, self.box_k, (2, 2)).flatten()
        torch.testing.assert_close(weights_q, torch.tensor([0, 0, 0.5, 1]))
        torch.testing.assert_close(weights_k, torch.tensor([0.5, 1, 0, 0])[self.seen_as()])
        rows = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
        shares = torch.kron(row_shares(fy)[0], row_shares(fx)[0])
        torch.testing.assert_close(shares, rows[:, self.seen_as()])

    def test_o3_precise_targets_and_loss(self):
        """The whole dense branch: K', Q', both losses and all four ways to average them."""
        queries = torch.tensor([[1, 0], [0.8, 0.6], [0, 2], [-1, 1]])
        keys = torch.tensor([[1.0, 1], [2, 0], [0, 1], [-1, 0]])
        queue = F.normalize(torch.tensor([[1.0, 0], [0, -1], [-1, -1]]))
        fy, fx = overlap_factors(self.box_q, self.box_k, (2, 2), (2, 2))
        map_q = queries.T.reshape(1, 2, 2, 2)
        map_k = canonicalize(keys.T.reshape(1, 2, 2, 2), *self.flipped)
        to_rows = lambda m: F.normalize(m.flatten(2)[0].T)  # noqa: E731
        matched_k = to_rows(precise_match(map_k, fy, fx))
        matched_q = to_rows(precise_match(map_q, fy.mT, fx.mT))
        torch.testing.assert_close(
            matched_k, torch.tensor([[0, 0], [0, 0], [1, 0], [0.948683, 0.316228]]), atol=1e-6, rtol=0
        )
        expected = torch.tensor([[-0.707107, 0.707107], [-0.316228, 0.948683], [0, 0], [0, 0]])
        torch.testing.assert_close(matched_q, expected[self.seen_as()], atol=1e-6, rtol=0)

        weight = torch.cat(
            (overlap_weights(fy, fx, self.box_q, (2, 2)), overlap_weights(fy.mT, fx.mT, self.box_k, (2, 2)))
        ).flatten()
        rows_q, rows_k = to_rows(map_q), to_rows(map_k)
        by_anchor = {
            'query': (torch.cat((rows_q, matched_q)), torch.cat((matched_k, rows_k))),
            'key': (torch.cat((rows_q, rows_k)), torch.cat((matched_k, matched_q))),
        }
        losses = {
            name: torch.stack([info_nce(a[i : i + 1], p[i : i + 1], queue, 0.2) for i in range(8)])
            for name, (a, p) in by_anchor.items()
        }
        ell_q = torch.tensor([5.013580, 4.019172, 0.710929, 2.388930])
        ell_k = {
            'query': torch.tensor([0.721874, 0.940713, 1.386294, 1.386294]),
            'key': torch.tensor([3.565276, 6.589425, 0.710929, 3.592370]),
        }
        final = {'query': (1.348682, 0.505756), 'key': (3.705486, 1.389557)}
        for name, (anchor, positive) in by_anchor.items():
            truth = torch.cat((ell_q, ell_k[name][self.seen_as()]))
            torch.testing.assert_close(losses[name], truth, atol=2e-6, rtol=0)
            found = [info_nce(anchor, positive, queue, 0.2, weight, how) for how in ('weighted_mean', 'mean')]
            assert [loss.item() for loss in found] == pytest.approx(final[name], abs=1e-6)
        eq11 = info_nce(*by_anchor['query'], queue, 0.2, weight).item()
        assert 0.5 * 0.499563 + 0.5 * eq11 == pytest.approx(0.924122, abs=1e-6)

    def test_o4_feature_match(self):
        to_map = lambda rows: F.normalize(torch.tensor(rows, dtype=torch.float32)).T[None]  # noqa: E731
        match = feature_match(to_map([[1, 0], [0, 1], [1, 1]]), to_map([[0, 1], [1, 0.2], [-1, 0]]))
        assert match.tolist() == [[1, 0, 1]]
        anchor = to_map([[1, 2], [2, 1], [0, 1]])[0].T
        positive = to_map([[1, 1], [1, 0], [0, 1]])[0].T[match[0]]
        queue = F.normalize(torch.tensor([[1.0, 0], [0, -1], [-1, -1]]))
        rows = [info_nce(anchor[i : i + 1], positive[i : i + 1], queue, 0.2).item() for i in range(3)]
        assert rows == pytest.approx([0.694222, 0.567249, 0.710929], abs=1e-6)
        assert info_nce(anchor, positive, queue, 0.2).item() == pytest.approx(0.657467, abs=1e-6)

    def test_o6_nearest_location(self):
        """4×4 px at (0, 0); 4 px high and 6 wide at row 2, column 1, flipped."""
        index, distance = nearest_match(one(0, 0, 4, 4), one(1, 2, 7, 6), (2, 2), (2, 2))
        assert self.seen_as()[index[0]].tolist() == [1, 1, 1, 1]
        assert distance[0].tolist() == pytest.approx([2.5, 2.061553, 1.5, 0.5], abs=1e-6)
        assert distance[0].topk(2, largest=False).indices.sort().values.tolist() == [2, 3]

    def test_o19_identity(self):
        box = one(0, 0, 1, 1)
        m = overlap_matrix(box, box, (7, 7), (7, 7))[0]
        torch.testing.assert_close(m, torch.eye(49) / 49, atol=1e-8, rtol=1e-5)
        fy, fx = overlap_factors(box, box, (7, 7), (7, 7))
        torch.testing.assert_close(overlap_weights(fy, fx, box, (7, 7)), torch.ones(1, 7, 7))
        keys = torch.randn(1, 5, 7, 7)
        torch.testing.assert_close(F.normalize(precise_match(keys, fy, fx)), F.normalize(keys))


def test_matrix_counts_shared_pixels_of_turned_views(turn, all_turns):
    """Truth without any box algebra: number the pixels, make both views, count the numbers that cells share."""
    side, size = 60, 3
    image = torch.arange(side * side).view(side, side)
    generator = torch.Generator().manual_seed(3)

    def draw():
        """A box of 12 to 36 pixels a side, a multiple of the grid's size, and its view."""
        extent = torch.randint(4, 13, (2,), generator=generator) * size
        x1, y1 = (int(torch.randint(0, side - int(e) + 1, (), generator=generator)) for e in extent)
        return x1, y1, x1 + int(extent[0]), y1 + int(extent[1])

    def numbers(view):
        """The set of pixel numbers in each cell, row by row."""
        rows = view.tensor_split(size, 0)
        return [set(cell.flatten().tolist()) for row in rows for cell in row.tensor_split(size, 1)]

    overlapping = 0
    for i, flags_q in enumerate(zip(*all_turns, strict=True)):
        flags_k = [flag[(5 * i + 3) % 16] for flag in all_turns]
        boxes = [draw(), draw()]
        views = [
            turn(image[y1:y2, x1:x2], *flags) for (x1, y1, x2, y2), flags in zip(boxes, (flags_q, flags_k), strict=True)
        ]
        cells_q, cells_k = (numbers(view) for view in views)
        counted = torch.tensor([[len(a & b) for b in cells_k] for a in cells_q], dtype=torch.float32)
        seen_q, seen_k = (
            canonicalize(torch.arange(9.0).view(1, 1, 3, 3), *(flag[None] for flag in flags)).flatten().long()
            for flags in (flags_q, flags_k)
        )
        m = overlap_matrix(*(one(*box) for box in boxes), (size, size), (size, size))[0]
        torch.testing.assert_close(m, counted[seen_q][:, seen_k])
        overlapping += int(counted.any())
    assert overlapping > 8


@pytest.mark.parametrize(('size_q', 'size_k'), SIZES)
def test_matrix_and_weights_against_loops(size_q, size_k):
    box_q, box_k = random_boxes(6), random_boxes(6)
    truth = naive_matrix(box_q, box_k, size_q, size_k)
    assert (truth > 0).any()
    torch.testing.assert_close(overlap_matrix(box_q, box_k, size_q, size_k), truth)
    fy, fx = overlap_factors(box_q, box_k, size_q, size_k)
    assert fy.shape == (6, size_q[0], size_k[0])
    assert fx.shape == (6, size_q[1], size_k[1])
    area = (box_q[:, 2:] - box_q[:, :2]).prod(1) / (size_q[0] * size_q[1])
    share = (truth.sum(2) / area[:, None]).view(6, *size_q)
    torch.testing.assert_close(overlap_weights(fy, fx, box_q, size_q), share)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_boxes_of_lower_precision(dtype):
    """Geometry is exact to float32 for whatever values the boxes hold after rounding."""
    box_q, box_k = random_boxes(8).to(dtype), random_boxes(8).to(dtype)
    truth = naive_matrix(box_q.double(), box_k.double(), (7, 7), (7, 7))
    m = overlap_matrix(box_q, box_k, (7, 7), (7, 7))
    assert m.dtype == torch.float32
    torch.testing.assert_close(m.double(), truth, atol=1e-3, rtol=1e-4)  # areas up to 800 px²


def test_views_without_overlap_share_nothing():
    box_q, box_k = one(0, 0, 10, 10), one(20, 5, 30, 15)
    fy, fx = overlap_factors(box_q, box_k, (7, 7), (7, 7))
    assert not overlap_matrix(box_q, box_k, (7, 7), (7, 7)).any()
    assert not overlap_weights(fy, fx, box_q, (7, 7)).any()
    assert not precise_match(torch.randn(1, 4, 7, 7), fy, fx).any()


def test_touching_views_share_nothing():
    """Sides and corners at awkward fractions: not even a rounding sliver."""
    start = torch.rand(200, 2) * 1000
    middle = start + torch.rand(200, 2) * 300 + 1
    end = middle + torch.rand(200, 2) * 300 + 1
    low, high = torch.cat((start, middle), 1), torch.cat((middle, end), 1)
    beside = torch.stack((middle[:, 0], start[:, 1], end[:, 0], middle[:, 1]), 1)
    for a, b in ((low, high), (high, low), (low, beside), (beside, low)):
        assert not overlap_matrix(a, b, (7, 7), (5, 5)).any()


def test_nested_view_is_covered_and_conserves_area():
    inner, outer = one(12, 30, 26, 44), one(0, 0, 70, 70)
    m = overlap_matrix(inner, outer, (7, 7), (7, 7))[0]
    torch.testing.assert_close(m.sum(1), torch.full((49,), 4.0))
    fy, fx = overlap_factors(inner, outer, (7, 7), (7, 7))
    torch.testing.assert_close(overlap_weights(fy, fx, inner, (7, 7)), torch.ones(1, 7, 7))
    covered = overlap_weights(fy.mT, fx.mT, outer, (7, 7))[0]
    # outer cells are 10 px: columns 1 and 2 hold 8 and 6 px of the inner 12..26, rows 3 and 4 hold 10 and 4 of 30..44
    expected = torch.zeros(7, 7)
    expected[3, 1], expected[3, 2], expected[4, 1], expected[4, 2] = 0.8, 0.6, 0.32, 0.24
    torch.testing.assert_close(covered, expected)


def test_weights_stay_in_the_unit_interval():
    box = torch.rand(500, 4) * 1000
    box[:, 2:] += box[:, :2] + 0.1
    fy, fx = overlap_factors(box, box, (7, 7), (3, 3))
    weight = overlap_weights(fy, fx, box, (7, 7))
    assert weight.max() <= 1
    torch.testing.assert_close(weight, torch.ones_like(weight))


def test_exchanged_views_transpose_the_matrix():
    box_q, box_k = random_boxes(5), random_boxes(5)
    there, back = overlap_matrix(box_q, box_k, (2, 5), (4, 3)), overlap_matrix(box_k, box_q, (4, 3), (2, 5))
    torch.testing.assert_close(there, back.mT)


@pytest.mark.parametrize(('scale', 'shift'), [(1, 131072), (4, 0), (0.25, -300)])
def test_shift_and_scale_of_the_source(scale, shift):
    """In float32, and as far out as slides reach; boxes on a grid of 1/16 pixel, so that the shift itself is exact."""
    boxes = [(random_boxes(5).float() * 16).round() / 16 for _ in range(2)]
    moved = [(box + shift) * scale for box in boxes]
    fy, fx = overlap_factors(*boxes, (7, 7), (7, 7))
    moved_fy, moved_fx = overlap_factors(*moved, (7, 7), (7, 7))
    torch.testing.assert_close(moved_fy, fy * scale, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        overlap_weights(moved_fy, moved_fx, moved[0], (7, 7)),
        overlap_weights(fy, fx, boxes[0], (7, 7)),
        atol=1e-5,
        rtol=0,
    )
    index, distance = nearest_match(*boxes, (7, 7), (7, 7))
    moved_index, moved_distance = nearest_match(*moved, (7, 7), (7, 7))
    assert torch.equal(index, moved_index)
    torch.testing.assert_close(moved_distance, distance * scale, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(('size_q', 'size_k'), SIZES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_precise_match_is_the_dense_product(size_q, size_k, dtype, tolerance):
    box_q, box_k = random_boxes(4), random_boxes(4)
    keys = torch.randn(4, 6, *size_k, dtype=torch.float64)
    dense = (overlap_matrix(box_q, box_k, size_q, size_k) @ keys.flatten(2).mT).mT.unflatten(2, size_q)
    fy, fx = overlap_factors(box_q.float(), box_k.float(), size_q, size_k)
    if dtype == torch.float64:
        fy, fx = overlap_factors(box_q, box_k, size_q, size_k)
    out = precise_match(keys.to(dtype), fy, fx)
    assert out.shape == (4, 6, *size_q)
    assert out.dtype == dtype
    assert (out.double() - dense).abs().max() < tolerance * dense.abs().max()


def test_precise_match_gradient():
    box = torch.tensor([[0, 0, 30, 30], [50, 60, 70, 100]], dtype=torch.float64)
    fy, fx = overlap_factors(box, box + 7, (3, 2), (2, 4))
    keys = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda k: precise_match(k, fy, fx), keys)


def test_precise_match_keeps_its_dtype_under_autocast():
    fy, fx = overlap_factors(one(0, 0, 30, 30), one(10, 5, 40, 35), (3, 3), (3, 3))
    keys = torch.randn(1, 4, 3, 3)
    with torch.autocast('cpu', torch.bfloat16):
        out = precise_match(keys, fy, fx)
    assert out.dtype == torch.float32
    assert torch.equal(out, precise_match(keys, fy, fx))


def test_precise_match_ignores_memory_format():
    fy, fx = overlap_factors(random_boxes(2), random_boxes(2), (3, 3), (4, 5))
    keys = torch.randn(2, 8, 4, 5, dtype=torch.float64)
    strided = keys.to(memory_format=torch.channels_last)
    torch.testing.assert_close(precise_match(strided, fy, fx), precise_match(keys, fy, fx))


def test_row_shares_make_the_row_normalised_matrix():
    box_q, box_k = random_boxes(6), random_boxes(6)
    m = naive_matrix(box_q, box_k, (2, 5), (4, 3))
    total = m.sum(2, keepdim=True)
    truth = torch.where(total > 0, m / total.clamp(min=1e-30), 0)
    fy, fx = (row_shares(f) for f in overlap_factors(box_q, box_k, (2, 5), (4, 3)))
    shares = torch.stack([torch.kron(y, x) for y, x in zip(fy, fx, strict=True)])
    torch.testing.assert_close(shares, truth)


def test_row_shares_keep_large_views_within_float16():
    """Cells of 500 px: areas of 250,000 overflow float16 (65,504), shares do not, and the direction is the same."""
    box_q, box_k = one(0, 0, 3500, 3500), one(250, 250, 3750, 3750)
    factors = overlap_factors(box_q, box_k, (7, 7), (7, 7))
    keys = torch.randn(1, 4, 7, 7)
    half = precise_match(keys.half(), *(row_shares(f) for f in factors))
    assert half.isfinite().all()
    torch.testing.assert_close(F.normalize(half.float()), F.normalize(precise_match(keys, *factors)), atol=5e-3, rtol=0)


@pytest.mark.parametrize(('size_q', 'size_k'), SIZES)
def test_nearest_match_against_all_distances(size_q, size_k):
    box_q, box_k = random_boxes(8), random_boxes(8)
    truth = torch.cdist(cell_centers(box_q, size_q), cell_centers(box_k, size_k))
    index, distance = nearest_match(box_q, box_k, size_q, size_k)
    assert index.dtype == torch.int64
    assert torch.equal(index, truth.argmin(2))
    torch.testing.assert_close(distance, truth.min(2).values)


def test_nearest_match_takes_the_lowest_of_equals():
    """One query cell in the middle of 2×2 key cells, then between rows 0 and 1 but in column 1."""
    index, distance = nearest_match(one(0, 0, 8, 8), one(0, 0, 8, 8), (1, 1), (2, 2))
    assert index.tolist() == [[0]]
    assert distance.item() == pytest.approx(8**0.5)
    index, _ = nearest_match(one(4, 0, 8, 8), one(0, 0, 8, 8), (1, 1), (2, 2))
    assert index.tolist() == [[1]]


def test_nearest_match_of_one_view_with_itself_is_the_identity():
    box = random_boxes(5)
    index, distance = nearest_match(box, box, (4, 6), (4, 6))
    assert torch.equal(index, torch.arange(24).expand(5, -1))
    assert not distance.any()


def test_feature_match_against_loops():
    queries, keys = torch.randn(3, 8, 10, dtype=torch.float64), torch.randn(3, 8, 7, dtype=torch.float64)
    truth = [
        [max(range(7), key=lambda j: float(q @ k[:, j] / (q.norm() * k[:, j].norm()))) for q in queries[b].T]
        for b, k in enumerate(keys)
    ]
    index = feature_match(queries, keys)
    assert index.tolist() == truth
    # lengths mean nothing to a cosine
    stretched = feature_match(queries * (torch.rand(3, 1, 10) + 0.1), keys * (torch.rand(3, 1, 7) + 0.1))
    assert torch.equal(stretched, index)


def test_feature_match_by_distance_against_loops():
    queries, keys = torch.randn(3, 5, 10), torch.randn(3, 5, 7) * torch.rand(3, 1, 7) * 3
    index = feature_match(queries, keys, metric='l2')
    for image, cell in itertools.product(range(3), range(10)):
        distances = [math.dist(queries[image, :, cell].tolist(), keys[image, :, j].tolist()) for j in range(7)]
        assert index[image, cell] == distances.index(min(distances))
    assert not torch.equal(index, feature_match(queries, keys))
    # far from the origin, where squares are large against their differences
    assert torch.equal(feature_match(queries + 1000, keys + 1000, metric='l2'), index)


def test_feature_match_by_distance_takes_the_first_of_equals():
    keys = torch.tensor([[[3.0, 1.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0]]])
    assert feature_match(torch.tensor([[[2.0, 9.0, 0.0], [0.0, 0.0, 0.0]]]), keys, 'l2').tolist() == [[0, 0, 1]]


def test_unknown_metric_is_named():
    with pytest.raises(ValueError, match="metric is 'dot'"):
        feature_match(torch.ones(1, 2, 3), torch.ones(1, 2, 3), 'dot')


def test_feature_match_ties_and_zero_vectors():
    keys = torch.tensor([[[0.0, 1, 1, 0], [0, 0, 0, -1]]])  # zero, east, east, south
    queries = torch.tensor([[[1.0, 0, -1], [0, 0, 1]]])  # east, zero, north-west
    # east: 1 and 2 tie; zero: all tie; north-west: the zero key's 0 beats two negative cosines
    assert feature_match(queries, keys).tolist() == [[1, 0, 0]]


def test_feature_match_tells_near_cosines_apart_in_half_precision():
    """Cosines .99998 and 1 both round to 1 in bfloat16."""
    keys = torch.tensor([[[1.0, 1.0], [0.0078125, 0.0]]]).bfloat16()
    queries = torch.tensor([[[1.0], [0.0]]]).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        assert feature_match(queries, keys).tolist() == [[1]]


def test_feature_match_carries_no_gradient():
    assert not feature_match(torch.randn(1, 2, 3, requires_grad=True), torch.randn(1, 2, 3)).requires_grad


def test_empty_batches():
    box = torch.zeros(0, 4)
    fy, fx = overlap_factors(box, box, (2, 3), (4, 5))
    assert overlap_matrix(box, box, (2, 3), (4, 5)).shape == (0, 6, 20)
    assert overlap_weights(fy, fx, box, (2, 3)).shape == (0, 2, 3)
    assert precise_match(torch.zeros(0, 8, 4, 5), fy, fx).shape == (0, 8, 2, 3)
    assert nearest_match(box, box, (2, 3), (4, 5))[0].shape == (0, 6)
    assert feature_match(torch.zeros(0, 8, 6), torch.zeros(0, 8, 20)).shape == (0, 6)


def test_wrong_shapes_are_named():
    box, size = random_boxes(2), (2, 3)
    with pytest.raises(ValueError, match=r'box_k has shape \(2, 3\)'):
        overlap_factors(box, box[:, :3], size, size)
    with pytest.raises(ValueError, match='box_q has 2 boxes and box_k 1'):
        nearest_match(box, box[:1], size, size)
    fy, fx = overlap_factors(box, box, size, size)
    with pytest.raises(ValueError, match=r'size_q \(3, 3\)'):
        overlap_weights(fy, fx, box, (3, 3))
    for wrong in (torch.zeros(2, 4, 3, 3), torch.zeros(1, 4, 2, 3), torch.zeros(2, 2, 3)):
        with pytest.raises(ValueError, match=r'feat_k .* do not fit'):
            precise_match(wrong, fy, fx)
    for wrong in (torch.zeros(2, 4, 5), torch.zeros(1, 3, 5), torch.zeros(2, 3, 0), torch.zeros(3, 5)):
        with pytest.raises(ValueError, match=r'feat_k .* do not fit'):
            feature_match(torch.zeros(2, 3, 5), wrong)
