"""The exported files open in the libraries they are named for, and carry their card."""

import hashlib
import json
import subprocess
import sys

import pytest
import timm
import torch
from mmpretrain.models.backbones import EfficientNet
from safetensors import safe_open
from safetensors.torch import load_file
from tool_modules import load_tool
from torch import nn
from torchvision.models import efficientnet_b0

from histomm.models.card import parse_config
from histomm.models.weights import from_detectron2

CONFIG = """
train_dataloader = dict(
    batch_size=2,
    dataset=dict(data_root='data/nct', list_file='lists/train.txt', type='histomm.PatchDataset'))
model = dict(
    backbone=dict(depth=18, type='mmpretrain.ResNet'),
    data_preprocessor=dict(mean=[180.0, 124.5, 170.0], std=[50.0, 60.0, 45.0], type='histomm.ViewPreprocessor'),
    loss_lambda=-0.5,
    type='histomm.DenseMoCo')
"""


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/model_converters/extract_backbone.py')


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    """A work directory with a checkpoint as mmengine writes it, and the list of its data."""
    import torchvision

    folder = tmp_path_factory.mktemp('work')
    lists = folder / 'data' / 'nct' / 'lists'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('a.png\n')
    model = torchvision.models.resnet18(weights=None)
    state = {f'backbone.{k}': v for k, v in model.state_dict().items() if not k.startswith('fc.')}
    state['neck.fc.weight'] = torch.zeros(2, 2)
    meta = {'cfg': CONFIG, 'epoch': 3, 'iter': 12, 'seed': 5, 'experiment_name': 'plm', 'mmengine_version': '0.10.12'}
    torch.save({'state_dict': state, 'meta': meta}, folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_3.pth'))
    return folder


@pytest.fixture(scope='module')
def exported(work_dir, repo, tmp_path_factory):
    out = tmp_path_factory.mktemp('out')
    tool = repo / 'tools' / 'model_converters' / 'extract_backbone.py'
    args = [work_dir, '--out', out, '--name', 'plm', '--mpp', '0.5']
    subprocess.run([sys.executable, tool, *map(str, args)], cwd=work_dir, check=True)
    return out


@pytest.fixture(scope='module')
def truth(work_dir):
    state = torch.load(work_dir / 'epoch_3.pth', weights_only=True)['state_dict']
    return {name.removeprefix('backbone.'): value for name, value in state.items() if name.startswith('backbone.')}


def test_files(exported):
    layouts = ('openmmlab', 'torchvision', 'timm', 'detectron2')
    assert {f.name for f in exported.iterdir()} == {f'plm_{x}{s}' for x in layouts for s in ('.pth', '.safetensors')}


def test_torchvision_loads_it(exported, truth):
    import torchvision

    model = torchvision.models.resnet18(weights=None)
    content = torch.load(exported / 'plm_torchvision.pth', weights_only=True)
    missing, unexpected = model.load_state_dict(content['state_dict'], strict=False)
    assert (missing, unexpected) == (['fc.weight', 'fc.bias'], [])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in truth.items())


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_timm_loads_it_strictly(exported, truth, suffix):
    import timm

    path = str(exported / f'plm_timm{suffix}')
    model = timm.create_model('resnet18', pretrained=False, num_classes=0, checkpoint_path=path)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in truth.items())


def test_mmengine_loads_it_with_its_own_pretrained(exported, truth):
    from mmpretrain.models import ResNet

    path = str(exported / 'plm_openmmlab.pth')
    model = ResNet(18, init_cfg={'type': 'Pretrained', 'checkpoint': path})
    model.init_weights()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in truth.items())


def test_detectron2_file_has_the_form_of_its_model_zoo(exported, truth):
    content = torch.load(exported / 'plm_detectron2.pth', weights_only=True)
    assert content['matching_heuristics'] is True
    assert {from_detectron2(name): value.shape for name, value in content['model'].items()} == {
        name: value.shape for name, value in truth.items()
    }
    assert torch.equal(content['model']['res5.0.shortcut.weight'], truth['layer4.0.downsample.0.weight'])
    stored = load_file(exported / 'plm_detectron2.safetensors')
    assert all(torch.equal(stored[name], value) for name, value in content['model'].items())


