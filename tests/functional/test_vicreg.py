"""The terms of VICReg against plain loops and numbers worked out by hand."""

import itertools
import math

import pytest
import torch

from histomm.functional import (
    vicreg_covariance,
    vicreg_invariance,
    vicreg_spread,
    vicreg_terms,
    vicreg_variance,
)

X = [[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]
Y = [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
"""Squared errors 1, 1 and 1 over six numbers. X has variances 1 and 1/3 and covariance 0; Y has variances 1 and 1 and
covariance 1, so Σ Cov² / C is 2 / 2."""


def variance(rows):
    """Eqs. 1 and 2, channel by channel."""
    total = 0.0
    for channel in zip(*rows, strict=True):
        mean = sum(channel) / len(channel)
        total += max(0.0, 1 - math.sqrt(sum((v - mean) ** 2 for v in channel) / (len(channel) - 1) + 1e-4))
    return total / len(rows[0])


def covariance(rows):
    """Eqs. 3 and 4, entry by entry."""
    count, channels = len(rows), len(rows[0])
    mean = [sum(column) / count for column in zip(*rows, strict=True)]
    total = 0.0
    for c, d in itertools.permutations(range(channels), 2):
        total += (sum((row[c] - mean[c]) * (row[d] - mean[d]) for row in rows) / (count - 1)) ** 2
    return total / channels


def invariance(x, y, weight):
    errors = [sum((a - b) ** 2 for a, b in zip(*rows, strict=True)) / len(x[0]) for rows in zip(x, y, strict=True)]
    return sum(w * e for w, e in zip(weight, errors, strict=True)) / sum(weight)


def test_terms_worked_out_by_hand():
    found = vicreg_terms(torch.tensor(X), torch.tensor(Y))
    # of the variances only 1/3 leaves something: (1 − √(1/3 + 1e-4)) / 4
    assert found[0].item() == pytest.approx(0.5)
    assert found[1].item() == pytest.approx(0.105641, abs=5e-7)
    assert vicreg_covariance(torch.tensor(X)).item() == pytest.approx(0, abs=1e-12)
    assert vicreg_covariance(torch.tensor(Y)).item() == pytest.approx(1)


@pytest.mark.parametrize(('combination', 'expected'), [('sum', 16.141020), ('mean', 15.641020)])
def test_loss_of_vicreg_and_vicregl_worked_out_by_hand(combination, expected):
    terms = vicreg_terms(torch.tensor(X, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64), None, combination)
    assert (25 * terms[0] + 25 * terms[1] + terms[2]).item() == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize('shape', [(2, 1), (2, 7), (9, 3), (5, 16)])
def test_terms_against_loops(shape):
    x, y = torch.randn(2, *shape, dtype=torch.float64) * torch.rand(shape[1]) * 2 + 5
    weight = torch.rand(shape[0], dtype=torch.float64)
    found = vicreg_terms(x, y, weight, 'mean')
    x, y, weight = x.tolist(), y.tolist(), weight.tolist()
    assert found[0].item() == pytest.approx(invariance(x, y, weight))
    assert found[1].item() == pytest.approx((variance(x) + variance(y)) / 2)
    assert found[2].item() == pytest.approx((covariance(x) + covariance(y)) / 2)


def test_places_are_taken_apart_and_averaged():
    x, y = torch.randn(2, 6, 2, 3, 4, dtype=torch.float64)
    weight = torch.rand(6, 2, 3, dtype=torch.float64)
    found = vicreg_terms(x, y, weight)
    places = [view[:, i, j].tolist() for view in (x, y) for i in range(2) for j in range(3)]
    assert found[1].item() == pytest.approx(sum(map(variance, places)) / 12)
    assert found[2].item() == pytest.approx(sum(map(covariance, places)) / 6)
    flat = [view.reshape(-1, 4).tolist() for view in (x, y)]
    assert found[0].item() == pytest.approx(invariance(*flat, weight.flatten().tolist()))


def test_spread_of_three_views():
    views = torch.randn(3, 8, 5, dtype=torch.float64)
    found = vicreg_spread(list(views), 'mean')
    assert found[0].item() == pytest.approx(sum(variance(v.tolist()) for v in views) / 3)
    assert found[1].item() == pytest.approx(sum(covariance(v.tolist()) for v in views) / 3)
    assert vicreg_spread(list(views))[1].item() == pytest.approx(3 * found[1].item())


def test_rows_may_be_shifted_and_reordered():
    x, y = torch.randn(2, 20, 6, dtype=torch.float64)
    order = torch.randperm(20)
    terms = torch.stack(vicreg_terms(x, y))
    torch.testing.assert_close(torch.stack(vicreg_terms(x[order] + 3, y[order] + 3)), terms)
    turned = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    assert vicreg_invariance(x @ turned, y @ turned).item() == pytest.approx(terms[0].item())


def test_weight_one_is_no_weight_and_scale_is_free():
    x, y = torch.randn(2, 7, 3)
    torch.testing.assert_close(vicreg_invariance(x, y, torch.full((7,), 0.3)), vicreg_invariance(x, y))
    torch.testing.assert_close(vicreg_invariance(x, y), torch.nn.functional.mse_loss(x, y))


def test_rows_of_weight_zero_reach_neither_value_nor_gradient():
    x, y = torch.randn(5, 3), torch.randn(5, 3)
    x[1], y[3] = torch.nan, torch.inf
    x.requires_grad_()
    y.requires_grad_()
    weight = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.5])
    found = vicreg_invariance(x, y, weight)
    kept = weight > 0
    torch.testing.assert_close(found, vicreg_invariance(x[kept], y[kept], weight[kept]))
    found.backward()
    assert x.grad.isfinite().all()
    assert torch.equal(x.grad[~kept], torch.zeros(2, 3))
    assert x.grad[kept].abs().min() > 0
    assert torch.equal(x.grad, -y.grad)


