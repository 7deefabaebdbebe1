"""ConCL against a step written out in loops, and what must hold of its parts."""

import itertools
import math
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from distributed import run_two_processes
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.registry import MODELS

TEMPERATURE = 0.2
PRECISE = dict(
    dense_neck=dict(type='histomm.DenseNeck', in_channels=16, hid_channels=12, out_channels=8),
    matchers=[dict(type='histomm.PreciseLocationMatcher')],
)


@MODELS.register_module(name='TwoStagesForTests')
class _TwoStages(nn.Module):
    """Of 64 pixels a stage of 8 × 8 cells to cluster, and one of 4 × 4 to average."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 8, 8), nn.BatchNorm2d(12), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(12, 16, 2, 2), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, images):
        stage = self.first(images)
        return stage, self.last(stage)


@MODELS.register_module(name='TwoPoolsForTests')
class _TwoPools(nn.Module):
    """Maps that turn with the image."""

    def forward(self, images):
        return F.avg_pool2d(images, 8), F.avg_pool2d(images, 16)


def neck(channels):
    return dict(type='mmpretrain.MoCoV2Neck', in_channels=channels, hid_channels=12, out_channels=8, with_avg_pool=True)


def build(kind='histomm.ConCL', **options):
    config = dict(
        type=kind,
        backbone=dict(type='histomm.TwoStagesForTests'),
        neck=neck(16),
        queue_len=48,
        feat_dim=8,
        temperature=TEMPERATURE,
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
    )
    if kind == 'histomm.ConCL':
        config.update(num_concepts=3, start_epoch=0)
    torch.manual_seed(3)
    model = MODELS.build(config | options)
    model.init_weights()
    return model


def batch(size=4):
    """Query, key and reference of made-up images: overlapping boxes, all kinds of turns, the reference around both."""
    generator = torch.Generator().manual_seed(5)
    images = [torch.randn(size, 3, 64, 64, generator=generator) for _ in range(3)]
    geometry = []
    for _ in range(2):
        corner = torch.randint(0, 40, (size, 2), generator=generator)
        extent = torch.randint(20, 60, (size, 2), generator=generator)
        flips = torch.rand(2, size, generator=generator) < 0.5
        turns = torch.randint(0, 4, (size,), generator=generator)
        geometry.append(ViewGeometry(torch.cat([corner, corner + extent], 1).float(), *flips, turns))
    box = torch.cat(
        [
            torch.minimum(*(view.box[:, :2] for view in geometry)),
            torch.maximum(*(view.box[:, 2:] for view in geometry)),
        ],
        1,
    )
    still = torch.zeros(2, size, dtype=torch.bool)
    return images, [*geometry, ViewGeometry(box, *still, torch.zeros(size, dtype=torch.long))]


def part(views, rows):
    images, geometry = views
    return [image[rows] for image in images], [
        ViewGeometry(g.box[rows], g.hflip[rows], g.vflip[rows], g.rot90[rows]) for g in geometry
    ]


# ---- a step in loops


def unit(vector):
    return vector / vector.norm().clamp(min=1e-12)


def naive_clusters(stage, num_concepts, iterations):
    """Labels (B, H, W) by the clustering of one image after another, with the draws that the model makes."""
    size, _, height, width = stage.shape
    cells = height * width
    starts = (torch.rand(size, num_concepts) * cells).long()
    rows = [[unit(row) for row in image.flatten(1).T] for image in stage]
    centroids = [[rows[i][int(start)] for start in starts[i]] for i in range(size)]
    for _ in range(iterations):
        spare = (torch.rand(num_concepts) * cells).long()
        labels = [
            [max(range(num_concepts), key=lambda k: (float(row @ own[k]), -k)) for row in image]
            for image, own in zip(rows, centroids, strict=True)
        ]
        for i in range(size):
            for k in range(num_concepts):
                members = [row for row, label in zip(rows[i], labels[i], strict=True) if label == k]
                centroids[i][k] = unit(sum(members) / len(members)) if members else rows[i][int(spare[k])]
    return torch.tensor(labels).view(size, height, width)


def view_labels(reference_map, num_concepts, reference, box, size, turns):
    """The label of each cell of a view, in the order of the view's own feature positions."""
    height, width = reference_map.shape
    (rx1, ry1, rx2, ry2), (x1, y1, x2, y2) = reference.tolist(), box.tolist()
    top, bottom = (round(height * (y - ry1) / (ry2 - ry1)) for y in (y1, y2))
    left, right = (round(width * (x - rx1) / (rx2 - rx1)) for x in (x1, x2))
    cut = reference_map[top:bottom, left:right]
    labels = torch.zeros(size, dtype=torch.long)
    for r in range(size[0]):
        for c in range(size[1]):
            rows = range(r * cut.shape[0] // size[0], math.ceil((r + 1) * cut.shape[0] / size[0]))
            cols = range(c * cut.shape[1] // size[1], math.ceil((c + 1) * cut.shape[1] / size[1]))
            votes = [int(cut[i, j]) for i in rows for j in cols]
            labels[r, c] = max(range(num_concepts), key=lambda k, votes=votes: (votes.count(k), -k))
    hflip, vflip, rot90 = turns
    labels = labels.flip(1) if hflip else labels
    labels = labels.flip(0) if vflip else labels
    return torch.rot90(labels, int(rot90), (0, 1))


def naive_concept_loss(model, images, geometry):
    """Loss, and unit key prototypes of the concepts that both views of an image show."""
    follower = model.key_encoder.module
    with torch.no_grad():
        stage = follower['backbone'](images[2])[0]
        reference_map = naive_clusters(stage, model.num_concepts, model.kmeans_iterations)
        key_map = follower['backbone'](images[1])[-1]
    query_map = model.backbone(images[0])[-1]
    losses, keys = [], []
    for i in range(len(key_map)):
        maps = []
        for view, feat in zip(geometry, (query_map, key_map), strict=False):
            turns = (view.hflip[i], view.vflip[i], view.rot90[i])
            place = (geometry[2].box[i], view.box[i], tuple(feat.shape[2:]), turns)
            maps.append(view_labels(reference_map[i], model.num_concepts, *place))
        for concept in range(model.num_concepts):
            masks = [labels == concept for labels in maps]
            if not (masks[0].any() and masks[1].any()):
                continue
            means = [feat[i][:, mask].mean(1) for feat, mask in zip((query_map, key_map), masks, strict=True)]
            necks = (model.neck, follower['neck'])
            q, k = (unit(own((mean[None, :, None, None],))[0][0]) for own, mean in zip(necks, means, strict=True))
            logits = torch.stack([q @ k.detach(), *(q @ row for row in model.concept_queue.rows)]) / TEMPERATURE
            losses.append(torch.logsumexp(logits, 0) - logits[0])
            keys.append(k.detach())
    return sum(losses) / len(losses), torch.stack(keys)


@pytest.mark.parametrize(('num_concepts', 'iterations'), [(1, 10), (3, 2), (5, 1), (6, 10)])
def test_a_step_equals_the_one_written_in_loops(num_concepts, iterations):
    images, geometry = batch()
    model = build(num_concepts=num_concepts, kmeans_iterations=iterations, concept_weight=0.4, momentum=1.0)
    model.key_encoder.update(model._student())
    for parameter in model.key_encoder.parameters():  # which is not the query encoder in a run either
        parameter.add_(0.1 * torch.randn_like(parameter))
    twin = deepcopy(model)
    torch.manual_seed(11)
    expected, keys = naive_concept_loss(twin, images, geometry)
    plain = build('histomm.DenseMoCo', momentum=1.0)
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.manual_seed(11)
    losses = model.loss(images, None, geometry)
    assert losses['loss_concept'].item() == pytest.approx(0.4 * expected.item(), rel=1e-5)
    assert losses['concepts'].item() == pytest.approx(len(keys) / 4)
    expected_global = plain.loss(images[:2])['loss_global']
    assert losses['loss_global'].item() == pytest.approx(0.6 * expected_global.item(), rel=1e-6)
    # all shared concepts were written, none of them more than once more than another
    written = model.concept_queue.rows[: 4 * num_concepts]
    which = (written @ keys.T).argmax(1)
    torch.testing.assert_close(written, keys[which])
    times = torch.bincount(which, minlength=len(keys))
    assert times.max() - times.min() <= 1
    assert int(model.concept_queue.pointer) == 4 * num_concepts
    expected.backward()
    losses['loss_concept'].backward()
    for (name, own), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if not name.startswith('key_encoder.'):
            torch.testing.assert_close(
                own.grad, 0.4 * other.grad, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text
            )


def test_matchers_add_their_share_and_take_it_from_the_rest():
    images, geometry = batch()
    both = build(concept_weight=0.25, loss_lambda=0.4, **PRECISE)
    alone, dense = build(concept_weight=0.25), build('histomm.DenseMoCo', loss_lambda=0.4, **PRECISE)
    for model in (alone, dense):
        model.load_state_dict(both.state_dict(), strict=False)
    torch.manual_seed(2)
    found = both.loss(images, None, geometry)
    torch.manual_seed(2)
    concl = alone.loss(images, None, geometry)
    plm = dense.loss(images[:2], None, geometry[:2])
    assert torch.equal(found['loss_dense'], plm['loss_dense'])
    assert torch.equal(found['overlap'], plm['overlap'])
    for name in ('loss_global', 'loss_concept'):
        torch.testing.assert_close(found[name], 0.6 * concl[name])
    assert both.dense.queue is not both.concept_queue


# ---- when concepts start


RUNS = itertools.count()


def _run(**info):
    """A new run that stands where ``info`` says."""
    MessageHub.get_instance(f'concl_{next(RUNS)}').update_info_dict(info)


def test_concepts_start_with_their_epoch():
    images, geometry = batch()
    model, plain = build(start_epoch=2), build('histomm.DenseMoCo')
    plain.load_state_dict(model.state_dict(), strict=False)
    before = model.concept_queue.rows.clone()
    for epoch in (0, 1):
        _run(epoch=epoch, max_epochs=5)
        losses = model.loss(images, None, geometry)
        assert list(losses) == ['loss_global']
        assert torch.equal(losses['loss_global'], plain.loss(images[:2])['loss_global'])
    assert torch.equal(model.concept_queue.rows, before)
    _run(epoch=2, max_epochs=5)
    losses = model.loss(images, None, geometry)
    assert losses['loss_global'] == 0
    assert losses['loss_concept'] > 0


def test_dense_matchers_are_active_before():
    images, geometry = batch()
    _run(epoch=0, max_epochs=5)
    losses = build(start_epoch=2, **PRECISE).loss(images, None, geometry)
    assert set(losses) == {'loss_global', 'loss_dense', 'overlap'}


def test_a_run_that_would_never_start_is_refused():
    images, geometry = batch()
    _run(epoch=0, max_epochs=3)
    with pytest.raises(ValueError, match='start after 3 epochs, found a run of 3'):
        build(start_epoch=3).loss(images, None, geometry)
    _run()
    with pytest.raises(ValueError, match=r'found no training loop; lower model\.start_epoch'):
        build(start_epoch=3).loss(images, None, geometry)


# ---- gradients


@pytest.mark.parametrize('matchers', [{}, PRECISE], ids=['alone', 'with M_pl'])
@pytest.mark.parametrize('weight', [0.0, 1.0])
def test_gradients_reach_the_query_encoder_and_nothing_else(matchers, weight):
    model = build(concept_weight=weight, **matchers)
    losses = model.loss(*(lambda views: (views[0], None, views[1]))(batch()))
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, parameter in model.named_parameters():
        if name.startswith('key_encoder.'):
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_without_a_shared_concept_the_loss_is_a_zero_that_can_be_differentiated(monkeypatch):
    images, geometry = batch()
    apart = [torch.zeros(4, 4, 4, dtype=torch.long), torch.ones(4, 4, 4, dtype=torch.long)]
    model = build()
    monkeypatch.setattr(model, '_label_maps', lambda *_: apart)
    with torch.no_grad():
        own = F.normalize(model.neck((deepcopy(model.backbone)(images[1])[-1],))[0], dim=1)
    losses = model.loss(images, None, geometry)
    assert losses['loss_concept'] == 0
    assert losses['concepts'] == 0
    (losses['loss_concept'] + losses['loss_global']).backward()
    for name, parameter in model.named_parameters():
        if not name.startswith('key_encoder.'):
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    # the queue still takes K an image: what the key views show, which is one concept of the whole view
    written = model.concept_queue.rows[:12]
    torch.testing.assert_close(written, own[(written @ own.T).argmax(1)])
    assert int(model.concept_queue.pointer) == 12


# ---- queue, randomness, turns


@pytest.mark.parametrize(('num_concepts', 'count'), [(2, 8), (8, 32), (9, 16), (12, 16)])
def test_as_many_concepts_are_written_in_each_step(num_concepts, count):
    images, geometry = batch()
    model = build(num_concepts=num_concepts, queue_len=100)
    before = model.concept_queue.rows.clone()
    model.loss(images, None, geometry)
    assert int(model.concept_queue.pointer) == count
    changed = (model.concept_queue.rows != before).any(1)
    assert changed.tolist() == [True] * count + [False] * (100 - count)


def test_a_queue_shorter_than_a_step_keeps_the_last(monkeypatch):
    images, geometry = batch()
    model = build(num_concepts=8, queue_len=5)
    written = []
    enqueue = model.concept_queue.enqueue
    monkeypatch.setattr(model.concept_queue, 'enqueue', lambda keys: (written.append(keys), enqueue(keys)))
    model.loss(images, None, geometry)
    assert len(written[0]) == 32
    held = {tuple(row) for row in model.concept_queue.rows.tolist()}
    assert held == {tuple(row) for row in written[0][-5:].tolist()}


def test_the_same_seed_gives_the_same_step():
    images, geometry = batch()
    found = []
    for seed in (1, 1, 2):
        model = build()
        torch.manual_seed(seed)
        found.append((model.loss(images, None, geometry)['loss_concept'], model.concept_queue.rows))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][1], found[2][1])


