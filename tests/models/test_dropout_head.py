"""A linear classifier with dropout: in training alone, by the right share."""

import pytest
import torch
from mmpretrain.models.heads import LinearClsHead

from histomm.models.heads import DropoutLinearHead
from histomm.registry import MODELS

SIZES = dict(num_classes=2, in_channels=6, loss=dict(type='mmpretrain.CrossEntropyLoss'))


def test_without_training_it_is_the_linear_classifier():
    head, plain = DropoutLinearHead(**SIZES).eval(), LinearClsHead(**SIZES)
    plain.load_state_dict(head.state_dict())
    feats = (torch.randn(3, 6, generator=torch.Generator().manual_seed(0)),)
    assert torch.equal(head(feats), plain(feats))


def test_in_training_a_share_is_zero_and_the_mean_stays():
    head = MODELS.build(dict(SIZES, type='histomm.DropoutLinearHead', dropout=0.3)).train()
    torch.manual_seed(0)
    dropped = head.pre_logits((torch.ones(40000, 6),))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])


@pytest.mark.parametrize('dropout', [-0.1, 1.0])
def test_no_probability_is_refused(dropout):
    with pytest.raises(ValueError, match=f'dropout is {dropout}, expected a probability'):
        DropoutLinearHead(**SIZES, dropout=dropout)
