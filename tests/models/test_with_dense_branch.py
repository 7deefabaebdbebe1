"""A dense branch beside frameworks of mmpretrain: what is added, and that the framework stays what it was."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MessageHub
from small_runs import fitting
from tool_modules import load_tool

from histomm.functional import ViewGeometry
from histomm.models.dense_branch import DenseMaps
from histomm.models.weights import find_backbone
from histomm.registry import MODELS

STEPS = 10


@pytest.fixture(autouse=True)
def _loop_of_ten_steps():
    MessageHub.get_instance('ten_steps_of_byol').update_info('max_iters', STEPS)


def config_of(repo, name, **model):
    """Model config of a shipped one with narrow heads and a short queue."""
    config = Config.fromfile(str(repo / f'configs/{name}_r18_nct.py'))
    config.merge_from_dict(fitting(config, {}))
    config.merge_from_dict(dict(model=model))
    return config.model


def build(repo, name='plm/byol_plm', **model):
    torch.manual_seed(3)
    built = MODELS.build(config_of(repo, name, **model))
    built.init_weights()
    return built


def dense_without_target(repo, name):
    """The config of a framework without target network, with the branch of ``byol_plm``."""
    config = config_of(repo, name)
    framework = config.pop('type')
    branch = config_of(repo, 'plm/byol_plm').dense
    config.data_preprocessor.geometry = True
    return dict(config, type='histomm.WithDenseBranch', framework=framework, dense=branch)


def batch(size=4, pixels=64):
    """Two overlapping views of made-up images, all kinds of turns among them."""
    generator = torch.Generator().manual_seed(5)
    views, geometry = [], []
    for _ in range(2):
        corner = torch.rand(size, 2, generator=generator) * 30
        extent = 40 + torch.rand(size, 2, generator=generator) * 30
        views.append(torch.randn(size, 3, pixels, pixels, generator=generator))
        flips = torch.rand(2, size, generator=generator) < 0.5
        quarter_turns = torch.randint(0, 4, (size,), generator=generator)
        geometry.append(ViewGeometry(torch.cat([corner, corner + extent], 1), *flips, quarter_turns))
    return views, geometry


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def expected_dense_loss(model, views, geometry, target_backbone):
    """The branch on maps computed anew, for (query 1, key 2) and (query 2, key 1), at the first step of the target."""
    branch, backbone = deepcopy(model.dense), deepcopy(model.backbone)

    def maps(encoder, view):
        feature = encoder(view)[-1]
        return DenseMaps(branch.neck((feature,)), feature)

    queries = [maps(backbone, view) for view in views]
    with torch.no_grad():
        keys = [maps(target_backbone, view) for view in views]
    losses = [
        branch(queries[own], keys[other], [geometry[own], geometry[other]], branch.matchers)[0]
        for own, other in ((0, 1), (1, 0))
    ]
    return sum(losses) / 2, keys, branch


def test_loss_is_that_of_byol_and_of_the_branch_in_both_orders(repo):
    views, geometry = batch()
    model = build(repo, loss_lambda=0.25)
    plain = build(repo, 'byol/byol')
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith('dense')})
    expected, keys, _ = expected_dense_loss(model, views, geometry, deepcopy(model.backbone))
    pooled = [F.normalize(maps.projection.mean((2, 3)), dim=1) for maps in keys]
    losses = model(views, geometry=geometry, mode='loss')
    assert losses['loss'].item() == pytest.approx(0.75 * plain(views, mode='loss')['loss'].item(), rel=1e-6)
    assert losses['loss_dense'].item() == pytest.approx(0.25 * expected.item(), rel=1e-5)
    torch.testing.assert_close(model.dense.queue.rows[:8], torch.cat(pooled))
    assert int(model.dense.queue.pointer) == 8


def test_lambda_zero_is_byol_exactly(repo):
    views, geometry = batch()
    model, plain = build(repo, loss_lambda=0.0), build(repo, 'byol/byol')
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith('dense')})
    losses = model(views, geometry=geometry, mode='loss')
    assert losses['loss_dense'] == 0
    total(losses).backward()
    plain(views, mode='loss')['loss'].backward()
    own = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(own[name].grad, parameter.grad), name


def test_nothing_is_encoded_twice_and_nothing_is_left_behind(repo):
    views, geometry = batch()
    model = build(repo)
    calls = []
    for path in ('backbone', 'target_net.module.0', 'dense.neck', 'dense_target.module.dense_neck'):
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: calls.append(path))
    model(views, geometry=geometry, mode='loss')
    assert {path: calls.count(path) for path in calls} == dict.fromkeys(
        ('backbone', 'target_net.module.0', 'dense.neck', 'dense_target.module.dense_neck'), 2
    )
    assert len(model.backbone._forward_hooks) == 1, 'the branch has left a hook'
    maps = model(views[0])
    torch.testing.assert_close(maps, model.backbone(views[0]))


def test_gradients_reach_the_online_side_and_nothing_else(repo):
    views, geometry = batch()
    model = build(repo, loss_lambda=0.5)
    total(model(views, geometry=geometry, mode='loss')).backward()
    for name, parameter in model.named_parameters():
        if name.startswith(('target_net.', 'dense_target.')):
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_dense_key_side_follows_as_the_target_network_does(repo):
    """Two tensors that go the same way are trailed the same way by mmpretrain's average and by that of the branch."""
    views, geometry = batch()
    model = build(repo)
    pairs = [
        (model.neck.fc1.weight, model.target_net.module[1].fc1.weight),
        (model.dense.neck.mlp[2].bias, model.dense_target.module['dense_neck'].mlp[2].bias),
    ]
    for step in range(4):
        with torch.no_grad():
            for own, _ in pairs:
                own.fill_(float(step**2))
        model(views, geometry=geometry, mode='loss')
    theirs, ours = (trailing.flatten()[0].item() for _, trailing in pairs)
    assert 0 < theirs < 9
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize('name', ['simsiam/simsiam', 'barlowtwins/barlowtwins'])
def test_frameworks_without_target_take_the_other_view_without_gradient(repo, name):
    views, geometry = batch()
    torch.manual_seed(3)
    model = MODELS.build(dense_without_target(repo, name))
    expected, _, branch = expected_dense_loss(model, views, geometry, deepcopy(model.backbone))
    expected_gradient = torch.autograd.grad(0.5 * expected, branch.neck.mlp[2].weight)[0]
    losses = model(views, geometry=geometry, mode='loss')
    assert losses['loss_dense'].item() == pytest.approx(0.5 * expected.item(), rel=1e-5)
    losses['loss_dense'].backward()
    torch.testing.assert_close(model.dense.neck.mlp[2].weight.grad, expected_gradient)
    assert all(parameter.grad is None for parameter in model.dense_target.parameters())
    with torch.no_grad():
        model.dense.neck.mlp[0].weight.mul_(2)
    model(views, geometry=geometry, mode='loss')
    assert torch.equal(model.dense.neck.mlp[0].weight, model.dense_target.module['dense_neck'].mlp[0].weight)