@pytest.mark.parametrize('rows', [0, 3])
def test_nothing_to_compare_is_a_zero_that_can_be_differentiated(rows):
    x, y = torch.randn(rows, 4, requires_grad=True), torch.randn(rows, 4)
    found = vicreg_invariance(x, y, torch.zeros(rows))
    assert found == 0
    found.backward()
    assert torch.equal(x.grad, torch.zeros(rows, 4))


def test_no_rows_give_zeros():
    x = torch.zeros(0, 4, requires_grad=True)
    terms = torch.stack(vicreg_terms(x, x))
    assert terms.tolist() == [0, 0, 0]
    terms.sum().backward()
    assert x.grad.shape == (0, 4)


def test_a_single_row_has_no_spread_and_no_gradient():
    x = torch.randn(1, 4, requires_grad=True)
    found = vicreg_spread([x])
    assert [value.item() for value in found] == pytest.approx([0.99, 0])
    sum(found).backward()
    assert torch.equal(x.grad, torch.zeros(1, 4))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_reckoned_in_float32(dtype):
    # 600 rows of about 300: squares and sums that float16 cannot hold
    x, y = (300 * torch.randn(2, 600, 8) + 100).to(dtype)
    found = vicreg_terms(x, y)
    assert {term.dtype for term in found} == {torch.float32}
    torch.testing.assert_close(found, vicreg_terms(x.float(), y.float()), rtol=0, atol=0)


def test_autocast_changes_nothing():
    x, y = torch.randn(2, 50, 8)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = vicreg_terms(x, y)
    torch.testing.assert_close(found, vicreg_terms(x, y), rtol=0, atol=0)


def test_gradients_against_differences():
    x, y = torch.randn(2, 5, 2, 3, dtype=torch.float64) * 0.5
    weight = torch.rand(5, 2, dtype=torch.float64)
    x.requires_grad_()
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: torch.stack(vicreg_terms(a, b, weight)), (x, y))


def test_weight_is_a_constant():
    weight = torch.rand(4, requires_grad=True)
    x = torch.randn(4, 2, requires_grad=True)
    vicreg_invariance(x, torch.zeros(4, 2), weight).backward()
    assert weight.grad is None


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: vicreg_terms(torch.ones(3, 2), torch.ones(2, 2)), r'x has shape \(3, 2\) and y \(2, 2\)'),
        (lambda: vicreg_terms(torch.ones(3, 2), torch.ones(3, 2), torch.ones(2)), r'weight has shape \(2,\)'),
        (lambda: vicreg_terms(torch.ones(3, 2), torch.ones(3, 2), None, 'max'), "covariance is 'max'"),
        (lambda: vicreg_variance(torch.ones(3)), r'x has shape \(3,\)'),
        (lambda: vicreg_spread([]), 'views is empty'),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', [(2, 40), (9, 18), (9, 17), (30, 8), (6, 5, 64), (1, 12)])
def test_covariance_of_few_and_of_many_rows(shape, dtype):
    """Products of rows and products of channels say the same, with gradient."""
    x = (torch.randn(*shape, dtype=dtype) * torch.linspace(0.1, 2, shape[-1], dtype=dtype)).requires_grad_()
    centred = x - x.mean(0)
    written_out = torch.einsum('n...c,n...d->...cd', centred, centred) / max(len(x) - 1, 1)
    apart = written_out - torch.diag_embed(written_out.diagonal(dim1=-2, dim2=-1))
    expected = apart.square().sum((-2, -1)).mean() / shape[-1]
    found = vicreg_covariance(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value in (found, expected)))


def test_covariance_of_dead_channels_is_not_below_zero():
    """One channel varies: the sum of squares is that of the diagonal, and rounding may fall to either side."""
    x = torch.zeros(50, 5, 300)
    x[..., 7] = torch.randn(50, 5) * 30
    for rows in x.split(1, dim=1):
        assert 0 <= vicreg_covariance(rows.squeeze(1)).item() < 1e-2