@pytest.mark.parametrize('view', [0, 1, 2])
def test_turning_a_view_changes_nothing_where_the_geometry_tells(view):
    images, geometry = batch()
    model = build(backbone=dict(type='histomm.TwoPoolsForTests'), neck=neck(3))
    generator = torch.Generator().manual_seed(8)
    flips, turns = torch.rand(2, 4, generator=generator) < 0.5, torch.tensor([1, 2, 3, 0])
    still = ViewGeometry(geometry[view].box, *torch.zeros(2, 4, dtype=torch.bool), torch.zeros(4, dtype=torch.long))
    turned = images[view].clone()
    for i in range(4):
        turned[i] = turned[i].flip(-1) if flips[0, i] else turned[i]
        turned[i] = turned[i].flip(-2) if flips[1, i] else turned[i]
        turned[i] = torch.rot90(turned[i], int(turns[i]), (-2, -1))
    losses = []
    for image, place in (
        (images[view], still),
        (turned, ViewGeometry(still.box, *flips, turns)),
        (turned, still),
    ):
        torch.manual_seed(4)
        places = [place if number == view else own for number, own in enumerate(geometry)]
        pictures = [image if number == view else own for number, own in enumerate(images)]
        losses.append(deepcopy(model).loss(pictures, None, places)['loss_concept'])
    torch.testing.assert_close(losses[1], losses[0])
    assert abs(losses[2] - losses[0]) > 1e-4


