"""Soft threshold against numbers worked out by hand and a sort."""

import pytest
import torch

from histomm.functional import share_level, soft_mask

ATTENTION = torch.tensor([[0.1, 0.9], [0.4, 0.7]])


def test_level_and_mask_worked_out_by_hand():
    """A quarter of four values: position 1 in falling order; from 0.5 a tenth of the way to 0.7 is 0.52."""
    level = share_level(ATTENTION[None], 0.25)
    assert level.item() == pytest.approx(0.7)
    mask = soft_mask(ATTENTION, 0.9 * 0.5 + 0.1 * level)
    expected = torch.tensor([[0.000225, 0.9995], [0.083173, 0.973403]])
    torch.testing.assert_close(mask, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize('share', [0.0, 0.07, 0.5, 0.999])
def test_level_is_the_mean_over_maps_of_a_sorted_value(share):
    maps = torch.rand(3, 1, 9, 13)
    expected = sum(sorted(image.flatten().tolist(), reverse=True)[int(share * 117)] for image in maps) / 3
    assert share_level(maps, share).item() == pytest.approx(expected)


def test_level_takes_no_gradient():
    maps = torch.rand(2, 5, requires_grad=True)
    level = share_level(maps, 0.2)
    assert not level.requires_grad
    soft_mask(maps, level).sum().backward()
    assert (maps.grad > 0).all()


@pytest.mark.parametrize('share', [-0.1, 1.0])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(ValueError, match=f'share is {share}, expected'):
        share_level(ATTENTION, share)
