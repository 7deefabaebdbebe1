"""DenseBranch as another framework would take it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from histomm.functional import ViewGeometry, info_nce, overlap_matrix
from histomm.models import DenseBranch, DenseMaps, EMATeacher, FeatureQueue

NECK = dict(type='histomm.DenseNeck', in_channels=6, hid_channels=5, out_channels=4)
PRECISE = dict(type='histomm.PreciseLocationMatcher', match_linear=True, channels=4)


def views(size=3):
    geometry = [
        ViewGeometry(
            torch.tensor([[0.0, 0, 40, 30]]).repeat(size, 1) + 10 * torch.rand(size, 4),
            *torch.zeros(2, size, dtype=torch.bool),
            torch.zeros(size, dtype=torch.long),
        )
        for _ in range(2)
    ]
    return [torch.randn(size, 6, 3, 5) for _ in range(2)], geometry


def test_takes_its_place_beside_an_averaged_encoder():
    branch = DenseBranch(NECK, [PRECISE], queue_len=7, feat_dim=4, temperature=0.3)
    teacher = EMATeacher(nn.ModuleDict(branch.learned()))
    teacher.update(nn.ModuleDict(branch.learned()))
    feats, geometry = views()
    query = DenseMaps(branch.neck((feats[0],)), feats[0])
    with torch.no_grad():
        key = DenseMaps(teacher.module['dense_neck']((feats[1],)), feats[1])
    negatives = branch.queue.rows.clone()
    loss, overlap = branch(query, key, geometry, teacher.module['matchers'])
    branch.enqueue(key)
    # with the matrix of areas written out
    areas = overlap_matrix(geometry[0].box, geometry[1].box, (3, 5), (3, 5))
    rows_q, rows_k = (maps.projection.flatten(2).mT for maps in (query, key))
    linear = branch.matchers[0].linear
    forth = linear(areas / areas.sum(2, keepdim=True).clamp(min=1e-9) @ rows_k)
    back = linear(areas.mT / areas.sum(1)[:, :, None].clamp(min=1e-9) @ rows_q)
    cells = [(g.box[:, 2:] - g.box[:, :2]).prod(1) / 15 for g in geometry]
    weight = torch.cat([(areas.sum(2) / cells[0][:, None]).flatten(), (areas.sum(1) / cells[1][:, None]).flatten()])
    anchors, positives = torch.cat([rows_q, back]).flatten(0, 1), torch.cat([forth, rows_k]).flatten(0, 1)
    expected = info_nce(F.normalize(anchors, dim=1), F.normalize(positives, dim=1), negatives, 0.3, weight)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(overlap, weight.mean())
    torch.testing.assert_close(branch.queue.rows[:3], F.normalize(key.projection.mean((2, 3)), dim=1))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in branch.parameters())


def test_the_queue_contrasts_rows_of_any_length():
    queue, anchor, positive = FeatureQueue(6, 3), torch.randn(4, 3), torch.randn(4, 3)
    weight = torch.rand(4)
    unit = [F.normalize(rows, dim=1) for rows in (anchor, positive)]
    expected = info_nce(*unit, queue.rows, 0.5, weight, 'mean')
    torch.testing.assert_close(queue.contrast(3 * anchor, 0.1 * positive, 0.5, weight, 'mean'), expected)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match='matchers is empty'):
        DenseBranch(NECK, [])
    with pytest.raises(ValueError, match="weight_norm is 'max', expected 'sum' or 'mean'"):
        DenseBranch(NECK, [PRECISE], weight_norm='max')
