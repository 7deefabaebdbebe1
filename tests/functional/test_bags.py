"""Bags of any size under a mask."""

import pytest
import torch

from histomm.functional.bags import (
    attention_pool,
    check_bags,
    critical_instances,
    dual_stream_attention,
    likeliest_instance,
    masked_mean,
    masked_softmax,
    pad_bags,
)

SIZES = (1, 4, 7, 3)


@pytest.fixture
def padded():
    return pad_bags([torch.randn(size, 5) for size in SIZES])


def test_padding_puts_bags_side_by_side():
    bags, mask = pad_bags([torch.ones(1, 2), 2 * torch.ones(3, 2)])
    assert bags.tolist() == [[[1, 1], [0, 0], [0, 0]], [[2, 2], [2, 2], [2, 2]]]
    assert mask.tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize(
    'bags', [[], [torch.ones(2)], [torch.ones(2, 3), torch.ones(2, 4)]], ids=['none', 'flat', 'widths']
)
def test_bags_of_other_shapes_are_refused(bags):
    with pytest.raises(ValueError, match=r'expected one or more \(L, D\) with the same D'):
        pad_bags(bags)


def test_pooling_is_that_of_each_bag_alone(padded):
    bags, mask = padded
    scores = torch.randn(*mask.shape, 2)
    weights = masked_softmax(scores, mask)
    pooled, mean = attention_pool(bags, weights), masked_mean(bags, mask)
    for number, size in enumerate(SIZES):
        alone = bags[number, :size]
        odds = scores[number, :size].exp()
        assert torch.allclose(weights[number, :size], odds / odds.sum(0))
        assert torch.allclose(pooled[number], (odds / odds.sum(0)).T @ alone, atol=1e-6)
        assert torch.allclose(mean[number], alone.mean(0), atol=1e-6)
    assert (weights[~mask] == 0).all()


def test_a_bag_without_instances_pools_to_zero_with_a_gradient_that_is_a_number():
    scores = torch.randn(2, 3, 1, requires_grad=True)
    bags, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, False], [False] * 3])
    weights = masked_softmax(scores, mask)
    pooled = attention_pool(bags, weights)
    assert pooled[1].abs().max() == 0
    assert masked_mean(bags, mask)[1].abs().max() == 0
    pooled.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[1].abs().max() == 0


def test_critical_instances_are_those_of_highest_score_that_are_there():
    scores = torch.tensor([[[1.0, 5.0], [3.0, 2.0], [9.0, 9.0]]])
    assert critical_instances(scores, torch.tensor([[True, True, False]])).tolist() == [[1, 0]]


def test_the_likeliest_instance():
    """Of two classes by the probability of class 1, not its logit; of three the surest; of one the highest."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    two = torch.tensor([[[5.0, 6.0], [0.0, 4.0], [-9.0, -9.0]]])
    assert likeliest_instance(two, mask).tolist() == [1]
    three = torch.tensor([[[1.0, 1.0, 1.0], [4.0, 0.0, 0.0], [5.0, 5.0, 5.0]]])
    assert likeliest_instance(three, mask).tolist() == [1]
    one = torch.tensor([[[-3.0], [-1.0], [-2.0]]])
    assert likeliest_instance(one, mask).tolist() == [1]


def test_dual_stream_attention_by_hand():
    """Queries of width 4, so logits are halved: q = 2·e1, 0 and the critical one 2·e1 give softmax(2, 0)."""
    query = torch.tensor([[[2.0, 0, 0, 0], [0, 0, 0, 0]]])
    found = dual_stream_attention(query, query[:, :1], torch.ones(1, 2, dtype=torch.bool))
    assert found[0, :, 0].tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)


@pytest.mark.parametrize(
    ('shape', 'mask', 'message'),
    [
        ((2, 3), None, r'bags have shape \(2, 3\), expected \(B, L, 5\)'),
        ((2, 3, 4), None, r'bags have shape \(2, 3, 4\), expected \(B, L, 5\); see in_channels'),
        ((2, 3, 5), torch.ones(2, 4, dtype=torch.bool), r'the mask is \(2, 4\) of torch.bool, expected \(2, 3\)'),
        ((2, 3, 5), torch.ones(2, 3), r'the mask is \(2, 3\) of torch.float32'),
    ],
)
def test_other_bags_and_masks_are_refused(shape, mask, message):
    with pytest.raises(ValueError, match=message):
        check_bags(torch.ones(shape), mask, 5)
