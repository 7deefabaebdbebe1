"""The regression head computes the absolute error in the unit of the values, and keeps predictions in range."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from histomm.models.heads import RegressionHead


def samples(values):
    return [DataSample().set_gt_score(np.array([value], np.float32)) for value in values]


def test_loss_and_prediction_by_hand():
    head = RegressionHead(2, low=0, high=100)
    with torch.no_grad():
        head.fc.weight.copy_(torch.tensor([[0.5, -1.0]]))
        head.fc.bias.fill_(0.1)
    feats = (torch.zeros(3, 9), torch.tensor([[1.0, 0.2], [2.0, 0.0], [0.0, 1.0]]))  # the last counts
    # 100 · (0.5·1 − 0.2 + 0.1) = 40, 100 · 1.1 = 110, 100 · (−0.9) = −90
    torch.testing.assert_close(head(feats), torch.tensor([40.0, 110.0, -90.0]))
    loss = head.loss(feats, samples([30, 100, 0]))['loss']
    assert loss.item() == pytest.approx((10 + 10 + 90) / 3)
    found = [sample.pred_score.item() for sample in head.predict(feats, samples([30, 100, 0]))]
    assert found == pytest.approx([40, 100, 0])
    assert [s.pred_score.item() for s in head.predict(feats)] == pytest.approx([40, 100, 0])


def test_another_range_moves_the_values():
    torch.manual_seed(0)
    one, two = RegressionHead(4), RegressionHead(4, low=-1, high=3)
    two.load_state_dict(one.state_dict())
    x = (torch.randn(5, 4),)
    torch.testing.assert_close((two(x) + 1) / 4, one(x) / 100)


def test_gradient_reaches_the_layer():
    head = RegressionHead(3)
    head.loss((torch.randn(4, 3),), samples([1, 2, 3, 4]))['loss'].backward()
    assert all(value.grad.abs().sum() > 0 for value in head.parameters())


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match=r'low is 5.* and high 5.*, expected high above low'):
        RegressionHead(3, low=5, high=5)