def test_card_tells_where_the_weights_come_from(exported, work_dir):
    with safe_open(exported / 'plm_timm.safetensors', framework='pt') as file:
        card = json.loads(file.metadata()['card'])
    assert card == torch.load(exported / 'plm_timm.pth', weights_only=True)['meta']
    assert card['method'] == 'histomm.DenseMoCo'
    assert card['architecture'] == 'ResNet-18 (7x7 stem, width 64)'
    assert card['config_sha256'] == hashlib.sha256(CONFIG.encode()).hexdigest()
    assert (card['epochs'], card['iterations'], card['seed'], card['mpp']) == (3, 12, 5, 0.5)
    assert card['normalisation'] == {
        'mean': [180.0, 124.5, 170.0],
        'std': [50.0, 60.0, 45.0],
        'range': '0 to 255',
        'colour_order': 'RGB',
    }
    assert 'data_root=data/nct' in card['data']['description']
    assert card['data']['lists_sha256'] == {'lists/train.txt': hashlib.sha256(b'a.png\n').hexdigest()}
    assert card['checkpoint']['sha256'] == hashlib.sha256((work_dir / 'epoch_3.pth').read_bytes()).hexdigest()
    assert card['versions']['mmengine of the training'] == '0.10.12'
    assert card['versions']['torch']
    assert 'ask' in card['licence']


def test_config_of_a_checkpoint_is_read_and_not_run(tmp_path):
    text = f"a = dict(b=(1, -2), c={{'d': None}})\ne = open({str(tmp_path / 'boom')!r}, 'w')\n"
    values = parse_config(text)
    assert values['a'] == {'b': [1, -2], 'c': {'d': None}}
    assert values['e'].startswith('open(')
    assert not (tmp_path / 'boom').exists()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--prefix', 'teacher'], "no tensor under the prefix 'teacher.'"),
        (['--key', 'ema_state_dict'], "no dict of tensors under 'ema_state_dict'"),
    ],
)
def test_errors_are_one_sentence(args, message, tool, work_dir, tmp_path, capsys):
    assert tool.main([str(work_dir), '--out', str(tmp_path / 'out'), *args]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / 'out').exists()


def test_no_backbone_and_no_file_are_said(tool, tmp_path, capsys):
    torch.save({'state_dict': {'head.weight': torch.zeros(1)}}, tmp_path / 'head.pth')
    assert tool.main([str(tmp_path / 'head.pth'), '--out', str(tmp_path / 'out')]) == 1
    assert 'head.pth holds no backbone tensors' in capsys.readouterr().err
    assert tool.main([str(tmp_path / 'gone.pth'), '--out', str(tmp_path / 'out')]) == 1
    assert 'gone.pth does not exist' in capsys.readouterr().err


def test_backbone_that_is_no_resnet_goes_out_as_it_is(tool, tmp_path, capsys):
    net = nn.Sequential(nn.Linear(2, 2))
    torch.save({'state_dict': {f'backbone.timm_model.{k}': v for k, v in net.state_dict().items()}}, tmp_path / 'v.pth')
    args = [str(tmp_path / 'v.pth'), '--out', str(tmp_path), '--formats']
    assert tool.main([*args, 'openmmlab', 'timm']) == 0
    assert set(load_file(tmp_path / 'backbone_timm.safetensors')) == {'0.weight', '0.bias'}
    assert set(load_file(tmp_path / 'backbone_openmmlab.safetensors')) == {'timm_model.0.weight', 'timm_model.0.bias'}
    assert tool.main([*args, 'detectron2']) == 1
    assert 'no ResNet' in capsys.readouterr().err


def test_an_efficientnet_goes_out_to_timm_and_torchvision(tool, tmp_path, capsys):
    """Of a checkpoint of pre-training, with a projector; the network computes there what it computed here."""
    torch.manual_seed(0)
    net = EfficientNet('b0')
    state = {f'backbone.{name}': value for name, value in net.state_dict().items()}
    torch.save({'state_dict': state | {'neck.fc0.weight': torch.zeros(2, 2)}}, tmp_path / 'epoch_1.pth')
    assert tool.main([str(tmp_path / 'epoch_1.pth'), '--out', str(tmp_path / 'out'), '--name', 'b0']) == 0
    layouts = ('openmmlab', 'torchvision', 'timm')
    assert {f.name for f in (tmp_path / 'out').iterdir()} == {
        f'b0_{layout}{suffix}' for layout in layouts for suffix in ('.pth', '.safetensors')
    }
    assert "else it is timm's tf_efficientnet, which has the same names" in capsys.readouterr().out
    path = str(tmp_path / 'out/b0_timm.safetensors')
    theirs = timm.create_model('tf_efficientnet_b0', num_classes=0, checkpoint_path=path).eval()
    net.eval()
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(theirs.forward_features(images), net(images)[0])
    model = efficientnet_b0(weights=None)
    found = model.load_state_dict(load_file(tmp_path / 'out/b0_torchvision.safetensors'), strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (['classifier.1.weight', 'classifier.1.bias'], [])
    args = [str(tmp_path / 'epoch_1.pth'), '--out', str(tmp_path / 'd2'), '--formats', 'detectron2']
    assert tool.main(args) == 1
    assert 'has no names in detectron2; give --formats without detectron2' in capsys.readouterr().err
