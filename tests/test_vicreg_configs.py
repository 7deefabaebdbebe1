"""What the configs of VICReg and VICRegL promise: rates, schedule, projectors, views."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from small_runs import REPO, draw_patches
from torch import nn

from histomm.datasets import SampleIndex
from histomm.registry import MODELS, TRANSFORMS

CONFIGS = {
    'vicreg/vicreg_r18_nct.py': (0.2, 2048, 8192),
    'plm/vicreg_plm_r18_nct.py': (0.2, 2048, 8192),
    'vicregl/vicregl_r18_nct.py': (0.3, 256, 2048),
    'vicregl/vicregl_r18_nct_multicrop.py': (0.3, 256, 2048),
    'plm/vicregl_plm_r18_nct.py': (0.3, 256, 2048),
}
"""Base rate for 256 images, images, and width of the projector."""


def load(name):
    return Config.fromfile(str(REPO / 'configs' / name))


@pytest.mark.parametrize('name', CONFIGS)
def test_rate_grows_with_the_batch(name):
    cfg, (base, batch, _) = load(name), CONFIGS[name]
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(base * batch / 256)


def test_schedule_warms_up_and_falls_to_a_thousandth():
    """Linear over ten epochs, then .001 + .999 · (1 + cos(π · share)) / 2 of the rate."""
    cfg, steps = load('vicregl/vicregl_r18_nct.py'), 7
    wrapper = build_optim_wrapper(nn.Linear(1, 1), dict(optimizer=dict(cfg.optim_wrapper.optimizer)))
    schedulers = []
    for scheduler in cfg.param_scheduler:
        settings = dict(scheduler, epoch_length=steps)
        settings.pop('convert_to_iter_based')
        part = PARAM_SCHEDULERS.get(settings.pop('type'))
        schedulers.append(part.build_iter_from_epoch(optimizer=wrapper, **settings))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * steps):
        rates.append(wrapper.param_groups[0]['lr'] / 0.3)
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    warm, length = 10 * steps, 190 * steps
    for step in range(warm):
        assert rates[step] == pytest.approx(step / (warm - 1), abs=2e-4)
    for step in range(0, length, 13):
        share = (1 + math.cos(math.pi * step / length)) / 2
        assert rates[warm + step] == pytest.approx(0.001 + 0.999 * share, rel=1e-6)
    assert rates[-1] == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize('name', CONFIGS)
def test_projectors_have_the_published_form(name):
    model, width = load(name).model, CONFIGS[name][2]
    images = torch.zeros(2, 512, 7, 7, device='meta')
    with torch.device('meta'):
        neck = MODELS.build(model.neck).eval()
        dense_neck = MODELS.build(model.dense_neck).eval() if 'dense_neck' in model else None
    assert neck((images,))[0].shape == (2, width)
    # weights and biases of two hidden layers, their norms, and a last layer without bias
    assert count(neck) == (512 + width) * width + 2 * width + 4 * width + width * width
    assert (dense_neck is None) == (name == 'vicreg/vicreg_r18_nct.py')
    if dense_neck is not None:
        assert dense_neck((images,)).shape == (2, 512, 7, 7)
        assert count(dense_neck) == 3 * 512 * 512 + 2 * 512 + 4 * 512
        assert model.alpha == 0.75
    assert model.weights == (25, 25, 1)
    assert model.covariance == ('mean' if 'vicregl' in name else 'sum')


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_views_are_those_of_the_paper(tmp_path):
    patch = next(draw_patches(tmp_path, num=1, size=224).rglob('*.tif'))
    sizes = {}
    for name in ('vicreg/vicreg_r18_nct.py', 'vicregl/vicregl_r18_nct_multicrop.py'):
        pipeline = Compose(load(name).train_dataloader.dataset.pipeline)
        packed = pipeline(dict(img_path=str(patch), sample_idx=SampleIndex(0, 0, 0)))
        sizes[name] = [tuple(view.shape) for view in packed['inputs']]
        assert len(packed['data_samples'].crop_box) == len(packed['inputs'])
    assert [*sizes.values()] == [[(3, 224, 224)] * 2, [(3, 224, 224)] * 2 + [(3, 96, 96)] * 6]


@pytest.mark.parametrize('name', CONFIGS)
def test_only_every_other_view_is_blurred_for_sure_and_the_rest_solarised(name):
    views = load(name).train_dataloader.dataset.pipeline[1].views
    chances = [
        {step.type.removeprefix('histomm.'): step.get('prob', step.get('prob_h')) for step in view.pipeline}
        for view in views
    ]
    for number, chance in enumerate(chances):
        assert chance.pop('RandomResizedCrop') is None
        common = dict(RandomFlip=0.5, ColorJitter=0.8, RandomGrayscale=0.2)
        own = dict(GaussianBlur=0.1, RandomSolarize=0.2) if number % 2 else dict(GaussianBlur=1.0)
        assert chance == common | own
    assert {step.interpolation for view in views for step in view.pipeline if 'Crop' in step.type} == {'bicubic'}


@pytest.mark.parametrize('name', CONFIGS)
def test_strengths_of_the_views_are_the_published_ones(name):
    shares = [(0.4, 1.0)] * 2 + [(0.08, 0.4)] * 2 if 'multicrop' in name else [(0.08, 1.0)] * 2
    views = load(name).train_dataloader.dataset.pipeline[1].views
    for view, share in zip(views, shares, strict=True):
        crop, flip, jitter, _, blur, *solarize = [TRANSFORMS.build(step) for step in view.pipeline]
        assert (crop.scale, crop.ratio) == (share, (3 / 4, 4 / 3))
        assert flip.prob_v == 0
        assert jitter.brightness == jitter.contrast == pytest.approx((0.6, 1.4))
        assert jitter.saturation == pytest.approx((0.8, 1.2))
        assert jitter.hue == pytest.approx((-0.1, 0.1))
        assert blur.sigma == (0.1, 2.0)
        assert all(step.threshold == 128 for step in solarize)


def test_location_matches_are_twenty_of_large_crops_and_four_of_small_ones():
    model = load('vicregl/vicregl_r18_nct_multicrop.py').model
    assert [matchers[1].gamma for matchers in (model.matchers, model.small_matchers)] == [20, 4]
    assert [m.type for m in load('plm/vicregl_plm_r18_nct.py').model.matchers] == ['histomm.PreciseLocationMatcher']
