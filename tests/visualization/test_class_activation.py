"""Class activation maps against numbers by hand, autograd without the library, and the identity of Zhou et al."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from histomm import models  # noqa: F401, registers PatchViT
from histomm.evaluation.classifier import Classifier
from histomm.registry import MODELS
from histomm.visualization.class_activation import class_activation, last_block

pytest.importorskip('pytorch_grad_cam')


class Backbone(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class AddInPlace(nn.Module):
    """A convolution whose output is changed after it has been given, as in a residual block."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x):
        out = self.conv(x)
        out += 0.1
        return out.tanh()


class Network(nn.Module):
    """Backbone, mean over the map, linear layer."""

    def __init__(self, backbone, weight):
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.fc.weight.data = weight

    def forward(self, x, mode):
        assert mode == 'tensor'
        return self.fc(self.backbone(x).mean(dim=(2, 3)))


def classifier_of(network, classes='ab', mean=0):
    return Classifier(network, classes, [], (mean,) * 3, (1, 1, 1))


def scaled(map_, size):
    """What the library makes of a map: ReLU, minimum 0 and maximum 1, the size of the image, and that once more."""
    map_ = map_.clamp(min=0)
    for wanted in (map_.shape[-2:], size):
        map_ = F.interpolate(map_[None, None], wanted, mode='bilinear', align_corners=False)[0, 0]
        map_ = map_ - map_.min()
        map_ = map_ / (map_.max() + 1e-7)
    return map_.numpy()


def grad_cam(network, layer, image, target, to_maps=lambda output: output):
    """Equations 1 and 2 of the paper by autograd: α is the mean gradient, the map the ReLU of Σ α A."""
    kept = []

    def note(module, args, output):
        probe = output * 1
        kept.append((output.detach().clone(), probe))
        return probe.clone()

    handle = layer.register_forward_hook(note)
    with torch.enable_grad():
        score = network(image[None].requires_grad_(), mode='tensor')[0, target]
    handle.remove()
    ((activation, probe),) = kept
    maps, gradient = to_maps(activation)[0], to_maps(torch.autograd.grad(score, probe)[0])[0]
    total = torch.zeros(maps.shape[1:])
    for channel, slope in zip(maps, gradient, strict=True):
        total += slope.mean() * channel
    return scaled(total, image.shape[1:])


def test_map_by_hand():
    """Red is the first map, green the second; scores are R and 2G − R, each a mean over four pixels."""
    first = nn.Conv2d(3, 2, 1, bias=False)
    first.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1)
    classifier = classifier_of(Network(Backbone(first), torch.tensor([[1.0, 0], [-1, 2]])))
    red, green = torch.tensor([[0, 4], [8, 2]]), torch.tensor([[1, 1], [5, 3]])
    images = torch.stack((red, green, red)).to(torch.uint8)[None]
    (one,) = class_activation(classifier, images, 0)
    np.testing.assert_allclose(one.map, [[0, 0.5], [1, 0.25]], atol=1e-6)
    (two,) = class_activation(classifier, images, 1)  # [[2, -2], [2, 4]] / 4, less than nothing is nothing
    np.testing.assert_allclose(two.map, [[0.5, 0], [0.5, 1]], atol=1e-6)
    # the scores are 3.5 and 2 × 2.5 − 3.5
    np.testing.assert_allclose(one.scores, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], rtol=1e-5)


@pytest.fixture
def network():
    torch.manual_seed(7)
    backbone = Backbone(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh(), AddInPlace(), nn.Conv2d(4, 6, 1), nn.Tanh())
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)  # as in linear evaluation
    return Network(backbone, torch.randn(5, 6))


@pytest.mark.parametrize('layer', ['', 'backbone.layers.2', 'backbone.layers.2.conv'])
def test_map_is_that_of_autograd(network, layer):
    """Of frozen layers, of one that is changed in place, for several images at once and the predicted class of each."""
    colours = torch.tensor([[0, 9, 0], [9, 0, 9], [9, 9, 0], [0, 0, 9]]).view(4, 3, 1, 1)
    images = (colours + torch.randint(0, 2, (4, 3, 16, 24))).to(torch.uint8)
    found = class_activation(classifier_of(network, 'abcde', 5), images, layer=layer)
    module = network.get_submodule(layer or 'backbone.layers.4')
    assert len({one.target for one in found}) > 1
    for image, one in zip(images.float() - 5, found, strict=True):
        assert one.target == int(one.scores.argmax()) == int(network(image[None], 'tensor').argmax())
        np.testing.assert_allclose(one.map, grad_cam(network, module, image, one.target), atol=2e-5)
        assert abs(one.map - grad_cam(network, module, image, (one.target + 1) % 5)).max() > 0.1
    assert all(parameter.grad is None for parameter in network.parameters())


