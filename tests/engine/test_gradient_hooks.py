"""Hooks on gradients: each parameter's norm by itself, and a module that stays as it is at first."""

import pytest
import torch

from histomm.engine.hooks import FrozenModuleHook, PerParameterClipHook


def test_each_gradient_is_clipped_by_itself():
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)] + [torch.nn.Parameter(torch.zeros(2, 2))]
    optimizer = torch.optim.SGD([dict(params=parameters[:2]), dict(params=parameters[2:])], lr=1.0)
    gradients = [torch.tensor([3.0, 0.0, 4.0]), torch.tensor([0.3, 0.0, 0.4]), None, torch.full((2, 2), 3.0)]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    PerParameterClipHook(3.0).change(optimizer)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([1.8, 0.0, 2.4]))  # norm 5 becomes 3
    assert torch.equal(parameters[1].grad, gradients[1])  # norm 0.5 stays to the bit
    assert parameters[2].grad is None
    torch.testing.assert_close(parameters[3].grad, torch.full((2, 2), 1.5))  # norm 6 becomes 3


def test_no_gradient_is_no_matter():
    PerParameterClipHook().change(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))


def test_steps_are_made_with_clipped_gradients(train):
    """At a clip of 1e-3 no parameter moves further than 1e-4 in the first step of SGD at a rate of 0.1."""
    seen = []

    def watch(runner):
        def keep(module, args):
            seen.append({name: p.detach().clone() for name, p in module.named_parameters()})

        runner.model.register_forward_pre_hook(keep)

    train(hooks=[dict(type='histomm.PerParameterClipHook', max_norm=1e-3)], length=1, before=watch)
    steps = [(seen[1][name] - seen[0][name]).norm().item() for name in seen[0]]
    assert max(steps) <= 1e-4 * 1.001
    assert sum(step == pytest.approx(1e-4, rel=1e-2) for step in steps) >= 2


def test_the_loss_scale_is_gone_when_the_hook_sees_gradients():
    """torch's scaler around a step, as mmengine's wrapper makes it without clipping of its own."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    runner = type('Runner', (), dict(optim_wrapper=type('Wrapper', (), dict(optimizer=optimizer))))
    hook = PerParameterClipHook(3.0)
    hook.before_train(runner)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    for target, expected in (((1.0, 0.0), (-1.0, 0.0)), ((0.0, 6.0), (-1.0, -3.0))):
        scaler.scale((parameter * torch.tensor(target)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        torch.testing.assert_close(parameter.detach(), torch.tensor(expected))
    hook.after_train(runner)
    (6 * parameter[0]).backward()
    optimizer.step()
    assert parameter[0].item() == -7.0


@pytest.mark.parametrize(
    ('options', 'loop'),
    [
        (dict(epochs=2), dict(by_epoch=True, length=3)),
        (dict(iterations=3), dict(by_epoch=True, length=2)),
        (dict(iterations=5), dict(by_epoch=False, length=7)),
    ],
)
def test_the_module_stays_as_long_as_wanted(train, options, loop):
    weights, others = [], []

    def watch(runner):
        def keep(module, args):
            weights.append(module.head.weight.detach().clone())
            others.append(module.backbone[0].weight.detach().clone())

        runner.model.register_forward_pre_hook(keep)

    train(hooks=[dict(type='histomm.FrozenModuleHook', module='head', **options)], before=watch, **loop)
    frozen = options.get('iterations') or 4 * options['epochs']  # 4 iterations an epoch
    assert len(weights) > frozen + 1
    for step in range(1, len(weights)):
        assert torch.equal(weights[step], weights[step - 1]) == (step <= frozen), step
        assert not torch.equal(others[step], others[step - 1])


@pytest.mark.parametrize('options', [{}, dict(epochs=1, iterations=1), dict(epochs=0), dict(iterations=-1)])
def test_one_length_is_needed(options):
    with pytest.raises(ValueError, match='expected one of them, at least 1'):
        FrozenModuleHook('head', **options)


def test_epochs_in_a_run_of_iterations_are_refused(train):
    with pytest.raises(ValueError, match='epochs are given in a run counted in iterations'):
        train(hooks=[dict(type='histomm.FrozenModuleHook', module='head', epochs=1)], by_epoch=False)


def test_an_unknown_module_is_named(train):
    with pytest.raises(ValueError, match=r"ToyModel has no module 'neck\.last_layer'"):
        train(hooks=[dict(type='histomm.FrozenModuleHook', module='neck.last_layer', epochs=1)])


def test_clip_needs_a_norm():
    with pytest.raises(ValueError, match='max_norm is 0, expected a number > 0'):
        PerParameterClipHook(0)


@pytest.mark.parametrize('scale', [True, False])
def test_fused_optimisers_are_refused_with_a_loss_scale(scale):
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0, fused=True)
    wrapper = type('Wrapper', (), dict(optimizer=optimizer, loss_scaler=torch.amp.GradScaler('cpu', enabled=scale)))
    runner = type('Runner', (), dict(optim_wrapper=wrapper))
    hook = PerParameterClipHook(3.0)
    if scale:
        with pytest.raises(ValueError, match=r'PerParameterClipHook: the optimiser is fused .* expected fused=False'):
            hook.before_train(runner)
        return
    hook.before_train(runner)
    (6 * parameter[0]).backward()
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-3.0, 0.0]))
