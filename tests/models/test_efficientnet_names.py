"""EfficientNet of torchvision and timm in mmpretrain's: the same feature maps, or a sentence that says what differs."""

import re

import pytest
import timm
import torch
import torchvision
from mmpretrain.models.backbones import EfficientNet, ResNet

from histomm.models import transfer
from histomm.models.efficientnet_names import EPS, TF_EPS, from_mmpretrain, other_arithmetic, to_mmpretrain
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError

ADAPTIVE = dict(type='Conv2dAdaptivePadding')
LIBRARIES = {
    'torchvision': (lambda arch: getattr(torchvision.models, f'efficientnet_{arch}')(weights=None), None, EPS),
    'timm': (lambda arch: timm.create_model(f'efficientnet_{arch}'), None, EPS),
    'timm, of TensorFlow': (lambda arch: timm.create_model(f'tf_efficientnet_{arch}'), ADAPTIVE, TF_EPS),
}
"""Networks with random weights, and how mmpretrain's computes the same."""


def norms(net):
    return [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def theirs(library):
    """A network whose batch norms fit its random weights, and have nothing left that is 0 or 1."""
    torch.manual_seed(0)
    net = LIBRARIES[library][0]('b2')
    for norm in norms(net):
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.uniform_(-0.3, 0.3)
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 96, 96))
    return net.eval()


def ours(arch='b2', conv_cfg=None, eps=EPS):
    net = EfficientNet(arch, conv_cfg=conv_cfg, norm_cfg=dict(type='BN', eps=eps))
    net.eval()
    return net


