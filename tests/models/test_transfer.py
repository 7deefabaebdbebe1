"""Hand-over of backbones: every tensor arrives, or an error names it."""

import copy

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from torch import nn

from histomm.models.transfer import VerifiedPretrained, load_backbone
from histomm.models.weights import (
    TransferError,
    describe,
    find_backbone,
    from_detectron2,
    read_checkpoint,
    resolve_checkpoint,
    to_detectron2,
)


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor, counters included, values that no initialiser produces."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
        else:
            value.fill_(1234)
    return module


def torchvision_resnet(depth: int) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, f'resnet{depth}')(weights=None)


def timm_resnet(depth: int) -> nn.Module:
    import timm

    return timm.create_model(f'resnet{depth}', pretrained=False)


def mmpretrain_resnet(depth: int) -> nn.Module:
    from mmpretrain.models import ResNet

    return ResNet(depth)


def mmpretrain_timm(depth: int) -> nn.Module:
    from mmpretrain.models import TIMMBackbone

    return TIMMBackbone(f'resnet{depth}')


def mmdet_resnet(depth: int) -> nn.Module:
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmdet.models import ResNet

    return ResNet(depth)


def mmseg_resnet(depth: int) -> nn.Module:
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmseg.models import ResNet

    return ResNet(depth)


BUILDERS = [torchvision_resnet, timm_resnet, mmpretrain_resnet, mmpretrain_timm, mmdet_resnet, mmseg_resnet]
NUM_TENSORS = {18: 120, 50: 318}  # convolutions + 5 per batch norm: 20 + 5·20, 53 + 5·53


def backbone_of(depth: int, seed: int = 0) -> dict:
    model = randomize(torchvision_resnet(depth), seed)
    return {name: value for name, value in model.state_dict().items() if not name.startswith('fc.')}


@pytest.fixture
def checkpoint(tmp_path):
    """An R18 as pre-training leaves it: query and key encoder, neck, mmengine's history."""
    tensors = backbone_of(18)
    state = {f'backbone.{name}': value for name, value in tensors.items()}
    state |= {f'key_encoder.backbone.{name}': value + 1 for name, value in tensors.items()}
    state['neck.mlp.0.weight'] = torch.zeros(2, 2)
    hub = {'log_scalars': {'train/loss': HistoryBuffer([1.0], [1])}, 'runtime_info': {'epoch': 1}}
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': state, 'meta': {'epoch': 1, 'iter': 7}, 'message_hub': hub}, path)
    return path


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('build', BUILDERS)
def test_every_tensor_arrives(build, depth, tmp_path):
    tensors = backbone_of(depth)
    torch.save({'state_dict': {f'backbone.{name}': value for name, value in tensors.items()}}, tmp_path / 'a.pth')
    model = randomize(build(depth), seed=1)
    report = load_backbone(model, tmp_path / 'a.pth')
    assert len(report.loaded) == len(tensors) == NUM_TENSORS[depth]
    state = model.state_dict()
    for name, value in tensors.items():
        assert torch.equal(state[report.root + name], value), name
    rest = set(state) - set(report.loaded)
    assert rest == {f'{report.root}{name}' for name in ('fc.weight', 'fc.bias')} & set(state)


def test_model_computes_the_same_after_hand_over(checkpoint):
    # The same input through torchvision and mmpretrain: names that match must also mean the same layer.
    source, target = torchvision_resnet(18), mmpretrain_resnet(18)
    source.eval()
    target.eval()
    load_backbone(target, checkpoint)
    load_backbone(source, checkpoint)
    x = torch.randn(1, 3, 64, 64)
    # Random running variances may be negative; take their size in both.
    for model in (source, target):
        for name, value in model.state_dict().items():
            if name.endswith('running_var'):
                value.abs_()
    y = source.maxpool(source.relu(source.bn1(source.conv1(x))))
    y = source.layer4(source.layer3(source.layer2(source.layer1(y))))
    torch.testing.assert_close(target(x)[-1], y)


