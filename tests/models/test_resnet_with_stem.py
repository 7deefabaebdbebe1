"""The ResNet with its stem beside mmpretrain's, with its weights, and frozen."""

import pytest
import torch
from mmpretrain.models.backbones import ResNet

from histomm.models import ResNetWithStem, load_backbone


def pair(depth, **options):
    """A plain ResNet with random statistics, and one with stem that has its weights."""
    plain = ResNet(depth, out_indices=(0, 1, 2, 3), **options)
    for value in plain.state_dict().values():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape) * 0.5 + 0.1)
    ours = ResNetWithStem(depth, **options)
    ours.load_state_dict(plain.state_dict(), strict=True)
    plain.eval()  # returns nothing in mmpretrain
    return plain, ours.eval()


@pytest.mark.parametrize(('depth', 'options'), [(18, {}), (50, {'base_channels': 16}), (18, {'deep_stem': True})])
def test_stages_are_those_of_the_resnet_and_the_stem_comes_first(depth, options):
    plain, ours = pair(depth, **options)
    images = torch.randn(2, 3, 50, 70)
    stem, *stages = ours(images)
    for found, expected in zip(stages, plain(images), strict=True):
        assert torch.equal(found, expected)
    assert stem.shape == (2, 64, 25, 35)
    seen = []
    plain.maxpool.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    plain(images)
    assert torch.equal(stem, seen[0])


def test_stages_can_be_chosen():
    plain, ours = pair(18)
    ours.out_indices = (1, 3)
    images = torch.randn(1, 3, 64, 64)
    stages = plain(images)
    found = ours(images)
    assert len(found) == 3
    assert torch.equal(found[1], stages[1])
    assert torch.equal(found[2], stages[3])


def test_a_checkpoint_of_the_resnet_loads_whole(tmp_path):
    plain, _ = pair(18)
    torch.save({'state_dict': {f'backbone.{name}': v for name, v in plain.state_dict().items()}}, tmp_path / 'a.pth')
    ours = ResNetWithStem(
        18, init_cfg=dict(type='histomm.VerifiedPretrained', checkpoint=str(tmp_path / 'a.pth')), norm_eval=False
    )
    ours.init_weights()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in ours.state_dict().items())
    report = load_backbone(ResNetWithStem(18), tmp_path / 'a.pth')
    assert (len(report.loaded), report.missing, report.unexpected) == (120, [], [])


def test_residual_branches_start_alive():
    ours = ResNetWithStem(18)
    ours.init_weights()
    assert all((block.norm2.weight == 1).all() for block in ours.layer1)


@pytest.mark.parametrize('deep_stem', [False, True])
def test_frozen_means_no_gradient_and_no_new_statistics(deep_stem):
    frozen = ResNetWithStem(18, frozen_stages=4, deep_stem=deep_stem)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen.train()
    outputs = frozen(torch.randn(2, 3, 64, 64) * 3 + 1)
    assert not any(map_.requires_grad for map_ in outputs)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def test_gradient_comes_through_the_stem_and_the_stages():
    for chosen in (0, -1):
        ours = ResNetWithStem(18)
        ours(torch.randn(2, 3, 64, 64))[chosen].square().sum().backward()
        touched = {name.partition('.')[0] for name, p in ours.named_parameters() if p.grad is not None}
        assert touched == {'conv1', 'bn1'} | (set() if chosen == 0 else {'layer1', 'layer2', 'layer3', 'layer4'})
