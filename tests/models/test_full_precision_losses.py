"""Losses, unit rows and queues under autocast: what networks give in bfloat16 is reckoned with in float32."""

import pytest
import torch

from histomm.functional import unit_rows
from histomm.models.queue import FeatureQueue
from histomm.registry import MODELS

HEADS = {
    'BYOL': dict(type='histomm.CosineSimilarityLoss', shift_factor=1.0),
    'SimSiam': dict(type='histomm.CosineSimilarityLoss'),
    'Barlow Twins': dict(
        type='histomm.CrossCorrelationHead', in_channels=6, loss=dict(type='mmpretrain.CrossCorrelationLoss')
    ),
}


def rounded(*shape):
    return torch.randn(*shape).bfloat16()


@pytest.mark.parametrize('name', HEADS)
def test_losses_of_rounded_vectors_are_not_rounded(name):
    loss = MODELS.build(HEADS[name])
    loss = getattr(loss, 'loss', loss)
    views = rounded(9, 6), rounded(9, 6)
    expected = loss(*(view.float() for view in views))
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(*views)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_a_weighted_cosine_is_the_mean_of_what_counts():
    loss = MODELS.build(HEADS['SimSiam'])
    pred, target = torch.tensor([[2.0, 0], [0, 1], [1, 1]]), torch.tensor([[3.0, 0], [1, 0], [0, 5]])
    assert loss(pred, target, torch.tensor([1.0, 1, 0])).item() == pytest.approx(-0.5)


def test_rounded_rows_get_their_length_in_float32():
    rows = torch.cat([rounded(50, 7), torch.zeros(1, 7).bfloat16()])
    unit = unit_rows(rows)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit.norm(dim=1), torch.tensor([1.0] * 50 + [0.0]), rtol=0, atol=1e-6)
    assert unit_rows(rows.double()).dtype == torch.float64


def test_a_queue_contrasts_rounded_rows_as_exact_ones():
    """Products with the queue are rounded, to 8 bits of numbers below 5; everything else is not."""
    queue = FeatureQueue(200, 16)
    anchor, positive = rounded(40, 16), rounded(40, 16)
    expected = queue.contrast(anchor.float(), positive.float(), 0.2)
    with torch.autocast('cpu', torch.bfloat16):
        found = queue.contrast(anchor, positive, 0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
