"""Colourisation and autoencoder: the loss written out, what the backbone sees, and a step that learns."""

import pytest
import torch
from mmengine.config import Config

from histomm.models.weights import find_backbone
from histomm.registry import MODELS

MEAN, STD = (120.0, 100.0, 140.0), (60.0, 50.0, 70.0)


def build(**options):
    config = dict(
        type='histomm.PixelReconstruction',
        backbone=dict(type='histomm.ResNetWithStem', depth=18, base_channels=8, stem_channels=8),
        in_channels=(8, 8, 16, 32, 64),
        up_channels=(16, 8, 8, 8),
        data_preprocessor=dict(type='histomm.ViewDataPreprocessor', mean=MEAN, std=STD, geometry=False),
    )
    torch.manual_seed(0)
    model = MODELS.build(config | options)
    model.init_weights()
    return model


def batch(model, size=3):
    pixels = torch.randint(0, 256, (size, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return pixels, model.data_preprocessor(dict(inputs=[pixels]))['inputs']


def shown(model, inputs):
    seen = []
    handle = model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    losses = model.loss(inputs)
    handle.remove()
    return seen[0], losses


@pytest.mark.parametrize('kind', ['color', 'grey'])
def test_loss_is_the_mean_error(kind):
    model = build(input=kind).eval()
    pixels, inputs = batch(model)
    losses = model.loss(inputs)
    levels = (
        model.reconstruct(inputs[0]).double() * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    )
    errors = (levels - pixels).abs()
    torch.testing.assert_close(losses['grey_levels'].double(), errors.mean(), rtol=1e-5, atol=0)
    per_channel = errors.mean((0, 2, 3)) / torch.tensor(STD)
    torch.testing.assert_close(losses['loss'].double(), per_channel.mean(), rtol=1e-5, atol=0)


def test_an_autoencoder_sees_the_image():
    model = build()
    _, inputs = batch(model)
    assert torch.equal(shown(model, inputs)[0], inputs[0])


def test_colorization_sees_the_luma_alone():
    model = build(input='grey')
    pixels, inputs = batch(model)
    found = shown(model, inputs)[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    red, green, blue = pixels.double().unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    for channel in found.unbind(1):
        torch.testing.assert_close(channel.double(), luma, rtol=0, atol=1e-3)


def test_gradients_reach_every_parameter():
    model = build(input='grey')
    model.loss(batch(model)[1])['loss'].backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_one_picture_can_be_learned_by_heart():
    """Steps of Adam on a smooth picture bring the error from some fifty grey levels to a few."""
    model = build()
    ramp = torch.linspace(0, 255, 64)
    picture = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T, torch.full((64, 64), 128.0)])
    inputs = model.data_preprocessor(dict(inputs=[picture.to(torch.uint8)[None].repeat(2, 1, 1, 1)]))['inputs']
    solver, errors = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(60):
        losses = model.loss(inputs)
        solver.zero_grad()
        losses['loss'].backward()
        solver.step()
        errors.append(losses['grey_levels'].item())
    assert errors[0] > 30
    assert min(errors) < 10


@pytest.mark.parametrize('name', ['autoencoder', 'colorization'])
@pytest.mark.parametrize('depth', [18, 50])
def test_backbone_of_a_shipped_model_is_found(repo, name, depth):
    config = Config.fromfile(str(repo / f'configs/{name}/{name}_r{depth}_patches.py')).model
    assert config.input == ('grey' if name == 'colorization' else 'color')
    model = MODELS.build(config)
    found = find_backbone(model.state_dict(), name)
    assert found.prefix == 'backbone.'
    plain = MODELS.build(dict(type='mmpretrain.ResNet', depth=depth)).state_dict()
    assert found.tensors.keys() == plain.keys()


@pytest.mark.parametrize(
    ('options', 'count', 'message'),
    [(dict(input='rgb'), 1, "input is 'rgb', expected 'color' or 'grey'"), ({}, 2, 'found 2 views, expected 1')],
)
def test_wrong_arguments_are_named(options, count, message):
    with pytest.raises(ValueError, match=f'PixelReconstruction: {message}'):
        build(**options).loss([torch.zeros(1, 3, 64, 64)] * count)
