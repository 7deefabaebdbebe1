"""mmpretrain's BYOL, SimSiam and Barlow Twins, as the configs set them up, against the formulas of the papers."""

import math
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from distributed import run_two_processes
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper

from histomm.registry import MODELS

SMALL = dict(neck=dict(hid_channels=16, out_channels=8), data_preprocessor=dict(mean=(0, 0, 0), std=(1, 1, 1)))
PREDICTOR = dict(head=dict(predictor=dict(in_channels=8, hid_channels=16, out_channels=8)))
OPTIONS = {
    'byol': dict(SMALL, **PREDICTOR),
    'simsiam': dict(SMALL, **PREDICTOR),
    'barlowtwins': dict(SMALL, head=dict(in_channels=8)),
}


def build(repo, name):
    """The model of a shipped config with narrow heads."""
    config = Config.fromfile(str(repo / f'configs/{name}/{name}_r18_nct.py'))
    config.merge_from_dict(dict(model=OPTIONS[name]))
    torch.manual_seed(3)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


@pytest.fixture
def steps_of_ten():
    """A training loop of ten steps, as far as schedules ask for it."""
    MessageHub.get_instance('ten_steps').update_info('max_iters', 10)
    return 10


def two_views(size=5, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 3, 33, 33, generator=generator) for _ in range(2)]


def project(backbone, neck, images):
    return neck(backbone(images))[0]


def cosines(rows, others):
    """Mean over the batch of the cosine of a row with the other view's, pair by pair."""
    pairs = zip(rows, others, strict=True)
    return sum((a @ b) / (a.norm() * b.norm()) for a, b in pairs) / len(rows)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def naive_byol(model, views):
    """Grill et al. 2020, eq. 2 for both orders of the views; at the first step the target equals the online network."""
    target = deepcopy(torch.nn.ModuleList([model.backbone, model.neck]))
    loss = 0
    for own, other in (views, views[::-1]):
        prediction = model.head.predictor([project(model.backbone, model.neck, own)])[0]
        with torch.no_grad():
            wanted = project(*target, other)
        loss = loss + 2 - 2 * cosines(prediction, wanted)
    return loss


def naive_simsiam(model, views):
    """Chen & He 2021, eqs. 1 and 4."""
    projections = [project(model.backbone, model.neck, view) for view in views]
    predictions = [model.head.predictor([projection])[0] for projection in projections]
    stopped = [projection.detach() for projection in projections]
    return -cosines(predictions[0], stopped[1]) / 2 - cosines(predictions[1], stopped[0]) / 2


def naive_barlow_twins(model, views, weight=0.005):
    """Zbontar et al. 2021, eqs. 1 and 2, of projections with mean 0 over the batch."""
    first, second = (project(model.backbone, model.neck, view) for view in views)
    first, second = first - first.mean(0), second - second.mean(0)
    loss = 0
    for i in range(first.shape[1]):
        for j in range(second.shape[1]):
            entry = (first[:, i] * second[:, j]).sum() / (first[:, i].norm() * second[:, j].norm())
            loss = loss + ((1 - entry) ** 2 if i == j else weight * entry**2)
    return loss