def test_whole_detector_like_model_is_loaded_at_its_backbone(checkpoint):
    model = nn.ModuleDict({'backbone': mmpretrain_resnet(18), 'head': nn.Linear(2, 2)})
    assert load_backbone(model, checkpoint).root == 'backbone.'


def test_detectron2_names_of_torchvision_layers():
    # Pairs written down from Detectron2's module tree.
    pairs = {
        'conv1.weight': 'stem.conv1.weight',
        'bn1.running_mean': 'stem.conv1.norm.running_mean',
        'layer1.0.conv1.weight': 'res2.0.conv1.weight',
        'layer2.1.bn2.bias': 'res3.1.conv2.norm.bias',
        'layer4.0.downsample.0.weight': 'res5.0.shortcut.weight',
        'layer3.0.downsample.1.num_batches_tracked': 'res4.0.shortcut.norm.num_batches_tracked',
    }
    for ours, theirs in pairs.items():
        assert to_detectron2(ours) == theirs
        assert from_detectron2(theirs) == ours


@pytest.mark.parametrize('depth', [18, 50])
def test_detectron2_names_invert_and_load(depth, tmp_path):
    tensors = backbone_of(depth)
    renamed = {to_detectron2(name): value for name, value in tensors.items()}
    assert len(renamed) == len(tensors)
    assert {from_detectron2(name) for name in renamed} == set(tensors)
    torch.save({'model': {f'backbone.bottom_up.{k}': v for k, v in renamed.items()}}, tmp_path / 'd2.pth')
    model = torchvision_resnet(depth)
    assert len(load_backbone(model, tmp_path / 'd2.pth').loaded) == NUM_TENSORS[depth]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in tensors.items())


def test_unmappable_name_is_named():
    with pytest.raises(TransferError, match=r"'layer1\.0\.attention\.weight'"):
        to_detectron2('layer1.0.attention.weight')


@pytest.mark.parametrize('name', ['layer3.1.bn2.running_var', 'conv1.weight', 'bn1.num_batches_tracked'])
def test_missing_tensor_is_named_unless_allowed(name, tmp_path):
    tensors = backbone_of(18)
    del tensors[name]
    torch.save(tensors, tmp_path / 'a.pth')
    model = torchvision_resnet(18)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TransferError, match=name.replace('.', r'\.')):
        load_backbone(model, tmp_path / 'a.pth')
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), 'changed before the error'
    report = load_backbone(model, tmp_path / 'a.pth', allow_missing=(f'{name.split(".")[0]}*',))
    assert report.missing == [name]


def test_ignored_tensor_is_named_unless_allowed(tmp_path):
    from mmpretrain.models import ResNet

    torch.save(backbone_of(18), tmp_path / 'a.pth')
    three = ResNet(18, num_stages=3, out_indices=(2,), strides=(1, 2, 2), dilations=(1, 1, 1))
    with pytest.raises(TransferError, match=r'would ignore .* layer4\.0\.conv1\.weight'):
        load_backbone(three, tmp_path / 'a.pth')
    report = load_backbone(three, tmp_path / 'a.pth', allow_unexpected=('layer4.*',))
    assert len(report.unexpected) == 5 + 5 * 5


def test_other_architecture_is_said(tmp_path):
    torch.save(backbone_of(50), tmp_path / 'r50.pth')
    with pytest.raises(TransferError, match=r'r50\.pth holds ResNet-50 .* the model ResNet is ResNet-18'):
        load_backbone(torchvision_resnet(18), tmp_path / 'r50.pth')


def test_deep_stem_is_another_architecture(tmp_path):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmseg.models import ResNetV1c

    torch.save(backbone_of(18), tmp_path / 'a.pth')
    with pytest.raises(TransferError, match=r'7x7 stem.*deep stem'):
        load_backbone(ResNetV1c(depth=18), tmp_path / 'a.pth')


