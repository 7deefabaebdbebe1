"""Smoothness and equivariance of maps in loops, and their gradients."""

import pytest
import torch

from histomm.functional.attention import map_equivariance, map_smoothness
from histomm.functional.symmetries import dihedral


def test_smoothness_by_loops():
    maps = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    down = [abs(maps[b, 0, r + 1, c] - maps[b, 0, r, c]) for b in range(2) for r in range(3) for c in range(5)]
    right = [abs(maps[b, 0, r, c + 1] - maps[b, 0, r, c]) for b in range(2) for r in range(4) for c in range(4)]
    expected = sum(down) / len(down) + sum(right) / len(right)
    assert map_smoothness(maps).item() == pytest.approx(expected.item(), rel=1e-12)


def test_smoothness_by_hand():
    maps = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    loss = map_smoothness(maps)
    assert loss.item() == pytest.approx((0.5 + 0.5) / 2 + (1 + 0) / 2)
    loss.backward()
    assert maps.grad.tolist() == [[-1.0, 1.0], [0.5, -0.5]]


@pytest.mark.parametrize('index', range(8))
def test_equivariance_by_loops(index):
    generator = torch.Generator().manual_seed(index)
    maps = torch.rand(2, 1, 3, 4, generator=generator).double()
    other = torch.rand(2, 1, 3, 4, generator=generator).double()
    differences = [(maps[b, 0, r, c] - other[b, 0, r, c]) ** 2 for b in range(2) for r in range(3) for c in range(4)]
    found = map_equivariance(maps, dihedral(other, index), index)
    assert found.item() == pytest.approx(sum(differences).item() / 24, rel=1e-12)
    assert map_equivariance(maps, dihedral(maps, index), index) == 0


def test_gradients():
    maps = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    other = torch.rand(1, 1, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(map_smoothness, maps)
    assert torch.autograd.gradcheck(lambda first: map_equivariance(first, other.detach(), 1), maps)
    map_equivariance(maps, other, 1).backward()
    assert maps.grad.abs().sum() > 0
    assert other.grad is None


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'shape \(1, 5\), expected at least 2 × 2 pixels'):
        map_smoothness(torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r'shape \(3, 4\), the others turned back \(4, 3\); expected the same'):
        map_equivariance(torch.zeros(3, 4), torch.zeros(3, 4), 1)