STAGES = {
    'stem': (dict(type='histomm.ResNetWithStem', out_indices=[3]), (64, 2)),
    'stage 1': (dict(out_indices=[0, 3]), (64, 4)),
    'stage 2': (dict(out_indices=[1, 3]), (128, 8)),
    'stage 3': ({}, (256, 16)),
    'stage 4': (dict(out_indices=[3]), (512, 32)),
}


@pytest.mark.parametrize(('backbone', 'expected'), STAGES.values(), ids=STAGES)
def test_every_stage_can_be_clustered(backbone, expected, repo, monkeypatch):
    config = Config.fromfile(repo / 'configs/concl/concl_r18_nct.py')
    config.merge_from_dict(dict(model=dict(backbone=backbone, queue_len=16, start_epoch=0)))
    model = MODELS.build(config.model)
    seen = []
    cluster = functional.spherical_kmeans
    monkeypatch.setattr(
        functional, 'spherical_kmeans', lambda rows, *a, **k: seen.append(rows) or cluster(rows, *a, **k)
    )
    images, geometry = part(batch(), slice(2))
    losses = model.loss(images, None, geometry)
    assert torch.isfinite(losses['loss_concept'])
    channels, stride = expected
    assert seen[0].shape == (2, (64 // stride) ** 2, channels)


# ---- two processes


def _distributed_step(rank):
    """One concept is the whole view, so what it must give is known from the global vectors of the same images."""
    images, geometry = batch(size=8)
    tint = torch.arange(8.0).view(-1, 1, 1, 1)  # so that images differ by more than noise
    views = [image + tint for image in images], geometry
    own = slice(4 * rank, 4 * rank + 4)
    images, geometry = part(views, own)
    errors = {}
    for unshuffle in (True, False):
        model = build(num_concepts=1, unshuffle_map=unshuffle)
        # fixed statistics make the encoding of an image independent of the others in its shuffled batch
        model.backbone.eval()
        model.key_encoder.module['backbone'].eval()
        negatives = model.concept_queue.rows.clone()
        torch.manual_seed(100)
        losses = model.loss(images, None, geometry)
        with torch.no_grad():
            query, key = (F.normalize(model._encode(model._student(), images[v])['global'], dim=1) for v in (0, 1))
            every = F.normalize(model._encode(model._student(), views[0][1])['global'], dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1) / TEMPERATURE
        expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
        errors[unshuffle] = abs(losses['loss_concept'].item() - expected.item())
        # each rank wrote the concepts of its own images, in any order; without un-shuffling, of any images
        which = (model.concept_queue.rows[:8] @ every.T).argmax(1)
        torch.testing.assert_close(model.concept_queue.rows[:8], every[which])
        halves = [set(which[:4].tolist()), set(which[4:].tolist())]
        assert (halves == [{0, 1, 2, 3}, {4, 5, 6, 7}]) == unshuffle
        rows = model.concept_queue.rows.clone()
        dist.broadcast(rows, src=0)
        assert torch.equal(rows, model.concept_queue.rows)
    assert errors[True] < 1e-5
    assert errors[False] > 0.01


def test_concepts_of_shuffled_keys_are_those_of_their_own_images():
    run_two_processes(_distributed_step)


# ---- wrong input


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(concept_weight=1.2), 'concept_weight is 1.2'),
        (dict(num_concepts=0), 'num_concepts is 0'),
        (dict(start_epoch=-1), 'start_epoch -1'),
        (dict(kmeans_iterations=0), '0, expected at least 1, 0 and 1'),
        (dict(unshuffle_map=False, **PRECISE), 'unshuffle_map=False is for the released ConCL alone'),
        (dict(loss_lambda=2.0), 'loss_lambda is 2.0'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_missing_views_say_what_to_do():
    images, geometry = batch()
    for count, places in ((2, geometry[:2]), (3, None), (3, geometry[:2])):
        with pytest.raises(ValueError, match=r'ConCL: found \d views and the geometry of \d.*BoundingCrop'):
            build().loss(images[:count], None, places)
