"""InfoNCE against the sum written out, cross-entropy, hand-worked values and its own invariances."""

import math

import pytest
import torch
from torch.nn import functional as F

from histomm.functional import info_nce


def unit(*shape, dtype=torch.float64):
    return F.normalize(torch.randn(*shape, dtype=dtype), dim=1)


def naive(anchor, positive, negatives, temperature):
    """Row losses from the definition, in Python floats."""
    losses = []
    for a, p in zip(anchor.tolist(), positive.tolist(), strict=True):
        dot = lambda row, a=a: sum(x * y for x, y in zip(a, row, strict=True)) / temperature  # noqa: E731
        top = math.exp(dot(p))
        losses.append(-math.log(top / (top + sum(math.exp(dot(n)) for n in negatives.tolist()))))
    return losses


@pytest.fixture
def rows():
    """anchor (7, 5), positive (7, 5), negatives (11, 5), weight (7,) with one zero."""
    weight = torch.rand(7, dtype=torch.float64)
    weight[3] = 0
    return unit(7, 5), unit(7, 5), unit(11, 5), weight


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_o1(dtype):
    query, key = (torch.tensor([row], dtype=dtype) for row in ([0.6, 0.8], [0.8, 0.6]))
    queue = torch.tensor([[1, 0], [0, 1], [-0.6, 0.8]], dtype=dtype)
    assert info_nce(query, key, queue, 0.2).item() == pytest.approx(0.499563, abs=1e-6)
    assert info_nce(query, query, queue, 0.2).item() == pytest.approx(0.425620, abs=1e-6)


def test_against_the_sum_written_out(rows):
    anchor, positive, negatives, weight = rows
    losses = naive(anchor, positive, negatives, 0.2)
    weighted = sum(w * loss for w, loss in zip(weight.tolist(), losses, strict=True))
    found = {how: info_nce(*rows[:3], 0.2, weight, how).item() for how in ('weighted_mean', 'mean')}
    assert found == pytest.approx({'weighted_mean': weighted / weight.sum().item(), 'mean': weighted / 7})
    assert info_nce(*rows[:3], 0.2).item() == pytest.approx(sum(losses) / 7)


def test_against_cross_entropy_with_gradient(rows):
    """Second implementation: the positive's logit first, target 0."""
    plain = [t.clone().requires_grad_() for t in rows[:3]]
    other = [t.clone().requires_grad_() for t in rows[:3]]
    loss = info_nce(*plain, 0.2)
    logits = torch.cat(((other[0] * other[1]).sum(1, keepdim=True), other[0] @ other[2].T), 1) / 0.2
    reference = F.cross_entropy(logits, torch.zeros(7, dtype=torch.long))
    loss.backward()
    reference.backward()
    torch.testing.assert_close(loss, reference)
    for a, b in zip(plain, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize('reduction', ['weighted_mean', 'mean'])
@pytest.mark.parametrize('chunk_size', [None, 3])
def test_gradient(rows, reduction, chunk_size):
    weight = rows[3]
    inputs = [t.clone().requires_grad_() for t in rows[:3]]
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, 0.5, weight, reduction, chunk_size), inputs)


@pytest.mark.parametrize('chunk_size', [1, 3, 7, 100])
def test_chunks_change_nothing(rows, chunk_size):
    results = []
    for size in (None, chunk_size):
        inputs = [t.clone().requires_grad_() for t in rows[:3]]
        loss = info_nce(*inputs, 0.2, rows[3], chunk_size=size)
        loss.backward()
        results.append([loss.detach(), *(t.grad for t in inputs)])
    torch.testing.assert_close(results[1], results[0])


def test_chunks_never_hold_all_logits():
    """What autograd keeps: N×K values if the negatives have gradient; else, or in chunks, less than a chunk."""

    def kept(chunk_size, learned):
        sizes = {}

        def keep(tensor):
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        anchor, negatives = unit(64, 4).requires_grad_(), unit(512, 4).requires_grad_(learned)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = info_nce(anchor, unit(64, 4), negatives, 0.2, chunk_size=chunk_size)
        loss.backward()
        return sum(sizes.values())

    assert kept(None, True) >= 64 * 512
    assert kept(8, True) < 8 * 512
    assert kept(None, False) < 8 * 512


