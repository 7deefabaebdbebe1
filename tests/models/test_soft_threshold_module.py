"""The soft threshold's level: where it goes, when it stays, and that it is saved."""

import pytest
import torch
from distributed import run_two_processes

from histomm.registry import MODELS

ATTENTION = torch.tensor([[[0.9, 0.7], [0.4, 0.1]]])


def build(**options):
    return MODELS.build(dict(type='histomm.SoftThreshold', share=0.25, **options))


def test_a_step_worked_out_by_hand():
    threshold = build()
    mask = threshold(ATTENTION)
    assert threshold.level.item() == pytest.approx(0.52)
    expected = torch.tensor([[[0.9995, 0.973403], [0.083173, 0.000225]]])
    torch.testing.assert_close(mask, expected, atol=1e-6, rtol=0)


def test_level_is_saved_and_stays_in_evaluation():
    trained = build(initial=0.2)
    for _ in range(3):
        trained(ATTENTION)
    assert trained.level.item() == pytest.approx(0.7 - 0.5 * 0.9**3)
    loaded = build().eval()
    loaded.load_state_dict(trained.state_dict())
    expected = torch.sigmoid(20 * (ATTENTION - trained.level))
    torch.testing.assert_close(loaded(ATTENTION), expected)
    assert torch.equal(loaded.level, trained.level)


def _level_of_two(rank):
    threshold = build(momentum=0.0)
    threshold(ATTENTION * (1, 0.5)[rank])
    assert threshold.level.item() == pytest.approx((0.7 + 0.35) / 2)


def test_ranks_share_the_mean_of_their_levels():
    run_two_processes(_level_of_two)


def test_a_momentum_out_of_range_is_named():
    with pytest.raises(ValueError, match='expected a value in'):
        build(momentum=1.5)
