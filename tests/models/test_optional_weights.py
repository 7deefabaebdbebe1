"""Starting from weights that may be missing."""

import re

import pytest
import timm
import torch
from mmengine.config import Config, DictAction
from mmpretrain.models.backbones import EfficientNet, ResNet
from tool_modules import REPO
from torchvision.models import efficientnet_b2, resnet18

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


EFFICIENTNETS = {
    'mmpretrain': lambda: EfficientNet('b2'),
    'timm': lambda: timm.create_model('tf_efficientnet_b2'),
    'torchvision': lambda: efficientnet_b2(weights=None),
}


@pytest.mark.parametrize('library', EFFICIENTNETS)
def test_configs_of_efficientnet_compute_as_the_library_of_the_weights(library, tmp_path):
    """The configs as they are; for torchvision's weights with the settings of the page."""
    torch.manual_seed(0)
    theirs = EFFICIENTNETS[library]()
    theirs.eval()
    state, images = theirs.state_dict(), torch.randn(1, 3, 40, 40)
    if library == 'mmpretrain':
        # its model zoo has classifiers, without the counters that TensorFlow's batch norms do not keep
        state = {f'backbone.{name}': value for name, value in state.items() if 'num_batches' not in name}
        state = {'state_dict': state | {'head.fc.weight': torch.zeros(3, 1408)}}
    torch.save(state, tmp_path / 'b2.pth')
    names = {'mmpretrain': '__call__', 'timm': 'forward_features', 'torchvision': 'features'}
    for config in ('mpcs/mpcs_efficientnet-b2_breakhis_ordered', 'breakhis/efficientnet-b2_finetune_breakhis_folds'):
        cfg = Config.fromfile(str(REPO / f'configs/{config}.py'))
        if library == 'torchvision':
            (command,) = re.findall(r'`--cfg-options (.*conv_cfg.*)`', (REPO / 'configs/mpcs/README.md').read_text())
            pairs = (option.split('=') for option in command.split(' '))
            cfg.merge_from_dict({name: DictAction._parse_iterable(value) for name, value in pairs})
        cfg.model.backbone.norm_cfg.type = 'BN'
        cfg.model.backbone.init_cfg[2].checkpoint = str(tmp_path / 'b2.pth')
        model = MODELS.build(cfg.model.backbone)
        model.init_weights()
        model.eval()
        with torch.no_grad():
            expected = getattr(theirs, names[library])(images)
            torch.testing.assert_close(model(images)[0], expected[0] if library == 'mmpretrain' else expected)


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
