"""Label maps cut by hand and by torch's own pooling, prototypes by loops."""

import pytest
import torch
from torch.nn import functional as F

from histomm.functional import canonicalize, concept_prototypes, cut_labels, resample_rows

REFERENCE_MAP = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 2, 1]])


def naive_cut(labels, num_concepts, reference, box, size):
    """One image after another: slice the one-hot map, pool it by torch, take the largest."""
    maps = []
    for one, (rx1, ry1, rx2, ry2), (x1, y1, x2, y2) in zip(labels, reference.tolist(), box.tolist(), strict=True):
        height, width = one.shape
        top, bottom = (round(height * (y - ry1) / (ry2 - ry1)) for y in (y1, y2))
        left, right = (round(width * (x - rx1) / (rx2 - rx1)) for x in (x1, x2))
        top, left = min(top, height - 1), min(left, width - 1)
        part = one[top : max(bottom, top + 1), left : max(right, left + 1)]
        pooled = F.adaptive_avg_pool2d(F.one_hot(part, num_concepts).permute(2, 0, 1).double(), size)
        # means of whole numbers: what differs by less than a rounding error is equal
        maps.append((pooled > pooled.amax(0) - 1e-9).int().argmax(0))
    return torch.stack(maps)


def test_maps_worked_out_by_hand():
    labels, unit = REFERENCE_MAP[None], torch.tensor([[0.0, 0, 4, 4]])
    query = cut_labels(labels, 3, unit, torch.tensor([[0.0, 0, 3, 3]]), (2, 2))
    key = cut_labels(labels, 3, unit, torch.tensor([[1.0, 1, 4, 4]]), (2, 2))
    assert query.tolist() == [[[0, 0], [0, 1]]]
    # the key view is flipped left-right; turning its map back is flipping it again
    flip, no, still = torch.tensor([True]), torch.tensor([False]), torch.tensor([0])
    assert canonicalize(key[:, None].float(), flip, no, still)[0, 0].tolist() == [[1, 1], [1, 2]]
    features = torch.arange(8.0).view(1, 2, 2, 2)
    prototypes, cells = concept_prototypes(features, query, 3)
    assert cells.tolist() == [[3, 1, 0]]
    assert prototypes.tolist() == [[[1, 5], [3, 7], [0, 0]]]
    present = (cells > 0) & (concept_prototypes(features, key, 3)[1] > 0)
    assert present.tolist() == [[False, True, False]]


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (7, 7), (20, 9)])
@pytest.mark.parametrize('cells', [(1, 1), (5, 9), (14, 14)])
def test_cutting_equals_slicing_and_pooling(size, cells):
    generator = torch.Generator().manual_seed(cells[0] * 100 + size[0])
    count = 60
    labels = torch.randint(0, 4, (count, *cells), generator=generator)
    corner = torch.randint(0, 30, (count, 2), generator=generator)
    extent = torch.randint(1, 40, (count, 2), generator=generator)
    offset = torch.randint(0, 9, (count, 2), generator=generator)
    box = torch.cat([corner, corner + extent], 1).float()
    reference = torch.cat([corner - offset, corner + extent + offset.flip(0)], 1).float()
    found = cut_labels(labels, 4, reference, box, size)
    assert torch.equal(found, naive_cut(labels, 4, reference, box, size))
    far = torch.tensor([100_000.0, 70_000, 100_000, 70_000])  # as on a slide
    assert torch.equal(cut_labels(labels, 4, reference + far, box + far, size), found)


def test_a_tiny_crop_keeps_one_cell():
    labels = torch.arange(16).view(1, 4, 4).repeat(2, 1, 1)
    reference = torch.tensor([[0.0, 0, 100, 100]]).repeat(2, 1)
    # both edges round to the same line: cell (1, 3) of the first, and the last cell of all of the second
    box = torch.tensor([[87.0, 30, 90, 32], [98, 99, 100, 100]])
    assert cut_labels(labels, 16, reference, box, (2, 2)).tolist() == [[[7, 7], [7, 7]], [[15, 15], [15, 15]]]


def test_the_lowest_of_equally_frequent_labels_wins():
    labels = torch.tensor([[[3, 1], [1, 3]]])
    box = torch.tensor([[0.0, 0, 6, 6]])
    assert cut_labels(labels, 4, box, box, (1, 1)).tolist() == [[[1]]]


def test_prototypes_equal_the_loop_and_carry_gradient():
    feat = torch.randn(3, 5, 4, 2, requires_grad=True)
    labels = torch.randint(0, 3, (3, 4, 2))
    labels[0] = 2
    prototypes, cells = concept_prototypes(feat, labels, 4)
    for image in range(3):
        for concept in range(4):
            rows = [feat[image, :, r, c] for r in range(4) for c in range(2) if labels[image, r, c] == concept]
            assert cells[image, concept] == len(rows)
            expected = sum(rows) / len(rows) if rows else torch.zeros(5)
            torch.testing.assert_close(prototypes[image, concept], expected)
    prototypes[0, 2].sum().backward()
    torch.testing.assert_close(feat.grad[0], torch.full((5, 4, 2), 1 / 8))
    assert feat.grad[1:].abs().sum() == 0


def test_prototypes_of_half_precision_are_means_in_single():
    feat = torch.full((1, 1, 40, 40), 60000.0, dtype=torch.half)
    prototypes, _ = concept_prototypes(feat, torch.zeros(1, 40, 40, dtype=torch.long), 1)
    assert prototypes.tolist() == [[[60000.0]]]
    assert prototypes.dtype == torch.float32


@pytest.mark.parametrize('count', [1, 3, 5, 6, 14, 15])
def test_rows_come_equally_often(count):
    rows = torch.arange(8.0)[:, None]
    present = torch.tensor([True, False, True, True, False, False, True, True])
    found = resample_rows(rows, present, count).squeeze(1).long()
    times = torch.bincount(found, minlength=8)
    assert len(found) == count
    assert times[~present].sum() == 0
    assert set(times[present].tolist()) <= {count // 5, -(-count // 5)}


def test_which_rows_come_is_random():
    rows, present = torch.arange(6.0)[:, None], torch.arange(6) != 2
    seen = torch.stack([resample_rows(rows, present, 2).squeeze(1) for _ in range(3000)]).long()
    share = torch.bincount(seen.flatten(), minlength=6) / 3000
    assert share[2] == 0
    assert (share[present] - 0.4).abs().max() < 0.03
    first, again = (resample_rows(rows, present, 9, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)


def test_bad_shapes_and_boxes_are_named():
    labels, box = torch.zeros(2, 4, 4, dtype=torch.long), torch.tensor([[0.0, 0, 8, 8]] * 2)
    with pytest.raises(ValueError, match=r'labels \(2, 4, 4\), reference \(1, 4\)'):
        cut_labels(labels, 3, box[:1], box, (2, 2))
    with pytest.raises(ValueError, match=r'box 1 is \[0.0, 0.0, 8.0, 9.0\] and reaches beyond its reference'):
        cut_labels(labels, 3, box, torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 9]]), (2, 2))
    with pytest.raises(ValueError, match=r'feat \(2, 3, 4, 5\) and labels \(2, 4, 4\) do not fit'):
        concept_prototypes(torch.zeros(2, 3, 4, 5), labels, 3)
