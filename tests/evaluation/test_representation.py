"""RankMe and feature_std on matrices whose values are known."""

import math

import pytest
import torch

from histomm.evaluation import feature_std, rankme


def orthonormal(rows, cols):
    return torch.linalg.qr(torch.randn(rows, cols, dtype=torch.float64))[0]


@pytest.mark.parametrize(('n', 'd'), [(50, 20), (20, 50), (20, 20)])
@pytest.mark.parametrize('k', [1, 3, 20])
def test_rankme_of_k_equal_singular_values_is_k(n, d, k):
    x = orthonormal(n, n)[:, :k] @ orthonormal(d, d)[:, :k].T
    assert rankme(7 * x, eps=0.0) == pytest.approx(k, rel=1e-4)


def test_rankme_by_hand():
    """Singular values 3 and 1: p = 3/4, 1/4 and exp(entropy) = 4 / 3^(3/4)."""
    x = torch.diag(torch.tensor([3.0, 1.0]))
    assert rankme(x, eps=0.0) == pytest.approx(4 / 3**0.75, rel=1e-6)


def test_rankme_equals_definition_with_svd():
    x = torch.randn(40, 12, dtype=torch.float64) * torch.linspace(0.1, 3, 12, dtype=torch.float64)
    sigma = torch.linalg.svdvals(x)
    p = sigma / sigma.sum() + 1e-7
    assert rankme(x) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-6)


def test_rankme_is_invariant_to_scale_rotation_and_order():
    x = torch.randn(30, 8)
    moved = 5 * x[torch.randperm(30)] @ orthonormal(8, 8).float()
    assert rankme(moved) == pytest.approx(rankme(x), rel=1e-4)


def test_rankme_of_zeros():
    assert rankme(torch.zeros(4, 3)) == 0


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_values_that_are_not_finite_give_nan(value):
    x = torch.randn(5, 3)
    x[1, 2] = value
    assert math.isnan(rankme(x))
    assert math.isnan(feature_std(x))


def test_feature_std_of_signed_axes_is_one():
    """Rows ±e_i: every dimension has mean 0 and variance 1/D, whatever the rows' lengths."""
    d = 6
    rows = torch.cat([torch.eye(d), -torch.eye(d)]) * torch.rand(2 * d, 1).add(0.1)
    assert feature_std(rows) == pytest.approx(1.0, rel=1e-6)


def test_feature_std_of_uniform_directions_is_about_one():
    assert feature_std(torch.randn(4096, 64)) == pytest.approx(1.0, abs=0.01)


def test_feature_std_of_one_direction_is_zero():
    direction = torch.randn(1, 32)
    assert feature_std(direction * torch.rand(20, 1).add(0.5)) == pytest.approx(0, abs=1e-6)


def test_feature_std_by_hand():
    """Rows (1, 0) and (0, 1): deviation 1/2 in both dimensions, times √2."""
    assert feature_std(torch.tensor([[2.0, 0.0], [0.0, 5.0]])) == pytest.approx(math.sqrt(2) / 2, rel=1e-6)


@pytest.mark.parametrize('measure', [rankme, feature_std])
@pytest.mark.parametrize('shape', [(1, 3), (4,), (2, 3, 4)])
def test_shape_is_checked(measure, shape):
    with pytest.raises(ValueError, match=r'expected \(N, D\)'):
        measure(torch.zeros(shape))
