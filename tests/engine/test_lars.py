"""LARS against its formula step by step, a number worked out by hand, and mmpretrain's optimiser of the same name."""

import math
from copy import deepcopy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.engine.optimizers import LARS as MMPretrainLARS
from torch import nn

from histomm.engine import LARS


def _along():
    """w = (3, 4) and g = (.6, .8), which point the same way, as a weight of two dimensions."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    weight.grad = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    return weight


@pytest.mark.parametrize('optimizer', [LARS, MMPretrainLARS])
def test_a_step_worked_out_by_hand(optimizer):
    """‖w‖ = 5, d = (.600003, .800004) of length 1.000005: trust .005 / 1.000005, step .6 · (.003, .004)."""
    weight = _along()
    before = weight.detach().clone()
    optimizer([weight], lr=0.6, momentum=0.9, weight_decay=1e-6, eta=1e-3).step()
    assert weight[0].tolist() == pytest.approx([2.9982, 3.9976], abs=1e-9)
    trust = (before - weight.detach()) / 0.6 / torch.tensor([0.600003, 0.800004], dtype=torch.float64)
    assert trust[0].tolist() == pytest.approx([0.004999975] * 2, abs=1e-9)


def naive_steps(weight, grads, rates, momentum, decay, eta):
    """The formula of the docstring, number by number, for a flat list."""
    velocity, history = [0.0] * len(weight), []
    for grad, rate in zip(grads, rates, strict=True):
        change = [g + decay * w for g, w in zip(grad, weight, strict=True)]
        size, length = math.hypot(*weight), math.hypot(*change)
        trust = eta * size / length if size and length else 1.0
        velocity = [momentum * v + trust * c for v, c in zip(velocity, change, strict=True)]
        weight = [w - rate * v for w, v in zip(weight, velocity, strict=True)]
        history.append(weight)
    return history


GRADS = [[0.5, -2.0, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0], [-1.0, 3.0, 0.2, 4.0], [0.1, 0.2, 0.3, 0.4]]
RATES = [0.1, 0.5, 1.0, 0.02]
START = [1.0, -0.5, 2.0, 0.0]


def run(optimizer, start, **options):
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    solver, history = optimizer([weight], lr=1.0, momentum=0.9, **options), []
    for grad, rate in zip(GRADS, RATES, strict=True):
        solver.param_groups[0]['lr'] = rate
        weight.grad = torch.tensor(grad, dtype=torch.float64).view_as(weight)
        solver.step()
        history.append(weight.detach().flatten().tolist())
    return history


@pytest.mark.parametrize('decay', [0.0, 0.3])
@pytest.mark.parametrize('start', [START, [0.0] * 4], ids=['weights', 'zeros'])
def test_steps_at_changing_rates_follow_the_formula(decay, start):
    found = run(LARS, [start], weight_decay=decay, eta=0.02)
    expected = naive_steps(start, GRADS, RATES, 0.9, decay, 0.02)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))


def test_mmpretrain_has_another_formula():
    """Why it is not used: it differs as soon as the rate changes, or the gradient does not point along the weight."""
    for decay in (0.0, 0.3):
        expected = torch.tensor(naive_steps(START, GRADS, RATES, 0.9, decay, 0.02))
        found = torch.tensor(run(MMPretrainLARS, [START], weight_decay=decay, eta=0.02))
        assert (found - expected).abs().max() > 1e-3
        assert torch.allclose(found[0], expected[0], atol=1e-6) == (decay == 0)


def test_vectors_are_neither_decayed_nor_scaled():
    found = run(LARS, START, weight_decay=0.3, eta=0.02)
    weight = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    for grad, rate, ours in zip(GRADS, RATES, found, strict=True):
        sgd.param_groups[0]['lr'] = rate
        weight.grad = torch.tensor(grad, dtype=torch.float64)
        sgd.step()
        torch.testing.assert_close(torch.tensor(ours, dtype=torch.float64), weight.detach())


def test_state_goes_on_after_a_reload():
    weight, twin = _along(), _along()
    first = LARS([weight], lr=0.1)
    first.step()
    twin.data.copy_(weight.data)
    second = LARS([twin], lr=0.5)
    second.load_state_dict(deepcopy(first.state_dict()))
    first.step()
    second.step()
    assert torch.equal(weight, twin)


def test_parameters_without_gradient_stay_and_the_closure_is_called():
    idle, weight = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    solver = LARS([idle, weight], lr=0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert solver.step(closure) == 4
    assert torch.equal(idle, torch.ones(2, 2))
    assert (weight < 1).all()


def test_configs_reach_it_by_scope():
    wrapper = build_optim_wrapper(nn.Linear(2, 2), dict(optimizer=dict(type='histomm.LARS', lr=0.3, weight_decay=1e-6)))
    assert type(wrapper.optimizer) is LARS


@pytest.mark.parametrize('options', [dict(lr=-1.0), dict(momentum=1.0), dict(weight_decay=-1.0), dict(eta=0.0)])
def test_bad_options_are_named(options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f'{name} is|{name} {options[name]}|{name}.* {options[name]}'):
        LARS([_along()], **{'lr': 0.1, **options})