def features(net, images):
    with torch.no_grad():
        if isinstance(net, EfficientNet):
            return net(images)[0]
        return net.features(images) if hasattr(net, 'features') else net.forward_features(images)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(transfer, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines


def saved(net, path):
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize('library', LIBRARIES)
def test_feature_maps_are_those_of_the_other_library(library, tmp_path, said):
    """Of an image whose maps have odd and even sides on the way: 70, 35, 18, 9, 5, 3."""
    net, (_, conv_cfg, eps) = theirs(library), LIBRARIES[library]
    model = ours(conv_cfg=conv_cfg, eps=eps)
    report = load_backbone(model, saved(net, tmp_path / 'b2.pth'))
    assert len(report.loaded) == len(model.state_dict()) == len(net.state_dict()) - 2
    assert {norm.num_batches_tracked.item() for norm in norms(model)} == {1}
    images = torch.randn(2, 3, 70, 54)
    expected = features(net, images)
    assert expected.shape == (2, 1408, 3, 2)
    torch.testing.assert_close(features(model, images), expected, rtol=1e-4, atol=1e-5)
    other = "this is the arithmetic of timm's tf_efficientnet; for weights of its efficientnet set model.backbone.conv"
    assert [line.split(': ')[1][: len(other)] for line in said] == ([other] if library.endswith('TensorFlow') else [])


def test_other_padding_gives_other_maps_and_is_said(tmp_path, said):
    net = theirs('torchvision')
    path, images = saved(net, tmp_path / 'b2.pth'), torch.randn(1, 3, 64, 64)
    expected = features(net, images)
    for conv_cfg, eps in ((ADAPTIVE, TF_EPS), (None, TF_EPS)):
        model = ours(conv_cfg=conv_cfg, eps=eps)
        load_backbone(model, path)
        error = (features(model, images) - expected).norm() / expected.norm()
        assert error > 1e-3, 'the maps are the same, so nothing need be said'
    assert [line.removeprefix(f'{path}: ') for line in said] == [
        "torchvision's network pads every side alike and has eps 1e-05 in its batch norms, this one pads "
        f'{how} and has eps 0.001; set model.backbone.conv_cfg=None and model.backbone.norm_cfg.eps=1e-5'
        for how in ('as TensorFlow', 'every side alike')
    ]
    assert not other_arithmetic('timm', ours())


@pytest.mark.parametrize('arch', ['b0', 'b4'])
def test_names_of_other_sizes(arch):
    """Every tensor finds a place of its shape in networks of other depths and widths, too."""
    own = EfficientNet(arch).state_dict()
    for library in ('torchvision', 'timm'):
        with torch.device('meta'):
            state = LIBRARIES[library][0](arch).state_dict()
        renamed, found = to_mmpretrain(state, own, 'x')
        assert found == library
        heads = {name for name in renamed if not name.startswith('backbone.')}
        assert heads == {name for name in state if name.startswith('classifier.')}
        shapes = {name.removeprefix('backbone.'): value.shape for name, value in renamed.items() if name not in heads}
        assert shapes == {name: value.shape for name, value in own.items()}
        back = from_mmpretrain(
            {name.removeprefix('backbone.'): renamed[name] for name in set(renamed) - heads}, library
        )
        assert back.keys() == state.keys() - heads
        assert all(back[name] is state[name] for name in back)


def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path):
    net, model = theirs('timm'), ours()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = net.state_dict()
    cases = {
        r'lacks the backbone tensors layers\.5\.6\.linear_conv\.conv\.weight; if': {'blocks.6.1.conv_pwl.weight': None},
        r'lacks the backbone tensors layers\.1\.0\.se\.conv1\.conv\.bias; if': {'blocks.0.0.se.conv_reduce.bias': None},
        r'would ignore the backbone tensors layers\.3\.3\.depthwise_conv\.conv\.weight; if': {
            'blocks.2.3.conv_dw.weight': state['bn1.bias']
        },
        r"tensor blocks\.2\.0\.aa\.weight has no counterpart in mmpretrain's EfficientNet": {
            'blocks.2.0.aa.weight': state['bn1.bias']
        },
        r'tensor layers\.0\.bn\.bias has shape \(16,\), the model EfficientNet expects \(32,\)': {
            'bn1.bias': torch.zeros(16)
        },
    }  # fmt: skip
    for message, change in cases.items():
        changed = {name: value for name, value in (state | change).items() if value is not None}
        torch.save(changed, tmp_path / 'bad.pth')
        with pytest.raises(TransferError, match=message):
            load_backbone(model, tmp_path / 'bad.pth')
    with pytest.raises(TransferError, match=r'b1\.pth: tensor layers\.\S+ has shape'):
        load_backbone(model, saved(timm.create_model('efficientnet_b1'), tmp_path / 'b1.pth'))
    with pytest.raises(TransferError, match=r'tensor \S+ has no counterpart .* expected the file of an EfficientNet'):
        load_backbone(model, saved(timm.create_model('mobilenetv3_small_050'), tmp_path / 'mobile.pth'))
    torch.save({f'{who}.{name}': value for who in 'ab' for name, value in state.items()}, tmp_path / 'two.pth')
    with pytest.raises(TransferError, match=r"holds several EfficientNets, under 'a\.', 'b\.'"):
        load_backbone(model, tmp_path / 'two.pth')
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_classifier_around_it_and_a_prefix_before_it(tmp_path):
    net = theirs('timm')
    torch.save({f'encoder.{name}': value for name, value in net.state_dict().items()}, tmp_path / 'inside.pth')
    whole = torch.nn.ModuleDict({'backbone': ours(), 'head': torch.nn.Linear(1408, 2)})
    report = load_backbone(whole, tmp_path / 'inside.pth', prefix='encoder')
    assert report.root == 'backbone.'
    images = torch.randn(1, 3, 33, 33)
    torch.testing.assert_close(features(whole['backbone'], images), features(net, images), rtol=1e-4, atol=1e-5)


def test_a_tensor_that_others_do_not_have_is_named():
    own = EfficientNet('b0').state_dict()
    for name in ('layers.7.conv.weight', 'layers.2.0.shortcut.conv.weight', 'layers.9.0.linear_conv.bn.bias'):
        with pytest.raises(TransferError, match=f'tensor {name} has no counterpart in an EfficientNet of timm'):
            from_mmpretrain(own | {name: torch.zeros(1)}, 'timm')


def test_other_networks_keep_their_names():
    state = {'features.1.0.block.0.0.weight': torch.zeros(1), 'blocks.0.0.conv_dw.weight': torch.zeros(1)}
    assert to_mmpretrain(state, ResNet(18).state_dict(), 'x') == (state, '')
    own = ours().state_dict()
    assert to_mmpretrain(own, own, 'x') == (own, '')
    assert re.fullmatch(r'layers\.6\.bn\.bias', list(own)[-4])
