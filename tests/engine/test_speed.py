"""Switches for speed: what they set in configs, what they refuse, and that a compiled run is the plain run."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from engine_toy import toy_config
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from small_runs import REPO

from histomm.config_file import read_config
from histomm.engine import LARS, AutocastOptimWrapper
from histomm.engine.launch import build_runner
from histomm.engine.speed import SWITCHES, keep_own_form

FAMILIES = [
    'plm/moco_plm_r18_nct.py', 'plm/byol_plm_r18_nct.py', 'plm/concl_plm_r18_nct.py', 'plm/vicregl_plm_r18_nct.py',
    'mocov2/mocov2_r18_tcga-brca.py', 'densecl/moco_densecl_r18_nct.py', 'vicreg/vicreg_r18_nct.py',
    'barlowtwins/barlowtwins_r18_nct.py', 'simsiam/simsiam_r18_nct.py', 'simclr/simclr_r18_patches.py',
    'simclr/simclr_r18_patches_adam.py', 'simclr/simclr_r18_patches_lamb.py', 'mpcs/mpcs_r50-d8_breakhis_ordered.py',
    'mpcs/mpcs_efficientnet-b2_breakhis_fixed.py', 'dino/dino_vit256-16_patches.py', 'hipt/dino_vit4k-xs_regions.py',
    'slpd/slpd_vit4k-xs_nsclc.py', 'autoencoder/autoencoder_r18_patches.py', 'patch_contrast/confnet_mse_patches.py',
]  # fmt: skip
TOKENS = ('hipt', 'slpd')
FORMATS = (torch.contiguous_format, torch.channels_last)


def toy(folder, **options):
    """A toy run of two epochs through our runner: what it logged, and where its checkpoints are."""
    cfg = toy_config(folder, length=2)
    cfg.merge_from_dict(dict(launcher='none') | options)
    return build_runner(cfg)


def logged(runner, name):
    """The logged values of one name."""
    (file,) = Path(runner.log_dir).glob('vis_data/2*.json')
    return [entry[name] for entry in map(json.loads, file.read_text().splitlines()) if name in entry]


def weights(folder, epoch):
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=False)


@pytest.mark.parametrize('path', FAMILIES)
def test_pre_training_configs_take_all_switches(path):
    cfg = read_config(str(REPO / 'configs' / path))
    for name, switch in SWITCHES.items():
        if name == 'channels_last' and path.startswith(TOKENS):  # vectors on a grid, no images
            with pytest.raises(ValueError, match=r'data_preprocessor is histomm\.TokenDataPreprocessor, expected'):
                switch(cfg)
        else:
            switch(cfg)
    assert cfg.optim_wrapper.type == 'histomm.AutocastOptimWrapper'
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type in ('histomm.LARS', 'histomm.LAMB') or optimizer.fused
    assert cfg.model.data_preprocessor.get('channels_last', path.startswith(TOKENS))
    assert cfg.compile is True


def test_what_a_config_says_itself_stays():
    wrapper = dict(type='AmpOptimWrapper', dtype='float16', optimizer=dict(type='SGD', lr=1))
    cfg = Config(dict(optim_wrapper=wrapper, compile=dict(backend='eager')))
    SWITCHES['amp'](cfg)
    SWITCHES['compile'](cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.compile == dict(backend='eager')


def test_a_compiled_run_is_the_plain_run(tmp_path):
    """Weights, optimiser and features seen by a hook; each run goes on from the other's checkpoint."""
    hook = {'custom_hooks': [dict(type='histomm.SeedHook'), dict(type='histomm.FeatureMonitorHook', interval=1)]}
    compiled = {'compile': dict(backend='eager')}
    runs = {'plain': hook, 'compiled': hook | compiled}
    runners = {name: toy(tmp_path / name, **options) for name, options in runs.items()}
    for runner in runners.values():
        runner.train()
    stds = [logged(runner, 'feature_std') for runner in runners.values()]
    assert len(stds[0]) == 8
    assert stds[0] == stds[1]
    states = {name: weights(tmp_path / name, 2) for name in runs}
    assert list(states['plain']['state_dict']) == list(states['compiled']['state_dict'])
    torch.testing.assert_close(states['compiled']['state_dict'], states['plain']['state_dict'], rtol=0, atol=0)
    for name, other in (('plain', 'compiled'), ('compiled', 'plain')):
        resumed = toy(
            tmp_path / f'{name}_resumed', **runs[name], resume=True, load_from=str(tmp_path / other / 'epoch_1.pth')
        )
        resumed.train()
        found = weights(tmp_path / f'{name}_resumed', 2)['state_dict']
        torch.testing.assert_close(found, states['plain']['state_dict'], rtol=0, atol=0)


