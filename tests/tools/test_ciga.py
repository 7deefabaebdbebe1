"""Checkpoints in the layout of Ciga et al. go in and out whole, and no code of a file runs."""

import collections
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from tool_modules import load_tool

from histomm.models.card import file_hash
from histomm.models.ciga import from_ciga, to_ciga
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError, read_checkpoint
from histomm.registry import MODELS


def published(depth=18, width=512):
    """Tensors as they publish them: torchvision's ResNet with the head in place of ``fc``, all values drawn."""
    resnet = getattr(torchvision.models, f'resnet{depth}')(weights=None)
    resnet.fc = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(width, 512), torch.nn.ReLU(), torch.nn.Linear(512, 128)
    )
    torch.manual_seed(1)
    state = collections.OrderedDict()
    for name, value in resnet.state_dict().items():
        drawn = torch.randn(value.shape) if value.is_floating_point() else torch.tensor(4321)
        state[f'model.resnet.{name}'] = drawn
    return state


def run(name, *arguments):
    return load_tool(f'tools/model_converters/{name}_ciga.py').main([str(argument) for argument in arguments])


@pytest.fixture(scope='module')
def state():
    return published()


@pytest.fixture
def native(state, tmp_path):
    path = tmp_path / 'native.ckpt'
    torch.save({'state_dict': state}, path)
    return path


def test_every_tensor_arrives_in_simclr(native, state, tmp_path, repo, capsys):
    assert run('import', native, '--out', tmp_path / 'ours.pth') == 0
    assert '120 tensors of the backbone and 4 of the head' in capsys.readouterr().out
    weights, _ = read_checkpoint(tmp_path / 'ours.pth')
    config = Config.fromfile(str(repo / 'configs/simclr/simclr_r18_patches.py')).model
    config.backbone.norm_cfg = dict(type='BN')
    model = MODELS.build(config)
    model.load_state_dict(weights, strict=True)
    own = model.state_dict()
    for name, value in state.items():
        short = name.removeprefix('model.resnet.')
        ours = {'fc.1.': 'neck.mlp.0.', 'fc.3.': 'neck.mlp.2.'}.get(short[:5])
        assert torch.equal(own[f'{ours}{short[5:]}' if ours else f'backbone.{short}'], value), name


def test_features_are_those_of_their_network(native, state, tmp_path):
    run('import', native, '--out', tmp_path / 'ours.pth')
    resnet = torchvision.models.resnet18(weights=None)
    resnet.fc = torch.nn.Identity()
    resnet.load_state_dict(
        {name.removeprefix('model.resnet.'): value.abs() for name, value in state.items() if '.fc.' not in name}
    )
    ours = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    load_backbone(ours, tmp_path / 'ours.pth')
    for value in ours.state_dict().values():
        value.copy_(value.abs())  # variances of a batch norm are not below 0
    ours.eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images)[-1].mean((2, 3)), resnet.eval()(images))


def test_there_and_back_is_the_same_file_content(native, state, tmp_path):
    assert run('import', native, '--out', tmp_path / 'ours.pth') == 0
    assert run('export', tmp_path / 'ours.pth', '--out', tmp_path / 'theirs.ckpt') == 0
    again = torch.load(tmp_path / 'theirs.ckpt', weights_only=True)['state_dict']
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_deeper_networks_round_trip_too():
    state = published(50, 2048)
    again = to_ciga(from_ciga(state, 'a'), 'b')
    assert len(state) == 318 + 4
    assert again.keys() == state.keys()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def lightning_file(path, state, mark):
    """As Lightning pickles: classes of modules that are not installed, and here one that would run code."""
    module = types.ModuleType('pytorch_lightning_gone')
    sys.modules[module.__name__] = module
    exec('class Hparams(dict): pass\nclass Callback:\n    def __init__(self): self.best = 3', module.__dict__)
    content = {
        'epoch': 7,
        'state_dict': state,
        'callbacks': {module.Callback: {'best': 0.5}},
        'hyper_parameters': module.Hparams(lr=0.1),
        'object': [module.Callback(), Bomb(mark)],
    }
    torch.save(content, path)
    del sys.modules[module.__name__]


