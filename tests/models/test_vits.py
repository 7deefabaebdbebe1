"""The two vision transformers of HIPT: their sizes, and timm's transformer with the same weights."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from histomm.functional import interpolate_positions
from histomm.models import PatchViT, RegionViT
from histomm.models.hipt import to_hipt

SMALL = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_vit256_16_has_the_published_number_of_parameters():
    model = PatchViT()
    assert count(model) == 21_665_664
    assert model.pos_embed.shape == (1, 14 * 14 + 1, 384)
    assert len(model.layers) == 12
    assert model.ln1.eps == 1e-6


def test_vit4096_256_has_the_published_number_of_parameters():
    model = RegionViT()
    assert count(model) == 2_781_504
    assert model.pos_embed.shape == (1, 14 * 14 + 1, 192)
    assert model.eval()(torch.randn(2, 384, 16, 16))[-1].shape == (2, 192)


def drawn(model):
    """Every parameter drawn, so that none can hide behind a zero or a one."""
    torch.manual_seed(2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def timms(model, patch, side, **options):
    """timm's transformer with the weights of ours, and its positions for ``side`` × ``side`` tokens."""
    other = VisionTransformer(
        img_size=side * patch, patch_size=patch, num_classes=0, embed_dim=384, depth=12, num_heads=6, **options
    )
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    theirs = {name.removeprefix('backbone.'): value for name, value in to_hipt(state, 'ours').items()}
    positions = theirs['pos_embed']
    grid = interpolate_positions(positions[:, 1:], (14, 14), (side, side), 0.1)
    theirs['pos_embed'] = torch.cat((positions[:, :1], grid), dim=1)
    other.load_state_dict(theirs, strict=True)
    return other.eval()


@pytest.mark.parametrize('side', [6, 14, 16])
def test_features_are_those_of_timm(side):
    model, images = drawn(PatchViT()), torch.randn(1, 3, side * 16, side * 16)
    with torch.no_grad():
        found, expected = model(images)[-1], timms(model, 16, side)(images)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


def test_region_vit_is_the_same_transformer_on_projected_tokens():
    """Its blocks, fed by a linear layer and GELU by hand."""
    model = drawn(RegionViT(in_channels=5, grid_size=3, arch=SMALL))
    grid = torch.randn(2, 5, 3, 3)
    tokens = torch.stack([grid[:, :, i, j] for i in range(3) for j in range(3)], dim=1)
    x = torch.nn.functional.gelu(tokens @ model.patch_embed.projection.weight.T + model.patch_embed.projection.bias)
    x = torch.cat((model.cls_token.expand(2, -1, -1), x), dim=1) + model.pos_embed
    for layer in model.layers:
        x = layer(x)
    torch.testing.assert_close(model(grid)[-1], model.ln1(x)[:, 0])


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (32, 48), (8, 24), (40, 8)])
def test_any_size_of_crop(height, width):
    model = drawn(PatchViT(SMALL, img_size=32, patch_size=8, out_type='featmap'))
    assert model(torch.randn(2, 3, height, width))[-1].shape == (2, 24, height // 8, width // 8)
    region = drawn(RegionViT(in_channels=7, grid_size=4, arch=SMALL))
    assert region(torch.randn(2, 7, height // 8, width // 8))[-1].shape == (2, 24)


@pytest.mark.parametrize('model', [PatchViT(SMALL, img_size=16, patch_size=8), RegionViT(6, 2, SMALL)])
def test_every_parameter_has_a_gradient(model):
    model.init_weights()
    channels = 6 if isinstance(model, RegionViT) else 3
    model(torch.randn(2, channels, 24, 24))[-1].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_initial_values_are_those_of_dino():
    model = PatchViT()
    model.init_weights()
    for name in ('layers.3.attn.qkv.weight', 'layers.11.ffn.layers.1.weight', 'pos_embed'):
        assert model.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.02)
    assert not model.layers[5].ffn.layers[0][0].bias.any()


def test_drop_path_rises_with_depth_and_is_off_in_evaluation():
    model = PatchViT(SMALL | dict(num_layers=3), img_size=16, patch_size=8, drop_path_rate=0.5)
    rates = [layer.attn.out_drop.drop_prob for layer in model.layers]
    assert rates == [0.0, 0.25, 0.5]
    images = torch.randn(64, 3, 16, 16)
    model.eval()
    torch.testing.assert_close(model(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize('shape', [(2, 3, 4, 4), (2, 5, 4)])
def test_a_grid_of_other_channels_is_named(shape):
    with pytest.raises(ValueError, match=r'RegionViT: a grid of shape .* expected \(B, 5, H, W\)'):
        RegionViT(5, 2, SMALL)(torch.zeros(shape))