def test_other_shape_is_said(tmp_path):
    tensors = backbone_of(18)
    tensors['conv1.weight'] = torch.zeros(64, 1, 7, 7)
    torch.save(tensors, tmp_path / 'a.pth')
    with pytest.raises(TransferError, match=r'conv1\.weight has shape \(64, 1, 7, 7\).*\(64, 3, 7, 7\)'):
        load_backbone(torchvision_resnet(18), tmp_path / 'a.pth')


def test_backbone_that_is_no_resnet(tmp_path):
    net = randomize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    torch.save({f'backbone.{k}': v for k, v in net.state_dict().items()}, tmp_path / 'a.pth')
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert len(load_backbone(other, tmp_path / 'a.pth').loaded) == 7
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    with pytest.raises(TransferError, match='is its architecture the same'):
        load_backbone(nn.ModuleDict({'x': nn.Linear(1, 1)}), tmp_path / 'a.pth')


def test_prefix_chooses_between_encoders(checkpoint):
    state, _ = read_checkpoint(checkpoint)
    assert find_backbone(state, 'x').prefix == 'backbone.'
    key = find_backbone(state, 'x', 'key_encoder')
    assert key.prefix == 'key_encoder.backbone.'
    torch.testing.assert_close(key.tensors['conv1.weight'], backbone_of(18)['conv1.weight'] + 1)
    with pytest.raises(TransferError, match=r"no tensor under the prefix 'teacher\.'.*'backbone\.'"):
        find_backbone(state, 'x', 'teacher')


def test_several_backbones_without_a_rule():
    tensors = backbone_of(18)
    state = {f'{who}.{name}': value for who in ('student', 'teacher') for name, value in tensors.items()}
    with pytest.raises(TransferError, match=r"'student\.', 'teacher\.'"):
        find_backbone(state, 'x')


def test_no_backbone_at_all():
    with pytest.raises(TransferError, match=r"no backbone tensors.*'head\.weight'"):
        find_backbone({'head.weight': torch.zeros(1)}, 'x')


@pytest.mark.parametrize('depth', [18, 34, 50])
def test_describe(depth):
    assert str(describe(torchvision_resnet(depth).state_dict())) == f'ResNet-{depth} (7x7 stem, width 64)'


class Bomb:
    def __reduce__(self):
        return (open, (self.target, 'w'))

    def __init__(self, target: str) -> None:
        self.target = target


def test_checkpoint_is_read_without_running_its_code(checkpoint, tmp_path):
    _, meta = read_checkpoint(checkpoint)
    assert meta['iter'] == 7
    kept = {
        'state_dict': {'a': nn.Parameter(torch.arange(3.0))},
        'rng': np.random.get_state(),
        'x': Bomb(str(tmp_path / 'boom')),
    }
    for name, zipped in (('new.pth', True), ('old.pth', False)):
        torch.save(kept, tmp_path / name, _use_new_zipfile_serialization=zipped)
        assert read_checkpoint(tmp_path / name)[0]['a'].tolist() == [0, 1, 2]
    assert not (tmp_path / 'boom').exists()


def test_bad_files_are_said(tmp_path):
    with pytest.raises(TransferError, match=r'gone\.pth does not exist'):
        read_checkpoint(tmp_path / 'gone.pth')
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04 and no more')
    with pytest.raises(TransferError, match=r'cut\.pth'):
        read_checkpoint(tmp_path / 'cut.pth')
    (tmp_path / 'cut.safetensors').write_bytes(b'\x01')
    with pytest.raises(TransferError, match=r'cut\.safetensors cannot be read'):
        read_checkpoint(tmp_path / 'cut.safetensors')
    torch.save({'teacher': {'a': torch.zeros(1)}, 'student': {'a': torch.ones(1)}}, tmp_path / 'two.pth')
    with pytest.raises(TransferError, match="'teacher', 'student'"):
        read_checkpoint(tmp_path / 'two.pth')
    assert read_checkpoint(tmp_path / 'two.pth', key='student')[0]['a'] == 1
    with pytest.raises(TransferError, match="under 'ema'"):
        read_checkpoint(tmp_path / 'two.pth', key='ema')
    torch.save({'epoch': 3}, tmp_path / 'none.pth')
    with pytest.raises(TransferError, match='holds no tensors'):
        read_checkpoint(tmp_path / 'none.pth')


