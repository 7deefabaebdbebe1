"""SimCLR against its loss written out, on one process and on two, and against mmpretrain's where that one is right."""

import pytest
import torch
import torch.distributed as dist
from distributed import run_two_processes
from mmengine.config import Config
from torch import nn

from histomm.functional import ViewGeometry
from histomm.registry import MODELS

PIXELS = dict(type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(1, 1, 1), geometry=False)


@MODELS.register_module(name='PooledForTests')
class _Backbone(nn.Module):
    """Features of each image by itself: no batch norm, so that processes cannot differ by it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 4, 4)

    def forward(self, images):
        return (self.conv(images).tanh(),)


def build(**options):
    config = dict(
        type='histomm.SimCLR',
        backbone=dict(type='histomm.PooledForTests'),
        neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=12, hid_channels=10, out_channels=6),
        temperature=0.2,
        data_preprocessor=PIXELS,
    )
    torch.manual_seed(3)
    model = MODELS.build(config | options)
    model.init_weights()
    return model.double()


def two_views(size=4):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(size, 3, 8, 8, generator=generator).double() for _ in range(2)]


def naive(model, views):
    """Chen et al. 2020, eq. 1, term by term."""
    rows = [row / row.norm() for view in views for row in model.neck(model.backbone(view))[0]]
    count, total = len(rows) // 2, 0
    for i, row in enumerate(rows):
        others = sum(torch.exp(row @ other / model.temperature) for j, other in enumerate(rows) if j != i)
        total = total - torch.log(torch.exp(row @ rows[(i + count) % len(rows)] / model.temperature) / others)
    return total / len(rows)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize('join_views', [True, False])
def test_loss_and_gradients_are_those_of_the_formula(join_views):
    model, views = build(join_views=join_views), two_views()
    found, expected = model.loss(views)['loss'], naive(model, views)
    torch.testing.assert_close(found, expected)
    expected = gradients(model, expected)
    for name, grad in gradients(model, found).items():
        torch.testing.assert_close(grad, expected[name], msg=name)
        assert grad.any(), name


def test_mmpretrains_loss_is_the_same_in_one_process():
    model, views = build(), two_views()
    head = dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2)
    other = MODELS.build(
        dict(type='mmpretrain.SimCLR', backbone=model.backbone, neck=model.neck, head=head, data_preprocessor=PIXELS)
    ).double()
    torch.testing.assert_close(model.loss(views)['loss'], other.loss(views, [])['loss'])


def test_views_are_joined_for_batch_norm():
    """Two views as one batch give batch norm one mean; one by one they give it two, and update it twice."""
    batches = {}
    for join_views in (True, False):
        model = build(join_views=join_views)
        seen = batches[join_views] = []
        model.backbone.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(len(args[0])))
        model.loss(two_views())
    assert batches == {True: [8], False: [4, 4]}


def _check_two_processes(rank):
    model, views = build(), two_views(6)
    expected = naive(model, views)
    wanted = gradients(model, expected)
    found = model.loss([view[3 * rank : 3 * rank + 3] for view in views])['loss']
    torch.testing.assert_close(found.detach(), expected.detach())
    for name, grad in gradients(model, found).items():
        dist.all_reduce(grad)  # what DDP does: the mean over processes
        torch.testing.assert_close(grad / 2, wanted[name], msg=name)


def test_two_processes_equal_one():
    run_two_processes(_check_two_processes)


def test_dense_branch_takes_views_one_by_one(repo):
    """SimCLR with precise location matching, by configuration alone."""
    config = Config.fromfile(str(repo / 'configs/simclr/simclr_r18_patches.py')).model
    config.update(
        type='histomm.WithDenseBranch',
        framework='histomm.SimCLR',
        join_views=False,
        dense=dict(
            neck=dict(type='histomm.DenseNeck', in_channels=512, hid_channels=16, out_channels=8),
            matchers=[dict(type='histomm.FeatureMatcher')],
            feat_dim=8,
            queue_len=16,
        ),
    )
    config.backbone.norm_cfg = dict(type='BN')
    upright = torch.zeros(2, dtype=torch.bool)
    places = [ViewGeometry(torch.tensor([[0.0, 0.0, 64.0, 64.0]] * 2), upright, upright, upright.long())] * 2
    views = [torch.randn(2, 3, 64, 64) for _ in range(2)]
    losses = MODELS.build(config)(views, geometry=places, mode='loss')
    assert {'loss', 'loss_dense'} <= losses.keys()


def test_head_is_the_published_one(repo):
    neck = MODELS.build(Config.fromfile(str(repo / 'configs/simclr/simclr_r18_patches.py')).model).neck
    shapes = [tuple(value.shape) for value in neck.state_dict().values()]
    assert shapes == [(512, 512), (512,), (128, 512), (128,)]
    rows = torch.randn(5, 512, 1, 1)
    first, last = neck.mlp[0], neck.mlp[2]
    expected = last(torch.relu(first(rows.flatten(1))))
    torch.testing.assert_close(neck((rows,))[0], expected)


@pytest.mark.parametrize(
    ('options', 'count', 'message'),
    [
        (dict(temperature=0), 2, 'SimCLR: temperature is 0, expected a number > 0'),
        ({}, 3, 'SimCLR: found 3 views, expected 2; set num=2'),
    ],
)
def test_wrong_arguments_are_named(options, count, message):
    with pytest.raises(ValueError, match=message):
        build(**options).loss(two_views()[:1] * count)
