"""Starting from weights that may be missing."""

import pytest
import torch
from mmpretrain.models.backbones import EfficientNet, ResNet
from torchvision.models import resnet18

from histomm.models import optional_weights
from histomm.models.weights import TransferError
from histomm.registry import MODELS

BEFORE = [dict(type='Kaiming', layer=['Conv2d']), dict(type='Constant', val=1, layer=['_BatchNorm'])]


def start(kind, checkpoint, **options):
    last = dict(type='histomm.PretrainedIfPresent', checkpoint=str(checkpoint), **options.pop('load', {}))
    model = MODELS.build(dict(type=kind, init_cfg=[*BEFORE, last], **options))
    model.init_weights()
    return model


def test_a_file_that_is_there_is_loaded(tmp_path):
    torch.manual_seed(0)
    theirs = resnet18()
    torch.save(theirs.state_dict(), tmp_path / 'r18.pth')
    model = start('mmpretrain.ResNet', tmp_path / 'r18.pth', depth=18, zero_init_residual=False)
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert isinstance(model, ResNet)


def test_an_efficientnet_is_loaded_from_a_classifier(tmp_path):
    torch.manual_seed(0)
    theirs = EfficientNet('b0')
    state = {f'backbone.{name}': value for name, value in theirs.state_dict().items()}
    torch.save({'state_dict': state | {'head.fc.weight': torch.zeros(3, 1280)}}, tmp_path / 'b0.pth')
    model = start('mmpretrain.EfficientNet', tmp_path / 'b0.pth', arch='b0', load=dict(prefix='backbone'))
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_without_the_file_it_starts_at_random_and_says_so(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(optional_weights, 'print_log', lambda text, *_, **__: lines.append(text))
    model = start('mmpretrain.ResNet', tmp_path / 'none.pth', depth=18, zero_init_residual=False)
    assert len(lines) == 1
    assert lines[0].startswith(f'found no {tmp_path}/none.pth, so ResNet starts at random')
    # Kaiming's of mmengine: a normal distribution by the number of outputs
    conv = model.layer2[0].conv2.weight
    assert conv.std().item() == pytest.approx((2 / (conv.shape[0] * 9)) ** 0.5, rel=0.02)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / 'r18.pth')
    with pytest.raises(TransferError, match=r'r18\.pth holds ResNet-18'):
        start('mmpretrain.ResNet', tmp_path / 'r18.pth', depth=50, zero_init_residual=False)