@pytest.mark.parametrize('chunk_size', [None, 1, 3, 100])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_constant_negatives_give_what_learned_ones_do(rows, chunk_size, dtype):
    """The gradient formed beside the value is that of autograd."""
    results = []
    for learned in (False, True):
        anchor, positive, negatives, weight = (t.to(dtype, copy=True) for t in rows)
        inputs = [anchor.requires_grad_(), positive.requires_grad_()]
        loss = info_nce(*inputs, negatives.requires_grad_(learned), 0.1, weight, chunk_size=chunk_size)
        (3 * loss).backward()
        results.append([loss.detach(), *(t.grad for t in inputs)])
    torch.testing.assert_close(*results)


def test_gradient_with_constant_negatives(rows):
    inputs = [t.clone().requires_grad_() for t in rows[:2]]
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, rows[2], 0.5, rows[3], chunk_size=2), inputs)


def test_large_logits_do_not_overflow():
    """exp(1000) is infinite in float32; the loss is the difference of the logits all the same."""
    anchor = torch.tensor([[1.0, 0.0]]).requires_grad_()
    loss = info_nce(anchor, torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.001)
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    torch.testing.assert_close(anchor.grad, torch.tensor([[1000.0, 0.0]]))


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_rows_of_weight_zero_are_absent(rows, chunk_size):
    """Not even a row of NaN reaches the value or a gradient; the rest is as without it."""
    anchor, positive, negatives, weight = rows
    inputs = [anchor.clone(), positive.clone(), negatives.clone()]
    inputs[0][3], inputs[1][3] = float('nan'), float('inf')
    inputs = [t.requires_grad_() for t in inputs]
    loss = info_nce(*inputs, 0.2, weight, chunk_size=chunk_size)
    loss.backward()
    keep = torch.arange(7) != 3
    kept = [t.clone().requires_grad_() for t in (anchor[keep], positive[keep], negatives)]
    reference = info_nce(*kept, 0.2, weight[keep])
    reference.backward()
    torch.testing.assert_close(loss, reference)
    for found, expected in zip(inputs[:2], kept[:2], strict=True):
        assert not found.grad[3].any()
        torch.testing.assert_close(found.grad[keep], expected.grad)
    torch.testing.assert_close(inputs[2].grad, kept[2].grad)


def test_a_row_of_weight_two_counts_as_two_rows(rows):
    anchor, positive, negatives, _ = rows
    once = info_nce(anchor[:2], positive[:2], negatives, 0.2, torch.tensor([2.0, 1.0]))
    twice = info_nce(anchor[[0, 0, 1]], positive[[0, 0, 1]], negatives, 0.2)
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize('lost', [False, True])
def test_gradient_of_weighted_rows_with_and_without_zeros(rows, lost):
    anchor, positive, negatives, weight = rows
    weight = weight if lost else weight + 0.5
    inputs = [part.clone().requires_grad_() for part in (anchor, positive)]
    logits = torch.cat([(inputs[0] * inputs[1]).sum(1, keepdim=True), inputs[0] @ negatives.T], 1) / 0.2
    expected = (weight * (logits.logsumexp(1) - logits[:, 0])).sum() / weight.sum()
    loss = info_nce(*inputs, negatives, 0.2, weight)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, inputs) for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_scale_of_the_weights_matters_only_to_mean(rows):
    args, weight = rows[:3], rows[3]
    torch.testing.assert_close(info_nce(*args, 0.2, 10 * weight), info_nce(*args, 0.2, weight))
    torch.testing.assert_close(info_nce(*args, 0.2, 10 * weight, 'mean'), 10 * info_nce(*args, 0.2, weight, 'mean'))