def test_foreign_classes_are_neither_needed_nor_run(state, tmp_path):
    path, mark = tmp_path / 'lightning.ckpt', tmp_path / 'mark'
    lightning_file(path, state, mark)
    with pytest.raises((ModuleNotFoundError, pickle.UnpicklingError)):
        torch.load(path, weights_only=False)
    assert run('import', path, '--out', tmp_path / 'ours.pth') == 0
    assert not mark.exists()
    assert len(read_checkpoint(tmp_path / 'ours.pth')[0]) == 124
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # as it would have been


def test_extracted_backbone_knows_the_normalisation(native, tmp_path):
    run('import', native, '--out', tmp_path / 'ours.pth')
    extract = load_tool('tools/model_converters/extract_backbone.py')
    assert extract.main([str(tmp_path / 'ours.pth'), '--out', str(tmp_path), '--formats', 'torchvision']) == 0
    tensors, card = read_checkpoint(tmp_path / 'backbone_torchvision.safetensors')
    assert len(tensors) == 120
    assert card['normalisation']['mean'] == card['normalisation']['std'] == [127.5] * 3
    assert card['method'] == 'histomm.SimCLR'


def test_the_hash_is_compared_before_the_file_is_read(tmp_path, capsys):
    cut = tmp_path / 'cut.ckpt'
    cut.write_bytes(b'half of a download')
    assert run('import', cut, '--out', tmp_path / 'ours.pth', '--sha256', 'ae652d1a') == 1
    assert 'expected one that begins with ae652d1a' in capsys.readouterr().err
    assert run('import', tmp_path / 'none.ckpt', '--out', tmp_path / 'ours.pth', '--sha256', 'ae652d1a') == 1
    assert 'none.ckpt' in capsys.readouterr().err


def test_the_hash_is_compared(native, tmp_path, capsys):
    digest = file_hash(native)
    assert run('import', native, '--out', tmp_path / 'a.pth', '--sha256', digest[:8].upper()) == 0
    assert run('import', native, '--out', tmp_path / 'b.pth', '--sha256', '00000000') == 1
    assert f'has the SHA-256 {digest}, expected one that begins with 00000000' in capsys.readouterr().err
    assert run('import', native, '--out', tmp_path / 'b.pth', '--sha256', digest[:2]) == 1
    assert not (tmp_path / 'b.pth').exists()


def without(state, name):
    return {key: value for key, value in state.items() if key != f'model.resnet.{name}'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: without(s, 'bn1.num_batches_tracked'), r'lacks backbone.bn1.num_batches_tracked \(1 missing, 0 unk'),
        (lambda s: without(s, 'fc.3.bias'), r'lacks neck.mlp.2.bias'),
        (lambda s: without(s, 'fc.1.weight'), r'lacks neck.mlp.0.weight'),
        (lambda s: s | {'model.resnet.fc.5.weight': torch.ones(1)}, r'has the unknown backbone.fc.5.weight'),
        (lambda s: s | {'loss.weight': torch.ones(1)}, r"'loss.weight' does not begin with 'model.resnet.'"),
        (
            lambda s: s | {'model.resnet.fc.1.bias': torch.ones(3)},
            r'neck.mlp.0.bias has shape \(3,\), expected \(512,\)',
        ),
        (lambda s: {f'x.{name}': value for name, value in s.items()}, r"does not begin with 'model.resnet.'"),
        (lambda s: {'model.resnet.conv1.weight': torch.ones(1)}, 'holds no ResNet, expected a ResNet-18'),
    ],
)
def test_what_is_amiss_is_named(state, change, message):
    with pytest.raises(TransferError, match=message):
        from_ciga(change(dict(state)), 'a.ckpt')


def test_only_simclr_is_exported(tmp_path, capsys):
    weights = {f'backbone.{name}': value for name, value in torchvision.models.resnet18().state_dict().items()}
    torch.save({'state_dict': weights}, tmp_path / 'other.pth')
    assert run('export', tmp_path / 'other.pth', '--out', tmp_path / 'a.ckpt') == 1
    assert 'lacks neck.mlp.0.weight' in capsys.readouterr().err
    assert run('export', tmp_path / 'none.pth', '--out', tmp_path / 'a.ckpt') == 1
    assert 'none.pth does not exist' in capsys.readouterr().err
