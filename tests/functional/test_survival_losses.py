"""Survival likelihoods against loops from the papers and cases by hand."""

import math

import pytest
import torch

from histomm.functional.survival import cox_loss, discrete_time_loss, discretise, survival_curve, time_bins


def naive_cox(risk, time, event, ties):
    """Event by event, those tied before it weighed out by Efron."""
    total, seen = 0.0, 0
    for moment in sorted({float(t) for t, e in zip(time, event, strict=True) if e}):
        dying = [i for i in range(len(time)) if event[i] and float(time[i]) == moment]
        alive = [i for i in range(len(time)) if float(time[i]) >= moment]
        for place, i in enumerate(dying):
            pool = sum(math.exp(risk[j]) for j in alive)
            if ties == 'efron':
                pool -= place / len(dying) * sum(math.exp(risk[j]) for j in dying)
            total += math.log(pool) - float(risk[i])
            seen += 1
    return total / seen


@pytest.mark.parametrize('ties', ['efron', 'breslow'])
def test_cox_equals_a_loop(ties):
    for count in (1, 2, 7, 30):
        risk, time = torch.randn(count, dtype=torch.float64), torch.randint(1, 6, (count,)).double()
        event = torch.randint(2, (count,))
        event[0] = 1
        assert cox_loss(risk, time, event, ties).item() == pytest.approx(naive_cox(risk, time, event, ties))


def test_cox_by_hand():
    """Equal risks: of three at risk two die at once, log 3 twice by Breslow, log 3 and log 2 by Efron."""
    risk, time, event = torch.zeros(3), torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1, 1, 0])
    assert cox_loss(risk, time, event, 'breslow').item() == pytest.approx(math.log(3))
    assert cox_loss(risk, time, event, 'efron').item() == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_cox_depends_on_differences_of_risks_and_the_order_of_times_alone():
    risk, time, event = torch.randn(9), torch.arange(1.0, 10), torch.tensor([1, 0, 1] * 3)
    expected = cox_loss(risk, time, event)
    assert cox_loss(risk + 700, time, event).item() == pytest.approx(expected.item(), abs=1e-3)
    assert cox_loss(risk, time**3, event).item() == pytest.approx(expected.item())


def test_cox_of_risks_that_are_far_apart():
    """Who dies last is alone at risk, however small the risk: log(e^300 + e^−300 + 1) − 300, log(1 + e^−300), 0."""
    risk, time = torch.tensor([300.0, 0.0, -300.0]), torch.tensor([1.0, 2.0, 3.0])
    assert cox_loss(risk, time, torch.ones(3)).item() == pytest.approx(0, abs=1e-6)
    assert cox_loss(-risk, time, torch.ones(3)).item() == pytest.approx((600 + 300) / 3)


def test_cox_has_the_right_gradient():
    risk = torch.randn(6, dtype=torch.float64, requires_grad=True)
    time, event = torch.tensor([2.0, 1, 2, 3, 2, 1]), torch.tensor([1, 0, 1, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda r: cox_loss(r, time, event), risk)


def test_cox_without_events_or_with_huge_risks_has_a_gradient_that_is_a_number():
    for event in (torch.zeros(3), torch.ones(3)):
        risk = torch.tensor([300.0, -300.0, 0.0], requires_grad=True)
        loss = cox_loss(risk, torch.tensor([1.0, 2.0, 3.0]), event)
        loss.backward()
        assert math.isfinite(loss.item())
        assert torch.isfinite(risk.grad).all()
        assert (risk.grad == 0).all() or event.any()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((torch.zeros(3), torch.zeros(3), torch.zeros(3), 'exact'), "ties is 'exact', expected one of"),
        ((torch.zeros(3, 1), torch.zeros(3), torch.zeros(3)), r'have the shapes \(3, 1\), \(3,\), \(3,\)'),
    ],
)
def test_wrong_arguments_of_cox_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cox_loss(*arguments)


def test_discrete_time_by_hand():
    """All hazards 1/2: an event in interval 0 has the likelihood 1/2, an event or the censoring in interval 1 1/4."""
    loss = discrete_time_loss(torch.zeros(3, 4), torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0]))
    assert loss.item() == pytest.approx((math.log(2) + 2 * math.log(4)) / 3)
    assert survival_curve(torch.zeros(1, 4))[0].tolist() == pytest.approx([0.5, 0.25, 0.125, 0.0625])


def test_discrete_time_equals_a_loop():
    logits, interval, event = torch.randn(20, 5), torch.randint(5, (20,)), torch.randint(2, (20,))
    hazards, total = logits.double().sigmoid(), 0.0
    for row in range(20):
        y = int(interval[row])
        chance = math.prod(1 - float(h) for h in hazards[row, :y])
        chance *= float(hazards[row, y]) if event[row] else 1 - float(hazards[row, y])
        total -= math.log(chance)
    assert discrete_time_loss(logits, interval, event).item() == pytest.approx(total / 20, rel=1e-5)


def test_likelihoods_of_all_outcomes_sum_to_one():
    logits = torch.randn(1, 4).repeat(5, 1)
    outcomes = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([1, 1, 1, 1, 0])
    chances = [
        math.exp(-discrete_time_loss(logits[:1], y[None], e[None]).item()) for y, e in zip(*outcomes, strict=True)
    ]
    assert sum(chances) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize('interval', [[-1, 0], [0, 3]])
def test_intervals_out_of_range_are_refused(interval):
    with pytest.raises(ValueError, match='expected 0 to 2'):
        discrete_time_loss(torch.zeros(2, 3), torch.tensor(interval), torch.ones(2))


def test_borders_are_quantiles_of_the_times_of_events():
    time = torch.tensor([8.0, 1, 2, 3, 4, 5, 6, 7, 100, 0.5])
    event = torch.tensor([1] * 8 + [0, 0])
    borders = time_bins(time, event, 4)
    assert borders.tolist() == pytest.approx([2.75, 4.5, 6.25])
    assert discretise(torch.tensor([0.5, 2.74, 2.75, 6.3, 100.0]), borders).tolist() == [0, 0, 1, 3, 3]


@pytest.mark.parametrize(
    ('time', 'bins', 'message'),
    [
        ([1, 2, 3], 1, 'bins is 1, expected 2 or more'),
        ([1, 2, 3], 4, '3 events cannot be put into 4 intervals'),
        ([1, 1, 1, 1, 2], 4, 'of which some are equal; take fewer intervals than 4'),
    ],
)
def test_intervals_that_cannot_be_told_apart_are_refused(time, bins, message):
    with pytest.raises(ValueError, match=message):
        time_bins(torch.tensor(time), torch.ones(len(time)), bins)