@pytest.mark.parametrize('reduction', ['weighted_mean', 'mean'])
@pytest.mark.parametrize('chunk_size', [None, 2])
@pytest.mark.parametrize('count', [0, 4])
def test_nothing_to_learn_is_a_connected_zero(reduction, chunk_size, count):
    """No rows, or rows without weight."""
    anchor = unit(count, 3).requires_grad_()
    loss = info_nce(anchor, unit(count, 3), unit(5, 3), 0.2, torch.zeros(count), reduction, chunk_size)
    assert loss.item() == 0
    loss.backward()
    assert anchor.grad.shape == (count, 3)
    assert not anchor.grad.any()


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_without_negatives_the_positive_always_wins(chunk_size):
    anchor = unit(3, 4).requires_grad_()
    loss = info_nce(anchor, unit(3, 4), torch.zeros(0, 4, dtype=torch.float64), 0.2, chunk_size=chunk_size)
    assert loss.item() == 0
    loss.backward()
    assert not anchor.grad.any()


def test_zero_vectors_are_a_coin_among_all(rows):
    """All logits 0: one positive among 12 candidates."""
    zero = torch.zeros(7, 5, dtype=torch.float64, requires_grad=True)
    loss = info_nce(zero, rows[1], rows[2], 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(12))
    assert zero.grad.isfinite().all()


def test_half_precision_sums_in_float32():
    """4,096 equal logits: a bfloat16 sum of ones stops at 256."""
    loss = info_nce(torch.zeros(2, 8).bfloat16(), torch.zeros(2, 8).bfloat16(), torch.zeros(4096, 8).bfloat16(), 0.2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(4097), abs=1e-5)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_lower_precision_follows_float64(dtype, tolerance):
    inputs = [unit(32, 64), unit(32, 64), unit(256, 64)]
    lower = [t.to(dtype).requires_grad_() for t in inputs]
    loss = info_nce(*lower, 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(info_nce(*inputs, 0.2).item(), abs=tolerance)
    assert lower[0].grad.dtype == dtype


def test_negatives_of_another_dtype():
    """A float32 queue beside bfloat16 rows, as under mixed precision."""
    loss = info_nce(unit(4, 8).bfloat16(), unit(4, 8).bfloat16(), unit(6, 8).float(), 0.2)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_small_temperature_does_not_overflow():
    """Logits ±10,000: the loss is their difference."""
    east = torch.tensor([[1.0, 0.0]])
    assert info_nce(east, -east, east, 1e-4).item() == pytest.approx(20000)
    assert info_nce(east, east, -east, 1e-4).item() == 0


def test_inputs_are_left_alone(rows):
    before = [t.clone() for t in rows]
    info_nce(*rows[:3], 0.2, rows[3])
    assert all(torch.equal(a, b) for a, b in zip(rows, before, strict=True))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'anchor': torch.zeros(4, 3, 1)}, r'anchor has shape \(4, 3, 1\), expected \(N, C\)'),
        ({'positive': torch.zeros(5, 3)}, r'positive has shape \(5, 3\), expected \(4, 3\)'),
        ({'negatives': torch.zeros(6, 2)}, r'negatives has shape \(6, 2\), expected \(K, 3\)'),
        ({'weight': torch.zeros(4, 1)}, r'weight has shape \(4, 1\), expected \(4,\)'),
        ({'temperature': 0}, 'temperature is 0, expected'),
        ({'temperature': float('nan')}, 'temperature is nan, expected'),
        ({'reduction': 'sum'}, "reduction is 'sum', expected one of weighted_mean, mean"),
        ({'chunk_size': 0}, 'chunk_size is 0, expected'),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    right = {
        'anchor': torch.zeros(4, 3),
        'positive': torch.zeros(4, 3),
        'negatives': torch.zeros(6, 3),
        'temperature': 0.2,
    }
    with pytest.raises(ValueError, match=message):
        info_nce(**{**right, **changes})
