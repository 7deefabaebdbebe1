"""Checkpoints in the layout of HIPT go in and out whole."""

import collections

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from tool_modules import load_tool

from histomm.models import DINONeck, PatchViT, RegionViT
from histomm.models.hipt import from_hipt, to_hipt
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError, read_checkpoint
from histomm.registry import MODELS

HEAD = dict(hid_channels=16, bottleneck_channels=8, out_channels=12)


def published(region=False, head=True):
    """Tensors as DINO's authors' code names them, from timm's transformer, which has the same names; values drawn."""
    if region:
        network = VisionTransformer(num_classes=0, embed_dim=192, depth=6, num_heads=6)
    else:
        network = VisionTransformer(num_classes=0, embed_dim=384, depth=12, num_heads=6)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if region:
        del shapes['patch_embed.proj.weight'], shapes['patch_embed.proj.bias']
        shapes |= {'phi.0.weight': (192, 384), 'phi.0.bias': (192,)}
    shapes = {f'backbone.{name}': shape for name, shape in shapes.items()}
    torch.manual_seed(1)
    state = collections.OrderedDict((name, torch.randn(tuple(shape)) / 20) for name, shape in shapes.items())
    if head:
        mlp = torch.nn.Sequential(
            torch.nn.Linear(192 if region else 384, 16),
            torch.nn.GELU(),
            torch.nn.Linear(16, 16),
            torch.nn.GELU(),
            torch.nn.Linear(16, 8),
        )
        state |= {f'head.mlp.{name}': value.detach() for name, value in mlp.state_dict().items()}
        state |= {'head.last_layer.weight_g': torch.ones(12, 1), 'head.last_layer.weight_v': torch.randn(12, 8)}
    return state


def run(name, *arguments):
    return load_tool(f'tools/model_converters/{name}_hipt.py').main([str(argument) for argument in arguments])


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(('region', 'head'), [(False, True), (True, True), (True, False)])
def test_there_and_back_is_the_same_file_content(region, head, tmp_path, capsys):
    state = published(region, head)
    theirs, ours, again = tmp_path / 'theirs.pth', tmp_path / 'ours.pth', tmp_path / 'again.pth'
    student = {f'module.{name}': value + 1 for name, value in state.items()}
    torch.save(dict(student=student, teacher=state, epoch=3, args=object), theirs)
    assert run('import', theirs, '--out', ours) == 0
    count = 78 if region else 150
    kind = 'RegionViT' if region else 'PatchViT'
    assert f'{count} tensors of {kind} and {7 if head else 0} of the head' in capsys.readouterr().out
    assert run('export', ours, '--out', again) == 0
    assert_equal(torch.load(again, weights_only=True)['teacher'], dict(state))


@pytest.mark.parametrize('prefix', ['', 'module.', 'module.backbone.'])
def test_all_prefixes_of_theirs_are_taken_off(prefix):
    bare = {name.removeprefix('backbone.'): value for name, value in published(True, False).items()}
    assert_equal(
        from_hipt({f'{prefix}{name}': value for name, value in bare.items()}, 'a'),
        from_hipt(published(True, False), 'b'),
    )


def test_features_of_the_imported_network_are_those_of_theirs(tmp_path):
    state = published(head=False)
    torch.save(dict(teacher=state), tmp_path / 'theirs.pth')
    run('import', tmp_path / 'theirs.pth', '--out', tmp_path / 'ours.pth')
    theirs = VisionTransformer(num_classes=0, embed_dim=384, depth=12, num_heads=6)
    theirs.load_state_dict({name.removeprefix('backbone.'): value for name, value in state.items()})
    ours = PatchViT()
    report = load_backbone(ours, tmp_path / 'ours.pth')
    assert len(report.loaded) == 150
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images)[0], theirs.eval()(images), atol=1e-4, rtol=1e-4)


def test_the_region_network_is_loaded_whole(tmp_path):
    torch.save(dict(teacher=published(True)), tmp_path / 'theirs.pth')
    run('import', tmp_path / 'theirs.pth', '--out', tmp_path / 'ours.pth')
    model = RegionViT()
    assert len(load_backbone(model, tmp_path / 'ours.pth').loaded) == len(model.state_dict()) == 78
    assert torch.equal(model.patch_embed.projection.weight, published(True)['backbone.phi.0.weight'])