def test_momentum_of_the_config_is_that_of_its_framework(repo):
    """mmpretrain counts momentum the other way round."""
    model = config_of(repo, 'plm/byol_plm')
    assert model.target_momentum == pytest.approx(1 - model.base_momentum)
    assert model.target_end_momentum == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(loss_lambda=1.5), 'loss_lambda is 1.5'),
        (dict(target_backbone='target_net.backbone'), "no module 'target_net.backbone'"),
        (dict(target_backbone=None), 'target_momentum is 0.99 without a target_backbone'),
        (dict(framework='mmpretrain.ResNet'), "framework is 'mmpretrain.ResNet'"),
        (dict(framework='mmpretrain.Missing'), "framework is 'mmpretrain.Missing'"),
    ],
)
def test_bad_options_are_named(repo, options, message):
    with pytest.raises(ValueError, match=message):
        build(repo, **options)


def test_missing_geometry_says_which_transforms_to_use(repo):
    with pytest.raises(ValueError, match='PackViews'):
        build(repo)(batch()[0], mode='loss')


def test_frameworks_that_join_the_views_are_refused(repo):
    """mmpretrain's SimCLR encodes both views as one batch."""
    config = dense_without_target(repo, 'barlowtwins/barlowtwins')
    head = dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'))
    model = MODELS.build(dict(config, framework='mmpretrain.SimCLR', head=head))
    views, geometry = batch()
    with pytest.raises(ValueError, match=r'backbones saw views \[\] and \[\] as they are'):
        model(views, geometry=geometry, mode='loss')


def test_the_online_backbone_is_exported_and_loads_into_the_detector(repo, tmp_path):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmdet.registry import MODELS as DETECTORS

    model = build(repo)
    with torch.no_grad():
        for parameter in model.target_net.parameters():
            parameter.add_(1)
    state = model.state_dict()
    assert find_backbone(state, 'model').prefix == 'backbone.'
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'epoch_1.pth')
    tool = load_tool('tools/model_converters/extract_backbone.py')
    assert not tool.main([str(tmp_path / 'epoch_1.pth'), '--out', str(tmp_path / 'out'), '--formats', 'openmmlab'])
    detector = Config.fromfile(str(repo / 'configs/glas/mask-rcnn_r18_fpn_glas.py')).model.backbone
    for checkpoint in (tmp_path / 'epoch_1.pth', tmp_path / 'out/backbone_openmmlab.pth'):
        init = dict(type='histomm.VerifiedPretrained', checkpoint=str(checkpoint))
        backbone = DETECTORS.build(dict(detector, type='mmdet.ResNet', init_cfg=init))
        backbone.init_weights()
        online = model.backbone.state_dict()
        loaded = backbone.state_dict()
        assert loaded.keys() == online.keys()
        assert all(torch.equal(loaded[name], online[name]) for name in online)
