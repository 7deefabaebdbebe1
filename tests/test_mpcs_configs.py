"""What the configs of contrast across magnifications promise: pairs, heads, rates, and weights that do change."""

import math
from itertools import pairwise

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from small_runs import REPO, draw_magnification_sets, magnification_options, small_config
from torch import nn

from histomm import functional
from histomm.engine.launch import build_runner
from histomm.engine.optimizers import LARS
from histomm.registry import MODELS

BACKBONES = {'r50': 2048, 'r50-d8': 2048, 'efficientnet-b2': 1408}
STRATEGIES = ('fixed', 'ordered', 'random')


def load(name):
    return Config.fromfile(str(REPO / f'configs/mpcs/mpcs_{name}.py'))


@pytest.mark.parametrize('backbone', ['r50', 'efficientnet-b2'])
def test_variants_differ_in_the_pairs_alone(backbone):
    cfgs = {name: load(f'{backbone}_breakhis_{name}') for name in STRATEGIES}
    for name, cfg in cfgs.items():
        sampler, views, _ = cfg.train_dataloader.dataset.pipeline
        assert (sampler.type, sampler.pop('strategy')) == ('histomm.MagnificationPairSampler', name)
        assert sampler.pop('pair', None) == ([200, 400] if name == 'fixed' else None)
        assert views.sync
        assert views.pipeline[-1]['size'] == (341 if backbone == 'efficientnet-b2' else 224)
        assert cfg.model.temperature == 0.01
    plain = [cfg._cfg_dict.to_dict() for cfg in cfgs.values()]
    assert plain[0] == plain[1] == plain[2]


@pytest.mark.parametrize('backbone', BACKBONES)
def test_heads_have_the_published_form(backbone):
    """Linear, batch norm, ReLU, linear, batch norm without weights; no biases, and inputs as wide as the features."""
    model, width = load(f'{backbone}_breakhis_ordered').model, BACKBONES[backbone]
    neck = MODELS.build(model.neck).eval()
    kinds = ['AdaptiveAvgPool2d', 'ReLU', 'Linear', 'SyncBatchNorm', 'Linear', 'SyncBatchNorm']
    assert [type(part).__name__ for part in neck.children()] == kinds
    assert sum(value.numel() for value in neck.parameters()) == width * 1024 + 2 * 1024 + 1024 * 128
    assert not neck.bn1.affine
    backbone = MODELS.build(dict(model.backbone, norm_cfg=dict(type='BN'), init_cfg=None))
    backbone.eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 64))[0].shape[1] == width


def test_efficientnet_keeps_its_swish():
    backbone = MODELS.build(dict(load('efficientnet-b2_breakhis_ordered').model.backbone, init_cfg=None))
    kinds = {type(part).__name__ for part in backbone.modules()}
    assert kinds & {'Swish', 'SiLU'}
    # 9,109,994 with torchvision's classifier of 1,000 classes
    assert sum(value.numel() for value in backbone.parameters()) == 9_109_994 - (1408 * 1000 + 1000)


def test_the_loss_is_symmetric_at_the_temperature_of_the_config():
    """Views (1, 0), (0, 1) and (.8, .6), (.28, .96): .173287 at .01, where one side alone gives 0; .244077 at .1."""
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[0.8, 0.6], [0.28, 0.96]])
    for name, loss in (('r50_breakhis_ordered', 0.173287), ('r50-d8_breakhis_ordered_repo', 0.244077)):
        temperature = load(name).model.temperature
        assert functional.nt_xent(first, second, temperature).item() == pytest.approx(loss, abs=2e-6)
        assert functional.nt_xent(second, first, temperature).item() == pytest.approx(loss, abs=2e-6)


def test_the_repository_variant_differs_as_its_comment_says():
    base, variant = load('r50-d8_breakhis_ordered'), load('r50-d8_breakhis_ordered_repo')
    assert variant.model.temperature == 0.1
    assert not variant.train_dataloader.dataset.pipeline[1].sync
    variant.model.temperature, variant.train_dataloader.dataset.pipeline[1].sync = 0.01, True
    assert variant._cfg_dict.to_dict() == base._cfg_dict.to_dict()


def test_warm_up_and_cosine_go_on_from_iteration_to_iteration():
    """The authors' schedule begins its warm-up anew in every epoch."""
    cfg, steps = load('r50_breakhis_ordered'), 5
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.2 * 1024 / 256)
    model = nn.Sequential()
    model.conv, model.bn1 = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        settings = dict(scheduler, epoch_length=steps)
        assert settings.pop('convert_to_iter_based')
        part = PARAM_SCHEDULERS.get(settings.pop('type'))
        schedulers.append(part.build_iter_from_epoch(optimizer=wrapper, **settings))
    rates = []
    for _ in range(1000 * steps):
        # after the groups of conv and bn1 one without parameters, which mmengine logs
        rates.append([group['lr'] for group in wrapper.param_groups[:4]])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for base, column in zip((0.8, 0.0192, 0.0192, 0.0192), zip(*rates, strict=True), strict=True):
        warm, length = 10 * steps, 990 * steps
        for step in range(warm):
            assert column[step] == pytest.approx(base * step / (warm - 1), abs=2e-4 * base)
        for step in range(0, length, 97):
            share = (1 + math.cos(math.pi * step / length)) / 2
            assert column[warm + step] == pytest.approx(base * (0.001 + 0.999 * share), rel=1e-5)
        assert column[-1] == pytest.approx(0.001 * base, rel=1e-2)


class _Steps(Hook):
    """Weights and rates before every step."""

    def __init__(self):
        self.weights, self.rates = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.weights.append(runner.model.backbone.layer4[2].conv3.weight.detach().clone())
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


def test_lars_changes_the_weights_in_every_step(tmp_path):
    """In the authors' code LARS is never applied and every weight stays as it was."""
    data = draw_magnification_sets(tmp_path)
    options = magnification_options(data, batch_size=2, epochs=2) | {
        'train_dataloader.dataset.indices': 4,
        'param_scheduler.0.start_factor': 0.1,
        'param_scheduler.0.end': 1,
        'param_scheduler.1.begin': 1,
        'param_scheduler.1.end': 2,
    }
    path = REPO / 'configs/mpcs/mpcs_r50_breakhis_ordered.py'
    runner, steps = build_runner(small_config(path, tmp_path / 'work', options)), _Steps()
    runner.register_hook(steps)
    runner.train()
    assert isinstance(runner.optim_wrapper.optimizer, LARS)
    weights = [*steps.weights, runner.model.backbone.layer4[2].conv3.weight.detach()]
    assert len(weights) == 5
    first, rate = weights[0], steps.rates[0]
    assert rate == pytest.approx(0.08)
    # the length of LARS' first step is rate · η · ‖w‖
    assert ((weights[1] - first).norm() / first.norm()).item() == pytest.approx(rate * 0.001, rel=1e-3)
    for before, after in pairwise(weights):
        assert not torch.equal(before, after)
