"""DenseMoCo against a step written out in loops, and what must hold of its parts."""

from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from distributed import run_two_processes
from mmpretrain.models.utils import batch_shuffle_ddp, batch_unshuffle_ddp

from histomm.functional import ViewGeometry
from histomm.models.shuffle import shuffle_rows, unshuffle_rows
from histomm.registry import MODELS

TEMPERATURE = 0.2


def build(matchers=({'type': 'histomm.PreciseLocationMatcher'},), **options):
    """A small DenseMoCo whose last map is 4 x 4 for 64 pixels."""
    config = dict(
        type='histomm.DenseMoCo',
        backbone=dict(type='histomm.BackboneForTests'),
        neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=32, hid_channels=16, out_channels=8, with_avg_pool=True),
        dense_neck=dict(type='histomm.DenseNeck', in_channels=32, hid_channels=16, out_channels=8),
        matchers=list(matchers),
        queue_len=24,
        feat_dim=8,
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
        temperature=TEMPERATURE,
    )
    if not matchers:
        del config['dense_neck']
    torch.manual_seed(3)
    model = MODELS.build(config | options)
    model.init_weights()
    return model


def batch(size=4, pixels=64):
    """Two views of made-up images with overlapping boxes and all kinds of turns."""
    generator = torch.Generator().manual_seed(5)
    views, geometry = [], []
    for _ in range(2):
        corner = torch.rand(size, 2, generator=generator) * 30
        extent = 40 + torch.rand(size, 2, generator=generator) * 30
        views.append(torch.randn(size, 3, pixels, pixels, generator=generator))
        geometry.append(
            ViewGeometry(
                torch.cat([corner, corner + extent], 1),
                torch.rand(size, generator=generator) < 0.5,
                torch.rand(size, generator=generator) < 0.5,
                torch.randint(0, 4, (size,), generator=generator),
            )
        )
    return views, geometry


def cell_boxes(geometry, image, side):
    """Boxes of one image's cells in the order of the *view's* feature positions, as the paper orders them."""
    x1, y1, x2, y2 = geometry.box[image].tolist()
    grid = [
        [
            (x1 + c * (x2 - x1) / side, y1 + r * (y2 - y1) / side, (x2 - x1) / side, (y2 - y1) / side)
            for c in range(side)
        ]
        for r in range(side)
    ]
    if geometry.hflip[image]:
        grid = [row[::-1] for row in grid]
    if geometry.vflip[image]:
        grid = grid[::-1]
    for _ in range(int(geometry.rot90[image])):
        # a counter-clockwise quarter turn: the last column becomes the first row
        grid = [[row[c] for row in grid] for c in range(side - 1, -1, -1)]
    return [cell for row in grid for cell in row]


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def info_nce_row(anchor, positive, negatives):
    logits = torch.stack([anchor @ positive, *(anchor @ n for n in negatives)]) / TEMPERATURE
    return torch.logsumexp(logits, 0) - logits[0]


def unit(vector):
    return vector / max(float(vector.detach().norm()), 1e-12)


def naive_plm(model, views, geometry):
    """Eqs. 3-14, cell by cell, in the order of the views' own feature positions."""
    maps = []
    for view in views:
        feats = model.backbone(view)
        maps.append((model.neck(feats)[0], model.dense.neck(feats)))
    (global_q, dense_q), (global_k, dense_k) = maps
    global_k, dense_k = global_k.detach(), dense_k.detach()
    size, side = len(global_q), dense_q.shape[-1]
    loss_global = sum(info_nce_row(unit(global_q[i]), unit(global_k[i]), model.queue.rows) for i in range(size)) / size
    total, weights = 0.0, 0.0
    for image in range(size):
        boxes_q, boxes_k = (cell_boxes(g, image, side) for g in geometry)
        rows_q, rows_k = (d[image].flatten(1).t() for d in (dense_q, dense_k))
        matrix = torch.tensor([[overlap(a, b) for b in boxes_k] for a in boxes_q])
        for i, box in enumerate(boxes_q):
            weight = matrix[i].sum() / (box[2] * box[3])
            total = total + weight * info_nce_row(unit(rows_q[i]), unit(matrix[i] @ rows_k), model.dense.queue.rows)
            weights += weight
        for j, box in enumerate(boxes_k):
            weight = matrix[:, j].sum() / (box[2] * box[3])
            aggregated = matrix[:, j] @ rows_q
            total = total + weight * info_nce_row(unit(aggregated), unit(rows_k[j]), model.dense.queue.rows)
            weights += weight
    return loss_global, total / weights


def test_a_step_equals_the_one_written_in_loops():
    model = build()
    views, geometry = batch()
    expected_global, expected_dense = naive_plm(deepcopy(model), views, geometry)
    losses = model.loss(views, None, geometry)
    assert losses['loss_global'].item() == pytest.approx(0.5 * expected_global.item(), rel=1e-5)
    assert losses['loss_dense'].item() == pytest.approx(0.5 * expected_dense.item(), rel=1e-4)