def test_work_directory_stands_for_its_last_checkpoint(checkpoint):
    folder = checkpoint.parent
    with pytest.raises(TransferError, match='last_checkpoint'):
        resolve_checkpoint(folder)
    (folder / 'last_checkpoint').write_text(f'/moved/away/{checkpoint.name}')
    assert resolve_checkpoint(folder) == checkpoint


class Wrapper(BaseModel):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg'])
def test_initializer_in_a_model(library, checkpoint):
    # mmpretrain zeroes residual branches after any initialiser that is not called Pretrained.
    if library != 'mmpretrain':
        pytest.importorskip('mmcv.ops', exc_type=ImportError)
    models = pytest.importorskip(f'{library}.models')
    init_default_scope('histomm')
    kwargs = {'zero_init_residual': True} if library == 'mmpretrain' else {}
    config = {'type': 'histomm.VerifiedPretrained', 'checkpoint': str(checkpoint)}
    model = Wrapper(models.ResNet(18, init_cfg=config, **kwargs))
    model.init_weights()
    for name, value in backbone_of(18).items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    model(torch.randn(2, 3, 64, 64))


def test_initializer_leaves_the_rest_of_the_model_to_mmengine(checkpoint):
    from mmpretrain.models import ResNet

    class Neck(BaseModel):
        def __init__(self) -> None:
            super().__init__(init_cfg={'type': 'Constant', 'layer': 'Linear', 'val': 3.0})
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return x

    model = Wrapper(ResNet(18))
    model.neck = Neck()
    model.init_cfg = {'type': 'histomm.VerifiedPretrained', 'checkpoint': str(checkpoint)}
    model.init_weights()
    assert (model.neck.layer.weight == 3).all()
    assert torch.equal(model.backbone.conv1.weight, backbone_of(18)['conv1.weight'])


def test_change_after_loading_is_caught_at_the_first_forward(checkpoint):
    model = mmpretrain_resnet(18)
    VerifiedPretrained(str(checkpoint))(model)
    twin = copy.deepcopy(model)
    nn.init.zeros_(model.layer2[0].conv1.weight)
    with pytest.raises(TransferError, match=r'layer2\.0\.conv1\.weight'):
        model(torch.randn(2, 3, 64, 64))
    # A copy is guarded on its own; training changes the weights after the first forward and is free to.
    twin(torch.randn(2, 3, 64, 64))
    nn.init.zeros_(twin.layer2[0].conv1.weight)
    twin(torch.randn(2, 3, 64, 64))


def test_resuming_releases_the_guard(checkpoint):
    model = Wrapper(mmpretrain_resnet(18))
    VerifiedPretrained(str(checkpoint))(model.backbone)
    resumed = randomize(Wrapper(mmpretrain_resnet(18)), seed=5)
    model.load_state_dict(resumed.state_dict())
    model(torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize(('frozen', 'norm_eval', 'warned'), [(1, True, True), (-1, False, False), (-1, True, True)])
def test_frozen_backbones_are_announced(frozen, norm_eval, warned, checkpoint, capsys):
    from mmengine.logging import MMLogger
    from mmpretrain.models import ResNet

    MMLogger.get_instance(f'frozen{frozen}{norm_eval}')
    VerifiedPretrained(str(checkpoint))(ResNet(18, frozen_stages=frozen, norm_eval=norm_eval))
    output = capsys.readouterr()
    assert ('frozen_stages=-1 and norm_eval=False' in output.out + output.err) == warned