def test_hot_where_a_dark_square_decides():
    """The class 'dark' is told by how dark cells of four pixels are; the map is hot in the square and nowhere else."""
    cells = nn.Conv2d(3, 1, 4, stride=4)
    cells.weight.data.fill_(-1 / 48)
    cells.bias.data.fill_(200)
    classifier = classifier_of(Network(Backbone(cells, nn.ReLU()), torch.tensor([[0.0], [1.0]])), ('light', 'dark'))
    image = torch.full((1, 3, 48, 64), 240, dtype=torch.uint8)
    image[..., 12:24, 40:52] = 30
    (found,) = class_activation(classifier, image)
    assert classifier.classes[found.target] == 'dark'
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert 12 <= row < 24
    assert 40 <= column < 52
    assert found.map[14:22, 42:50].min() > 0.999
    outside = found.map.copy()
    outside[8:28, 36:56] = 0
    assert not outside.any()
    assert not class_activation(classifier, torch.full((1, 3, 48, 64), 240, dtype=torch.uint8))[0].map.any()


def image_classifier(backbone, channels, neck=True):
    head = dict(type='LinearClsHead', in_channels=channels, num_classes=3)
    # a run in a test before leaves the scope of histomm
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return ImageClassifier(MODELS.build(backbone), dict(type='GlobalAveragePooling') if neck else None, head).eval()


@pytest.mark.parametrize(
    ('backbone', 'channels', 'layer'),
    [
        (dict(type='mmpretrain.ResNet', depth=18), 512, 'backbone.layer4.1'),
        (dict(type='mmpretrain.EfficientNet', arch='b2'), 1408, 'backbone.layers.6'),
    ],
)
def test_last_block_gives_class_activation_maps(backbone, channels, layer):
    """With a mean and a linear layer behind it, Grad-CAM is the map of Zhou et al. (2016): ReLU of Σ w A."""
    network = image_classifier(backbone, channels)
    assert last_block(network.backbone) == layer
    images = torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8)
    with torch.no_grad():
        maps = network.extract_feat(images.float(), stage='backbone')[-1]
    network.head.fc.weight.data.normal_()
    seen = 0
    for target in range(3):
        found = class_activation(classifier_of(network, 'abc'), images, target)
        for one, features in zip(found, maps, strict=True):
            expected = (
                torch.einsum('c,chw->hw', network.head.fc.weight[target].detach(), features) / features[0].numel()
            )
            np.testing.assert_allclose(one.map, scaled(expected, (96, 128)), atol=1e-4)
            seen += one.map.any()
    assert seen > 1


def test_tokens_of_a_vision_transformer_are_a_grid():
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    backbone = dict(type='histomm.PatchViT', arch=arch, img_size=64, out_type='cls_token')
    network = image_classifier(backbone, 16, neck=False)
    network.init_weights()
    image = torch.randint(0, 5, (3, 48, 64), dtype=torch.uint8)
    (found,) = class_activation(classifier_of(network, 'abc'), image[None], 2)
    assert last_block(network.backbone) == 'backbone.layers.1.ln1'
    expected = grad_cam(
        network, network.backbone.layers[1].ln1, image.float(), 2, lambda tokens: tokens[:, 1:].mT.unflatten(2, (3, 4))
    )
    np.testing.assert_allclose(found.map, expected, atol=1e-4)


def test_bad_requests_are_told_early(network):
    classifier, images = classifier_of(network, 'abcde'), torch.zeros((1, 3, 16, 16), dtype=torch.uint8)
    with pytest.raises(ValueError, match='class 5 is none of the 5'):
        class_activation(classifier, images, 5)
    with pytest.raises(ValueError, match=r'layer backbone\.none: .* expected one such as backbone\.layers\.4'):
        class_activation(classifier, images, layer='backbone.none')
    with pytest.raises(ValueError, match=r'layer fc gives \(1, 5\), expected maps'):
        class_activation(classifier, images, layer='fc')
    with pytest.raises(ValueError, match='one number for each of the 2 classes'):
        class_activation(classifier_of(network, 'ab'), images)
    with pytest.raises(ValueError, match='Flatten has neither res_layers nor layers'):
        last_block(nn.Flatten())


def test_layer_that_does_not_count_is_refused(network):
    network.backbone.aside = nn.Conv2d(3, 2, 1)
    network.backbone.layers[0].register_forward_pre_hook(
        lambda module, args: (network.backbone.aside(args[0]), None)[1]
    )
    with pytest.raises(ValueError, match='the scores do not depend on this layer'):
        class_activation(classifier_of(network, 'abcde'), torch.ones((1, 3, 16, 16)), layer='backbone.aside')


def test_without_the_library_the_message_says_what_to_install(network, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(ModuleNotFoundError, match='run `pip install --no-deps grad-cam ttach`'):
        class_activation(classifier_of(network, 'abcde'), torch.zeros((1, 3, 16, 16)))