def test_what_is_enqueued():
    model = build()
    views, geometry = batch()
    with torch.no_grad():
        feats = deepcopy(model.backbone)(views[1])
        keys = F.normalize(model.neck(feats)[0], dim=1)
        pooled = F.normalize(model.dense.neck(feats).flatten(2).mean(2), dim=1)
    model.loss(views, None, geometry)
    torch.testing.assert_close(model.queue.rows[:4], keys)
    torch.testing.assert_close(model.dense.queue.rows[:4], pooled)
    assert int(model.queue.pointer) == int(model.dense.queue.pointer) == 4


def _gradients(model, losses):
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return {name: p.grad.clone() for name, p in model.backbone.named_parameters()}


def test_lambda_zero_is_moco_exactly():
    views, geometry = batch()
    dense, plain = build(loss_lambda=0.0), build(matchers=())
    plain.load_state_dict(dense.state_dict(), strict=False)
    dense_losses, plain_losses = dense.loss(views, None, geometry), plain.loss(views, None)
    assert dense_losses['loss_dense'] == 0
    assert torch.equal(dense_losses['loss_global'], plain_losses['loss_global'])
    ours, theirs = _gradients(dense, dense_losses), _gradients(plain, plain_losses)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_lambda_one_is_the_dense_branch_exactly():
    views, geometry = batch()
    half, one = build(loss_lambda=0.5), build(loss_lambda=1.0)
    one.load_state_dict(half.state_dict())
    dense_of_half, losses = half.loss(views, None, geometry)['loss_dense'], one.loss(views, None, geometry)
    assert losses['loss_global'] == 0
    assert torch.equal(losses['loss_dense'], 2 * dense_of_half)


MATCHER_SETS = {
    'none': [],
    'densecl': [dict(type='histomm.FeatureMatcher')],
    'vicregl': [
        dict(type='histomm.FeatureMatcher', both_directions=True),
        dict(type='histomm.LocationMatcher', gamma=3),
    ],
    'plm': [dict(type='histomm.PreciseLocationMatcher')],
    'plm_repo': [dict(type='histomm.PreciseLocationMatcher', match_linear=True, channels=8)],
}


@pytest.mark.parametrize('matchers', MATCHER_SETS.values(), ids=MATCHER_SETS)
def test_gradients_reach_the_query_encoder_and_nothing_else(matchers):
    model = build(matchers)
    views, geometry = batch()
    losses = model.loss(views, None, geometry)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, parameter in model.named_parameters():
        if name.startswith('key_encoder.'):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_losses_of_several_matchers_are_averaged():
    views, geometry = batch()
    both = build(MATCHER_SETS['vicregl'])
    state = both.state_dict()
    alone = []
    for matcher in MATCHER_SETS['vicregl']:
        model = build([matcher])
        model.load_state_dict(state)
        alone.append(model.loss(views, None, geometry)['loss_dense'].item())
    assert both.loss(views, None, geometry)['loss_dense'].item() == pytest.approx(sum(alone) / 2, rel=1e-6)


def test_mean_weighting_scales_by_the_mean_weight():
    views, geometry = batch()
    by_sum, by_mean = build(), build(weight_norm='mean')
    by_mean.load_state_dict(by_sum.state_dict())
    found, expected = by_mean.loss(views, None, geometry), by_sum.loss(views, None, geometry)
    assert found['loss_dense'].item() == pytest.approx((expected['loss_dense'] * expected['overlap']).item(), rel=1e-5)


def test_views_that_never_overlap_give_a_zero_that_can_be_differentiated():
    views, geometry = batch()
    away = ViewGeometry(geometry[1].box + 1000, geometry[1].hflip, geometry[1].vflip, geometry[1].rot90)
    model = build(loss_lambda=1.0)
    losses = model.loss(views, None, [geometry[0], away])
    assert losses['loss_dense'] == 0
    losses['loss_dense'].backward()
    assert all(
        torch.equal(p.grad, torch.zeros_like(p)) for n, p in model.dense.neck.named_parameters() if p.grad is not None
    )


def test_turning_a_view_of_the_image_changes_nothing_the_geometry_tells():
    """Feature maps of a 1 x 1-kernel backbone turn with the image, so a told turn must leave the loss alone."""
    views, geometry = batch()
    model = build(backbone=dict(type='histomm.PoolForTests'), neck=_NECK, dense_neck=_DENSE)
    still = ViewGeometry(
        geometry[1].box,
        *(torch.zeros_like(v) for v in (geometry[1].hflip, geometry[1].vflip)),
        torch.zeros_like(geometry[1].rot90),
    )
    reference = deepcopy(model).loss(views, None, [geometry[0], still])['loss_dense']
    turned = views[1].clone()
    for i in range(len(turned)):
        if geometry[1].hflip[i]:
            turned[i] = turned[i].flip(-1)
        if geometry[1].vflip[i]:
            turned[i] = turned[i].flip(-2)
        turned[i] = torch.rot90(turned[i], int(geometry[1].rot90[i]), (-2, -1))
    found = deepcopy(model).loss([views[0], turned], None, geometry)['loss_dense']
    torch.testing.assert_close(found, reference)