@pytest.mark.parametrize(
    ('name', 'naive'), [('byol', naive_byol), ('simsiam', naive_simsiam), ('barlowtwins', naive_barlow_twins)]
)
def test_loss_and_gradients_are_those_of_the_paper(repo, name, naive):
    model = build(repo, name).double()
    views = [view.double() for view in two_views()]
    if name == 'barlowtwins':
        model.head.bn.eps = 1e-12  # the paper adds nothing to the variances
    expected = naive(model, views)
    wanted = gradients(model, expected)
    found = model(views, mode='loss')['loss']
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    found_gradients = gradients(model, found)
    assert found_gradients.keys() == wanted.keys()
    for parameter, value in wanted.items():
        torch.testing.assert_close(found_gradients[parameter], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('name', OPTIONS)
def test_gradients_reach_what_is_trained_and_nothing_else(repo, name):
    model = build(repo, name)
    model(two_views(), mode='loss')['loss'].backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.startswith('target_net.'):
            assert parameter.grad is None, parameter_name
        else:
            assert parameter.grad.abs().sum() > 0, parameter_name


def test_byol_target_follows_with_the_momentum_of_the_paper(repo, steps_of_ten):
    """τ_k = 1 − (1 − τ)·(cos(πk/K) + 1)/2 with τ = 0.99; the first update copies."""
    model = build(repo, 'byol')
    online, target = model.neck.fc1.weight, model.target_net.module[1].fc1.weight
    wanted = None
    for step in range(4):
        model(two_views(), mode='loss')
        tau = 1 - 0.01 * (math.cos(math.pi * step / steps_of_ten) + 1) / 2
        wanted = online.detach().clone() if wanted is None else tau * wanted + (1 - tau) * online.detach()
        torch.testing.assert_close(target.data, wanted)
        with torch.no_grad():
            for parameter in model.neck.parameters():
                parameter.add_(torch.randn_like(parameter))
    assert int(model.state_dict()['target_net.steps']) == 4


def test_geometry_is_left_behind_by_the_preprocessor(repo):
    from mmpretrain.structures import DataSample

    sample = DataSample(metainfo=dict(crop_box=[(0, 0, 9, 9)] * 2, hflip=[False] * 2, vflip=[False] * 2, rot90=[0] * 2))
    batch = dict(inputs=[torch.zeros(2, 3, 9, 9, dtype=torch.uint8)] * 2, data_samples=[sample] * 2)
    preprocessor = build(repo, 'byol').data_preprocessor
    assert set(preprocessor(batch)) == {'inputs', 'data_samples'}
    preprocessor.geometry = True
    assert set(preprocessor(batch)) == {'inputs', 'data_samples', 'geometry'}


def _head_and_layer():
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type='histomm.CrossCorrelationHead', in_channels=6, loss=dict(type='mmpretrain.CrossCorrelationLoss'))
    )
    return head, torch.nn.Linear(5, 6)


def _rows(size=8):
    """Rows whose statistics differ much from one half to the other."""
    scale = torch.linspace(1, 4, size).unsqueeze(1)
    return [torch.randn(size, 5, generator=torch.Generator().manual_seed(seed)) * scale + scale for seed in (1, 2)]


def _correlate_on_rank(rank, folder):
    head, layer = _head_and_layer()
    loss = head.loss(*(layer(rows[4 * rank : 4 * rank + 4]) for rows in _rows()))
    loss.backward()
    dist.all_reduce(layer.weight.grad)
    torch.save([loss.detach(), layer.weight.grad / 2, head.bn.running_mean], f'{folder}/rank{rank}.pt')


def test_cross_correlation_of_two_processes_is_that_of_one(tmp_path):
    """Value, and gradient as DDP averages it over ranks."""
    run_two_processes(_correlate_on_rank, str(tmp_path))
    head, layer = _head_and_layer()
    loss = head.loss(*(layer(rows) for rows in _rows()))
    loss.backward()
    for rank in range(2):
        for found, expected in zip(
            torch.load(tmp_path / f'rank{rank}.pt'), [loss, layer.weight.grad, head.bn.running_mean], strict=True
        ):
            torch.testing.assert_close(found, expected.detach())


def test_learning_rates_of_barlow_twins(repo):
    """0.2 for weights; 0.0048 for all that has one dimension, which is biases and batch norms."""
    config = Config.fromfile(str(repo / 'configs/barlowtwins/barlowtwins_r18_nct.py'))
    model = build(repo, 'barlowtwins')
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    rates = {parameter: group['lr'] for group in groups for parameter in group['params']}
    assert set(rates) == set(model.parameters())
    for parameter, rate in rates.items():
        assert rate == pytest.approx(0.2 if parameter.ndim > 1 else 0.0048)
