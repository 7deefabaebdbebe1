"""NT-Xent against an example worked out by hand, the sum written out, and its own invariances."""

import math

import pytest
import torch
from torch.nn import functional as F

from histomm.functional import nt_xent


def naive(view1, view2, temperature):
    """The definition, in Python floats."""
    rows = [*view1.tolist(), *view2.tolist()]
    total = 0.0
    for i, row in enumerate(rows):
        terms = [math.exp(sum(a * b for a, b in zip(row, other, strict=True)) / temperature) for other in rows]
        partner = (i + len(view1)) % len(rows)
        total -= math.log(terms[partner] / (sum(terms) - terms[i]))
    return total / len(rows)


@pytest.mark.parametrize(('temperature', 'expected'), [(0.1, 0.244077), (0.5, 0.649763), (0.01, 0.173287)])
def test_o9(temperature, expected):
    view1, view2 = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.6], [0.28, 0.96]])
    assert nt_xent(view1, view2, temperature).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('count', [1, 2, 7])
def test_against_the_sum_written_out(count):
    views = [F.normalize(torch.randn(count, 5, dtype=torch.float64), dim=1) for _ in range(2)]
    assert nt_xent(*views, 0.2).item() == pytest.approx(naive(*views, 0.2), abs=1e-12)


def test_neither_the_order_of_views_nor_of_images_matters():
    view1, view2 = (F.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1) for _ in range(2))
    order = torch.randperm(6)
    expected = nt_xent(view1, view2, 0.1)
    torch.testing.assert_close(nt_xent(view2, view1, 0.1), expected)
    torch.testing.assert_close(nt_xent(view1[order], view2[order], 0.1), expected)


def test_gradient_is_that_of_the_definition():
    views = [F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *rows: nt_xent(*rows, 0.5), views)


def test_half_precision_is_reckoned_in_float32():
    views = [F.normalize(torch.randn(6, 8), dim=1).bfloat16() for _ in range(2)]
    assert nt_xent(*views, 0.05).dtype == torch.float32
    torch.testing.assert_close(nt_xent(*views, 0.05), nt_xent(*(view.float() for view in views), 0.05))


def test_no_rows_give_a_zero_that_can_be_differentiated():
    view = torch.zeros(0, 3, requires_grad=True)
    loss = nt_xent(view, view, 0.1)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize(
    ('view2', 'temperature', 'message'),
    [
        (torch.zeros(2, 3), 0.1, r'view1 has shape \(4, 3\) and view2 \(2, 3\), expected \(N, C\) twice'),
        (torch.zeros(4, 3), 0, 'temperature is 0, expected'),
    ],
)
def test_wrong_arguments_are_named(view2, temperature, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(torch.zeros(4, 3), view2, temperature)