@pytest.mark.parametrize('fused', [True, False])
def test_a_resumed_optimiser_keeps_its_own_form(fused):
    """And goes on as the one that was saved would."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    saved = torch.optim.AdamW(weights[:1], lr=0.1, fused=not fused)
    resumed = torch.optim.AdamW(weights[1:], lr=0.5, fused=fused)
    keep_own_form(resumed)
    weights[0].grad = torch.tensor([1.0, -2.0, 0.5])
    saved.step()
    weights[1].data.copy_(weights[0].data)
    resumed.load_state_dict(deepcopy(saved.state_dict()))
    assert [(group['fused'], group['lr']) for group in resumed.param_groups] == [(fused, 0.1)]
    assert saved.param_groups[0]['fused'] is not fused
    for weight, optimizer in zip(weights, (saved, resumed), strict=True):
        weight.grad = torch.tensor([0.3, 0.1, -0.2])
        optimizer.step()
    torch.testing.assert_close(weights[0], weights[1])


def trained_on(optimizer_of, source, memory_format, steps):
    """Weights after ``steps`` more of them in this memory format, and the optimiser."""
    layer = torch.nn.Conv2d(4, 6, 3).to(memory_format=memory_format)
    optimizer = optimizer_of(layer.parameters())
    keep_own_form(optimizer)
    if source:
        layer.load_state_dict(source[0].state_dict())
        optimizer.load_state_dict(source[1].state_dict())
    else:
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
        torch.nn.init.zeros_(layer.bias)
    images = torch.randn(steps, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1 if source else 0))
    for batch in images:
        optimizer.zero_grad()
        layer(batch.contiguous(memory_format=memory_format)).square().mean().backward()
        optimizer.step()
    return layer, optimizer


@pytest.mark.parametrize('name', ['SGD', 'Adam', 'AdamW', 'Adagrad'])
@pytest.mark.parametrize('formats', [FORMATS, FORMATS[::-1]])
def test_a_fused_optimiser_goes_on_in_another_memory_format(name, formats):
    """With the plain optimiser, that never changes its format, as reference."""
    momentum = dict(momentum=0.9) if name == 'SGD' else {}
    first, second = formats

    def plain(weights):
        return getattr(torch.optim, name)(weights, lr=0.01, **momentum)

    def fused(weights):
        return getattr(torch.optim, name)(weights, lr=0.01, fused=True, **momentum)

    expected, _ = trained_on(plain, trained_on(plain, None, first, 3), first, 3)
    found, optimizer = trained_on(fused, trained_on(fused, None, first, 3), second, 3)
    torch.testing.assert_close(found.weight, expected.weight)
    moments = [value for value in optimizer.state[found.weight].values() if value.shape == found.weight.shape]
    assert moments
    assert all(value.stride() == found.weight.stride() for value in moments)


def test_lars_and_the_autocast_wrapper_are_found_by_their_names():
    model = torch.nn.Linear(2, 2)
    wrapper = build_optim_wrapper(
        model, dict(type='histomm.AutocastOptimWrapper', optimizer=dict(type='histomm.LARS', lr=0.1))
    )
    assert type(wrapper) is AutocastOptimWrapper
    assert type(wrapper.optimizer) is LARS
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16
    assert model(torch.ones(1, 2)).dtype == torch.float32
