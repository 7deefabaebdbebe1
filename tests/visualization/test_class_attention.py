"""Attention of class tokens against softmax(q·k / √d) by loops, and against what the block really gives."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.models import ResNet

from histomm.models.backbones import PatchViT, RegionViT
from histomm.visualization.attention import attention_pictures, class_attention

ARCH = dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24)


@pytest.fixture(params=['patches', 'regions'])
def case(request):
    """A transformer and inputs for it, with 2 × 3 tokens."""
    torch.manual_seed(3)
    if request.param == 'patches':
        network, inputs = PatchViT(ARCH, img_size=64, patch_size=16), torch.randn(2, 3, 32, 48)
    else:
        network, inputs = RegionViT(in_channels=5, grid_size=4, arch=ARCH), torch.randn(2, 5, 2, 3)
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter) * 0.5
    return network.eval(), inputs


@torch.no_grad()
def last_inputs(network, inputs):
    """What the attention of the last block is given, by walking through the blocks."""
    kept = []
    handle = network.layers[-1].ln1.register_forward_hook(lambda module, args, output: kept.append(output))
    network(inputs)
    handle.remove()
    return kept[0]


def test_attention_by_loops(case):
    network, inputs = case
    found = class_attention(network, inputs)
    tokens, layer = last_inputs(network, inputs), network.layers[-1].attn
    assert found.shape == (2, 3, 2, 3)
    for image, sequence in enumerate(tokens):
        outputs = layer.qkv.weight.detach() @ sequence.mT + layer.qkv.bias.detach()[:, None]  # q, then k, then v
        for head in range(3):
            query, keys = outputs[4 * head : 4 * head + 4, 0], outputs[12 + 4 * head : 12 + 4 * head + 4]
            raw = [math.exp(sum(float(a * b) for a, b in zip(query, keys[:, j], strict=True)) / 2) for j in range(7)]
            expected = np.array(raw[1:]).reshape(2, 3) / sum(raw)  # the class token comes first
            np.testing.assert_allclose(found[image, head], expected, rtol=1e-4)


def test_values_weighted_by_it_are_what_the_block_gives(case):
    network, inputs = case
    tokens, layer = last_inputs(network, inputs), network.layers[-1].attn
    with torch.no_grad():
        weights = class_attention(network, inputs).flatten(2)
        weights = torch.cat((1 - weights.sum(dim=2, keepdim=True), weights), dim=2)  # what is left is the class token's
        values = layer.qkv(tokens)[..., 24:].unflatten(2, (3, 4))
        mixed = torch.einsum('bhn,bnhd->bhd', weights, values).flatten(1)
        torch.testing.assert_close(layer.proj(mixed), layer(tokens)[:, 0])


def test_pictures_have_squares_and_their_largest_weight():
    weights = torch.tensor([[[0.1, 0.2]], [[0.3, 0.0]]])
    (mean, top), (first, one), (second, two) = attention_pictures(weights, (2, 6))
    assert [round(value, 6) for value in (top, one, two)] == [0.2, 0.2, 0.3]
    np.testing.assert_allclose(mean, [[1, 1, 1, 0.5, 0.5, 0.5]] * 2, rtol=1e-6)
    np.testing.assert_allclose(first, [[0.5, 0.5, 0.5, 1, 1, 1]] * 2, rtol=1e-6)
    np.testing.assert_allclose(second, [[1, 1, 1, 0, 0, 0]] * 2, rtol=1e-6)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match='ResNet is no vision transformer with a class token'):
        class_attention(ResNet(18), torch.zeros(1, 3, 32, 32))
    bare = PatchViT(ARCH, img_size=32, with_cls_token=False, out_type='raw')
    with pytest.raises(ValueError, match='PatchViT is no vision transformer with a class token'):
        class_attention(bare, torch.zeros(1, 3, 32, 32))
