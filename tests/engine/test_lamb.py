"""LAMB against its formula number by number, and against mmpretrain's, which is another copy of NVIDIA's."""

import math
import re
from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.engine.optimizers import Lamb as MMPretrainLamb
from tool_modules import load_tool
from torch import nn

from histomm.engine import LAMB

GRADS = [[0.5, -2.0, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0], [-0.1, 0.3, 0.02, 0.4], [0.1, 0.2, 0.3, 0.4]]
RATES = [0.1, 0.5, 1.0, 0.02]
START = [1.0, -0.5, 2.0, 0.0]


def naive_steps(weight, decay, bound, adapt=True):
    """The formula of the docstring, number by number."""
    m, v, history = [0.0] * 4, [0.0] * 4, []
    for step, (grad, rate) in enumerate(zip(GRADS, RATES, strict=True), start=1):
        shrink = max(1.0, math.hypot(*grad) / bound) if bound else 1.0
        grad = [g / shrink for g in grad]
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grad, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grad, strict=True)]
        update = [
            a / (1 - 0.9**step) / (math.sqrt(b / (1 - 0.999**step)) + 1e-6) + decay * w
            for a, b, w in zip(m, v, weight, strict=True)
        ]
        size, length = math.hypot(*weight), math.hypot(*update)
        trust = size / length if adapt and size and length else 1.0
        weight = [w - rate * trust * u for w, u in zip(weight, update, strict=True)]
        history.append(weight)
    return history


def run(optimizer, start, **options):
    weight = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    solver, history = optimizer([weight], lr=1.0, **options), []
    for grad, rate in zip(GRADS, RATES, strict=True):
        solver.param_groups[0]['lr'] = rate
        weight.grad = torch.tensor([grad], dtype=torch.float64)
        solver.step()
        history.append(weight.detach()[0].tolist())
    return torch.tensor(history)


@pytest.mark.parametrize('start', [START, [0.0] * 4], ids=['weights', 'zeros'])
@pytest.mark.parametrize(
    ('optimizer', 'bound'),
    [(LAMB, 1.0), (LAMB, None), (MMPretrainLamb, 1.0)],  # mmpretrain's cannot do without the bound
    ids=['ours', 'ours_unbounded', 'mmpretrain'],
)
def test_steps_at_changing_rates_follow_the_formula(optimizer, start, bound):
    found = run(optimizer, start, weight_decay=0.3, max_grad_norm=bound)
    torch.testing.assert_close(found, torch.tensor(naive_steps(start, 0.3, bound)))


def test_without_weight_decay_it_is_adam():
    found = run(LAMB, START, weight_decay=0.0, max_grad_norm=None)
    torch.testing.assert_close(found, torch.tensor(naive_steps(START, 0.0, None, adapt=False)))
    torch.testing.assert_close(found, run(torch.optim.Adam, START, eps=1e-6))


def test_state_goes_on_after_a_reload():
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    twin = nn.Parameter(weight.detach().clone())
    solvers = [LAMB([each], lr=0.1, weight_decay=0.1) for each in (weight, twin)]
    for step in range(3):
        if step == 2:
            twin.data.copy_(weight.data)
            solvers[1] = LAMB([twin], lr=0.7, weight_decay=0.5)
            solvers[1].load_state_dict(deepcopy(solvers[0].state_dict()))
        weight.grad, twin.grad = torch.tensor([[0.6, step]]), torch.tensor([[0.6, step]])
        for solver in solvers[: 1 + (step == 2)]:
            solver.step()
    assert torch.equal(weight, twin)


def rate_of_lars(batch):
    return 0.3 * batch / 256


def rate_of_lamb(batch):
    return 4 / (100 * 2 ** (3 - (math.log2(batch) - 9) / 2))


@pytest.mark.parametrize(
    ('batch', 'lars', 'lamb'), [(128, 0.15, 0.0025), (256, 0.3, 0.003536), (512, 0.6, 0.005), (1024, 1.2, 0.007071)]
)
def test_rates_of_the_paper(batch, lars, lamb):
    assert rate_of_lars(batch) == pytest.approx(lars, abs=5e-7)
    assert rate_of_lamb(batch) == pytest.approx(lamb, abs=5e-7)


def test_configs_hold_the_rates_of_the_paper_and_scale_only_what_is_linear(repo):
    configs = {
        name: Config.fromfile(str(repo / f'configs/simclr/simclr_r18_patches{name}.py'))
        for name in ('', '_lamb', '_adam')
    }
    rates = {name: cfg.optim_wrapper.optimizer.lr for name, cfg in configs.items()}
    assert rates == pytest.approx({'': rate_of_lars(512), '_lamb': rate_of_lamb(512), '_adam': 1e-4})
    assert [cfg.train_dataloader.batch_size for cfg in configs.values()] == [512, 512, 128]
    assert configs[''].auto_scale_lr.base_batch_size == 512
    assert not configs['_lamb'].auto_scale_lr
    assert not configs['_adam'].auto_scale_lr


def test_a_rate_that_is_not_linear_is_not_scaled(repo):
    tool = load_tool('tools/train.py')
    with pytest.raises(SystemExit, match='has no auto_scale_lr'):
        tool.main([str(repo / 'configs/simclr/simclr_r18_patches_lamb.py'), '--auto-scale-lr'])


def test_biases_and_norms_of_the_config_follow_adam(repo):
    cfg = Config.fromfile(str(repo / 'configs/simclr/simclr_r18_patches_lamb.py')).optim_wrapper
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    wrapper = build_optim_wrapper(model, cfg)
    assert type(wrapper.optimizer) is LAMB
    decays = {id(g['params'][0]): g['weight_decay'] for g in wrapper.optimizer.param_groups}
    found = {name: decays[id(value)] for name, value in model.named_parameters()}
    assert found == {'0.weight': 1e-6, '0.bias': 0.0, '1.weight': 0.0, '1.bias': 0.0}


@pytest.mark.parametrize(
    'options', [dict(lr=-1.0), dict(betas=(0.9, 1.0)), dict(weight_decay=-1.0), dict(eps=0.0), dict(max_grad_norm=0.0)]
)
def test_bad_options_are_named(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=re.escape(f'{name} {value}').replace('lr', 'lr is')):
        LAMB([nn.Parameter(torch.ones(2))], **{'lr': 0.1, **options})