def test_a_run_of_dino_gives_its_teacher(tmp_path):
    """With imported weights in teacher and student, and others in the student afterwards."""
    state = from_hipt(published(True), 'theirs')
    model = MODELS.build(
        dict(
            type='histomm.DINO',
            backbone=dict(type='histomm.RegionViT'),
            neck=dict(type='histomm.DINONeck', in_channels=192, **HEAD),
        )
    )
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    model.teacher.update(torch.nn.ModuleDict(dict(backbone=model.backbone, neck=model.neck)))
    with torch.no_grad():
        for parameter in (*model.backbone.parameters(), *model.neck.parameters()):
            parameter.add_(1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'ours.pth')
    assert run('export', tmp_path / 'ours.pth', '--out', tmp_path / 'theirs.pth') == 0
    assert_equal(torch.load(tmp_path / 'theirs.pth', weights_only=True)['teacher'], dict(published(True)))


def test_outputs_of_the_imported_head_are_those_of_theirs():
    state = published(True)
    neck = DINONeck(192, **HEAD)
    found = from_hipt(state, 'theirs')
    neck.load_state_dict(
        {name.removeprefix('neck.'): value for name, value in found.items() if name.startswith('neck.')}, strict=True
    )
    rows = torch.randn(3, 192)
    x = rows
    for layer in (0, 2, 4):
        x = x @ state[f'head.mlp.{layer}.weight'].T + state[f'head.mlp.{layer}.bias']
        x = torch.nn.functional.gelu(x) if layer < 4 else x / x.norm(dim=1, keepdim=True)
    v = state['head.last_layer.weight_v']
    expected = x @ (state['head.last_layer.weight_g'] * v / v.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(neck((rows,))[0], expected)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda s: without(s, 'backbone.cls_token'),
            r'lacks backbone.cls_token \(1 missing, 0 unknown\), expected the 85',
        ),
        (lambda s: without(s, 'backbone.blocks.2.mlp.fc1.bias'), r'lacks backbone.layers.2.ffn.layers.0.0.bias'),
        (lambda s: without(s, 'head.mlp.2.bias'), r'lacks neck.mlp.2.bias'),
        (lambda s: without(s, 'head.last_layer.weight_v'), r'lacks neck.last_layer.weight'),
        (
            lambda s: s | {'backbone.blocks.6.norm1.weight': torch.ones(192)},
            'has the unknown backbone.layers.6.ln1.weight',
        ),
        (
            lambda s: s | {'backbone.ln1.weight': torch.ones(192)},
            'holds tensors of both namings, expected those of HIPT',
        ),
        (lambda s: s | {'cls_token': torch.ones(1, 1, 192)}, "holds the tensor 'cls_token' twice"),
        (lambda s: s | {'head.last_layer.weight_g': torch.full((12, 1), 2.0)}, 'weight_g is not 1 throughout'),
        (
            lambda s: s | {'backbone.pos_embed': torch.ones(1, 257, 192)},
            r'backbone.pos_embed has shape \(1, 257, 192\), expected \(1, 197, 192\) as in ViT4096-256',
        ),
        (lambda s: {'conv1.weight': torch.ones(1)}, 'lacks backbone.cls_token.* of a ViT256-16'),
    ],
)
def test_what_is_amiss_is_named(change, message):
    with pytest.raises(TransferError, match=message):
        from_hipt(change(dict(published(True))), 'a.pth')


def test_only_these_networks_are_exported(tmp_path, capsys):
    with pytest.raises(TransferError, match=r'has the unknown other\.weight'):
        to_hipt(from_hipt(published(True), 'a') | {'other.weight': torch.ones(1)}, 'b')
    torch.save(dict(state_dict={'backbone.conv1.weight': torch.ones(1)}), tmp_path / 'other.pth')
    assert run('export', tmp_path / 'other.pth', '--out', tmp_path / 'a.pth') == 1
    assert 'lacks backbone.cls_token' in capsys.readouterr().err
    assert not (tmp_path / 'a.pth').exists()


def test_another_entry_of_the_file_is_named(tmp_path, capsys):
    torch.save(dict(student=published(True)), tmp_path / 'theirs.pth')
    assert run('import', tmp_path / 'theirs.pth', '--out', tmp_path / 'a.pth') == 1
    assert "no dict of tensors under 'teacher'" in capsys.readouterr().err
    assert run('import', tmp_path / 'theirs.pth', '--out', tmp_path / 'a.pth', '--key', 'student') == 0
    assert len(read_checkpoint(tmp_path / 'a.pth')[0]) == 85