_NECK = dict(type='mmpretrain.MoCoV2Neck', in_channels=3, hid_channels=16, out_channels=8, with_avg_pool=True)
_DENSE = dict(type='histomm.DenseNeck', in_channels=3, hid_channels=16, out_channels=8)


@MODELS.register_module(name='BackboneForTests')
class _Backbone(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 32, 16, 16), torch.nn.BatchNorm2d(32), torch.nn.ReLU())

    def forward(self, images):
        return (super().forward(images),)


@MODELS.register_module(name='PoolForTests')
class _Pool(torch.nn.Module):
    def forward(self, images):
        return (F.avg_pool2d(images, images.shape[-1] // 4),)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(loss_lambda=1.5), 'loss_lambda is 1.5'),
        (dict(weight_norm='max'), "weight_norm is 'max'"),
        (dict(dense_neck=None), 'found 1 matchers and dense_neck=None'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_missing_geometry_says_which_transforms_to_use():
    views, _ = batch()
    with pytest.raises(ValueError, match='PackViews'):
        build().loss(views)


def test_wrong_number_of_views_is_named():
    views, geometry = batch()
    with pytest.raises(ValueError, match='found 3 views'):
        build().loss([*views, views[0]], None, geometry)


def _distributed_step(rank):
    """Keys come back in their own order, and both ranks hold the same queue: all keys in rank order."""
    model = build(matchers=MATCHER_SETS['plm'])
    # fixed statistics make the encoding of an image independent of the others in its shuffled batch
    model.backbone.eval()
    model.key_encoder.module['backbone'].eval()
    views, geometry = batch(size=8)
    own = slice(4 * rank, 4 * rank + 4)
    mine = [view[own] for view in views]
    places = [ViewGeometry(g.box[own], g.hflip[own], g.vflip[own], g.rot90[own]) for g in geometry]
    torch.manual_seed(100 + rank)
    model.loss(mine, None, places)
    with torch.no_grad():
        encoded = model._encode(model.key_encoder.module, views[1])
    torch.testing.assert_close(model.queue.rows[:8], F.normalize(encoded['global'], dim=1))
    pooled = F.normalize(encoded['dense'].mean((2, 3)), dim=1)
    torch.testing.assert_close(model.dense.queue.rows[:8], pooled)
    with torch.no_grad():
        shuffled = model._encode_shuffled(views[1][own])
    for name, value in shuffled.items():
        torch.testing.assert_close(value, encoded[name][own])
    rows = model.queue.rows.clone()
    dist.broadcast(rows, src=0)
    assert torch.equal(rows, model.queue.rows)
    _shuffle_equals_choosing_from_all(rank)


def _shuffle_equals_choosing_from_all(rank):
    """Sent to where they go, rows are those chosen from the rows of all processes, in any layout."""
    for size, layout in ((1, torch.contiguous_format), (5, torch.contiguous_format), (4, torch.channels_last)):
        images = torch.rand(size, 3, 2, 4).contiguous(memory_format=layout)
        found = []
        for shuffle, unshuffle in ((shuffle_rows, unshuffle_rows), (batch_shuffle_ddp, batch_unshuffle_ddp)):
            torch.manual_seed(size + rank)
            shuffled, order = shuffle(images)
            codes = shuffled.flatten(1)[:, ::2]
            found.append((shuffled, unshuffle(codes, order)))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])
        assert torch.equal(found[0][1], images.flatten(1)[:, ::2])
        assert found[0][0].is_contiguous(memory_format=layout)


def test_shuffled_keys_return_in_order_on_two_processes():
    run_two_processes(_distributed_step)


def _statistics_are_shared(rank):
    """In train mode each rank's batch statistics come from a random share of both ranks' images."""
    images = torch.full((4, 3, 64, 64), 10.0 * rank) + torch.randn(4, 3, 64, 64) * 0.01
    variances = []
    for encode in ('_encode_shuffled', '_encode'):
        model = build(matchers=())
        torch.manual_seed(7)
        getattr(model, encode)(*(() if encode == '_encode_shuffled' else (model.key_encoder.module,)), images)
        variances.append(float(model.key_encoder.module['backbone'][1].running_var.mean()))
    # the ranks' images differ by a constant, so a mixed batch varies more than a rank's own
    assert variances[0] > 1.01 * variances[1]


def test_batch_statistics_of_keys_mix_both_processes():
    run_two_processes(_statistics_are_shared)
