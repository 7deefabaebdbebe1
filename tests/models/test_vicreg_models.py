"""VICReg and VICRegL against steps written out in loops, on one process and on two."""

import math
from copy import deepcopy
from itertools import permutations

import pytest
import torch
import torch.distributed as dist
from distributed import run_two_processes
from torch import nn

from histomm.functional import ViewGeometry, canonicalize, vicreg_invariance
from histomm.models import DenseView, LocationMatcher, MapProjector, PreciseLocationMatcher
from histomm.registry import MODELS


@MODELS.register_module(name='SixteenthForTests')
class _Backbone(nn.Sequential):
    """One cell for 16 x 16 pixels."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 16, 16), nn.BatchNorm2d(12), nn.Tanh())

    def forward(self, images):
        return (super().forward(images),)


FEATURE = dict(type='histomm.FeatureMatcher', space='projection', metric='l2', both_directions=True)
LOCATION = dict(type='histomm.LocationMatcher', gamma=3)
MATCHERS = {
    'vicreg': dict(matchers=(), dense_neck=None),
    'vicregl': dict(matchers=[FEATURE, LOCATION]),
    'vicregl_cells': dict(matchers=[FEATURE, LOCATION], statistics='cells', covariance='sum'),
    'vicregl_multicrop': dict(matchers=[FEATURE, LOCATION], small_matchers=[FEATURE, dict(LOCATION, gamma=2)]),
    'plm': dict(matchers=[dict(type='histomm.PreciseLocationMatcher')]),
    'plm_cells': dict(matchers=[dict(type='histomm.PreciseLocationMatcher')], statistics='cells'),
    'plm_multicrop': dict(matchers=[dict(type='histomm.PreciseLocationMatcher')]),
}
NECK = dict(
    type='mmpretrain.NonLinearNeck',
    in_channels=12, hid_channels=10, out_channels=6, num_layers=3,
    with_bias=True, with_last_bn=False, norm_cfg=dict(type='BN1d'),
)  # fmt: skip
DENSE = dict(type='histomm.MapProjector', in_channels=12, hid_channels=9, out_channels=4)


def build(name='vicregl', **options):
    """A small model in float64, whose maps of 48 pixels are 3 x 3."""
    config = dict(
        type='histomm.VICReg',
        backbone=dict(type='histomm.SixteenthForTests'),
        neck=NECK,
        dense_neck=DENSE,
        covariance='mean',
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
    )
    torch.manual_seed(3)
    model = MODELS.build(config | MATCHERS[name] | options)
    model.init_weights()
    return model.double()


def batch(name='vicregl', size=4):
    """Views of made-up images with overlapping boxes and all kinds of turns; a third, small one for multi-crop."""
    generator = torch.Generator().manual_seed(5)
    views, geometry = [], []
    for pixels in (48, 48, 32) if 'multicrop' in name else (48, 48):
        corner = torch.rand(size, 2, generator=generator) * 30
        extent = pixels * (0.6 + 0.5 * torch.rand(size, 2, generator=generator))
        views.append(torch.randn(size, 3, pixels, pixels, generator=generator).double())
        geometry.append(
            ViewGeometry(
                torch.cat([corner, corner + extent], 1).double(),
                torch.rand(size, generator=generator) < 0.5,
                torch.rand(size, generator=generator) < 0.5,
                torch.randint(0, 4, (size,), generator=generator),
            )
        )
    return views, geometry


# ---- the criterion and the matching, written out


def spread(rows):
    """Variance and covariance of a list of vectors, channel by channel."""
    mean = sum(rows) / len(rows)
    centred = [row - mean for row in rows]
    channels, count = len(mean), len(rows) - 1
    variance = sum(
        torch.clamp(1 - torch.sqrt(sum(row[c] ** 2 for row in centred) / count + 1e-4), min=0) for c in range(channels)
    )
    covariance = sum((sum(r[c] * r[d] for r in centred) / count) ** 2 for c, d in permutations(range(channels), 2))
    return variance / channels, covariance / channels


def spread_of_images(images, statistics):
    """``images`` is a list over images of lists over places: each place apart, or all cells together."""
    if statistics == 'cells':
        return spread([row for image in images for row in image])
    values = [spread(list(rows)) for rows in zip(*images, strict=True)]
    return tuple(sum(value) / len(values) for value in zip(*values, strict=True))


def cells(feature_map, geometry, image):
    """(box, vector) of an image's cells, by their place in the source: from the top, then from the left."""
    side = feature_map.shape[-1]
    x1, y1, x2, y2 = geometry.box[image].tolist()
    w, h = (x2 - x1) / side, (y2 - y1) / side
    # the grid goes through what the view went through; then it lies over the map as seen
    grid = [[(y1 + r * h, x1 + c * w, y1 + (r + 1) * h, x1 + (c + 1) * w) for c in range(side)] for r in range(side)]
    if geometry.hflip[image]:
        grid = [row[::-1] for row in grid]
    if geometry.vflip[image]:
        grid = grid[::-1]
    for _ in range(int(geometry.rot90[image])):
        grid = [[row[c] for row in grid] for c in range(side - 1, -1, -1)]
    pairs = [(grid[r][c], feature_map[image, :, r, c]) for r in range(side) for c in range(side)]
    return sorted(pairs, key=lambda pair: (round(pair[0][0], 6), round(pair[0][1], 6)))


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def shared(a, b):
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def nearest(own, other, distance, gamma):
    """Pairs of vectors: each own cell with the nearest other, of which the ``gamma`` nearest are kept, by place."""
    found = []
    for i, (box, vector) in enumerate(own):
        far = [distance(box, vector, *cell) for cell in other]
        found.append((min(far), i, far.index(min(far))))
    kept = sorted(sorted(found)[:gamma], key=lambda pair: pair[1])
    return [(own[i][1], other[j][1]) for _, i, j in kept]


def by_feature(box_a, a, box_b, b):
    return math.dist(a.tolist(), b.tolist())


def by_location(box_a, a, box_b, b):
    return math.dist(middle(box_a), middle(box_b))


def naive_nearest_terms(view_a, view_b, distance, gammas, model):
    """One matcher of VICRegL on one pair of views: mean of both directions."""
    total = [0.0, 0.0, 0.0]
    for (own, other), gamma in zip(((view_a, view_b), (view_b, view_a)), gammas, strict=True):
        pairs = [nearest(*images, distance, gamma) for images in zip(own, other, strict=True)]
        errors = [((a - b) ** 2).mean() for image in pairs for a, b in image]
        sides = [
            spread_of_images([[pair[side] for pair in image] for image in pairs], model.statistics) for side in (0, 1)
        ]
        times = 1 if model.covariance == 'sum' else 0.5
        total[0] += sum(errors) / len(errors) / 2
        total[1] += (sides[0][0] + sides[1][0]) / 2 / 2
        total[2] += (sides[0][1] + sides[1][1]) * times / 2
    return total


def naive_precise_terms(view_a, view_b, model):
    """M_pl on one pair of views."""
    errors, weights = 0.0, 0.0
    for own, other in [*zip(view_a, view_b, strict=True), *zip(view_b, view_a, strict=True)]:
        for box, vector in own:
            areas = [shared(box, cell) for cell, _ in other]
            if sum(areas):
                target = sum(area * cell for area, (_, cell) in zip(areas, other, strict=True)) / sum(areas)
                weight = sum(areas) / shared(box, box)
                errors, weights = errors + weight * ((vector - target) ** 2).mean(), weights + weight
    sides = [spread_of_images([[v for _, v in image] for image in view], model.statistics) for view in (view_a, view_b)]
    times = 1 if model.covariance == 'sum' else 0.5
    return [errors / weights, (sides[0][0] + sides[1][0]) / 2, (sides[0][1] + sides[1][1]) * times]


def naive_step(model, views, geometry, name):
    """Loss of a step, global and local, unweighted by α."""
    feats = [model.backbone(view) for view in views]
    vectors = [model.neck(feat)[0] for feat in feats]
    # every ordered pair of a large view and another
    pairs = [(i, j) for i in (0, 1) for j in range(len(views)) if i != j]
    spreads = [spread(list(rows)) for rows in vectors]
    times = len(views) if model.covariance == 'sum' else 1
    loss_global = (
        25 * sum(((vectors[i] - vectors[j]) ** 2).mean() for i, j in pairs) / len(pairs)
        + 25 * sum(value[0] for value in spreads) / len(views)
        + times * sum(value[1] for value in spreads) / len(views)
    )
    if model.dense_neck is None:
        return loss_global, None
    maps = [model.dense_neck(feat) for feat in feats]
    placed = [
        [cells(feature_map, place, image) for image in range(len(feature_map))]
        for feature_map, place in zip(maps, geometry, strict=True)
    ]
    loss_local = 0.0
    for i, j in pairs:
        if name.startswith('plm'):
            sets = [naive_precise_terms(placed[i], placed[j], model)]
        else:
            gammas = 3, 3 if j < 2 else 2
            sets = [
                naive_nearest_terms(placed[i], placed[j], by_feature, (None, None), model),
                naive_nearest_terms(placed[i], placed[j], by_location, gammas, model),
            ]
        loss_local = loss_local + sum(25 * s + 25 * v + c for s, v, c in sets) / len(pairs)
    return loss_global, loss_local


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('name', MATCHERS)
def test_a_step_equals_the_one_written_in_loops(name):
    model, (views, geometry) = build(name), batch(name)
    twin = deepcopy(model)
    expected = naive_step(twin, views, geometry, name)
    losses = model.loss(views, None, geometry)
    if expected[1] is None:
        shares = [(losses['loss_global'], expected[0])]
    else:
        shares = [(losses['loss_global'], 0.75 * expected[0]), (losses['loss_local'], 0.25 * expected[1])]
    for found, wanted in shares:
        assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    sum(found for found, _ in shares).backward()
    sum(wanted for _, wanted in shares).backward()
    found, wanted = gradients(model), gradients(twin)
    assert found.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_terms_are_logged_without_weights():
    model, (views, geometry) = build('plm', weights=(2.0, 3.0, 5.0), alpha=0.5), batch()
    losses = model.loss(views, None, geometry)
    for criterion in ('global', 'local'):
        terms = [losses[f'{criterion}_{name}'] for name in ('invariance', 'variance', 'covariance')]
        total = sum(weight * term for weight, term in zip((2, 3, 5), terms, strict=True))
        assert losses[f'loss_{criterion}'].item() == pytest.approx(0.5 * total.item())
        assert not any(term.requires_grad for term in terms)
    assert 0 < losses['overlap'] < 1


# ---- what must hold of the parts


@pytest.mark.parametrize('name', ['vicregl', 'plm'])
@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_at_the_ends_of_alpha_every_parameter_gets_a_gradient(name, alpha):
    model, middle_model = build(name, alpha=alpha), build(name, alpha=0.5)
    views, geometry = batch()
    losses, half = model.loss(views, None, geometry), middle_model.loss(views, None, geometry)
    kept, gone = ('loss_global', 'loss_local') if alpha else ('loss_local', 'loss_global')
    assert losses[gone] == 0
    assert torch.equal(losses[kept], 2 * half[kept])
    (losses['loss_global'] + losses['loss_local']).backward()
    silent = ('neck.', 'dense_neck.')[int(alpha)]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.abs().sum() > 0) != key.startswith(silent), key


def _grads_of_views(name):
    model, (views, geometry) = build(name), batch()
    for part in (model.backbone, model.neck, model.dense_neck):
        part.eval()
    views = [view.requires_grad_() for view in views]
    losses = model.loss(views, None, geometry)
    losses['loss_local'].backward()
    return [view.grad.abs().sum().item() for view in views]


@pytest.mark.parametrize('name', ['vicregl', 'plm'])
def test_gradients_flow_into_both_views(name):
    assert all(grad > 0 for grad in _grads_of_views(name))


@pytest.mark.parametrize('name', ['vicregl', 'plm'])
def test_the_two_views_may_change_places(name):
    model, (views, geometry) = build(name), batch()
    forth = deepcopy(model).loss(views, None, geometry)
    back = deepcopy(model).loss(views[::-1], None, geometry[::-1])
    for key in ('loss_global', 'loss_local'):
        torch.testing.assert_close(forth[key], back[key])


@pytest.mark.parametrize('name', ['vicregl', 'plm'])
def test_a_turn_that_the_geometry_tells_changes_nothing(name):
    """The backbone maps each square of 16 pixels alone and alike, so a view is turned by turning its squares' order."""
    model, (views, geometry) = build(name), batch()
    box = geometry[1].box
    none = torch.zeros(len(box), dtype=torch.bool)
    still = ViewGeometry(box, none, none, torch.zeros(len(box), dtype=torch.int64))
    turned = views[1].unfold(2, 16, 16).unfold(3, 16, 16).clone()
    for i in range(len(turned)):
        for flip, axis in ((geometry[1].hflip, 2), (geometry[1].vflip, 1)):
            turned[i] = turned[i].flip(axis) if flip[i] else turned[i]
        turned[i] = torch.rot90(turned[i], int(geometry[1].rot90[i]), (1, 2))
    turned = turned.permute(0, 1, 2, 4, 3, 5).reshape(views[1].shape)
    reference = deepcopy(model).loss(views, None, [geometry[0], still])
    found = deepcopy(model).loss([views[0], turned], None, geometry)
    torch.testing.assert_close(found['loss_local'], reference['loss_local'])
    untold = deepcopy(model).loss([views[0], turned], None, [geometry[0], still])
    assert abs(untold['loss_local'] - reference['loss_local']) > 1e-4


def test_views_that_never_overlap_still_have_a_spread():
    model, (views, geometry) = build('plm'), batch()
    away = ViewGeometry(geometry[1].box + 1000, geometry[1].hflip, geometry[1].vflip, geometry[1].rot90)
    losses = model.loss(views, None, [geometry[0], away])
    assert losses['local_invariance'] == 0
    assert losses['local_variance'] > 0
    losses['loss_local'].backward()
    assert all(p.grad.isfinite().all() for p in model.dense_neck.parameters())


@pytest.mark.parametrize('name', ['vicreg', 'vicregl', 'plm'])
def test_one_image_gives_no_nan(name):
    model, (views, geometry) = build(name).eval(), batch(size=1)
    losses = model.loss(views, None, geometry)
    assert losses['global_variance'].item() == pytest.approx(0.99)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_autocast_touches_the_network_alone():
    model, (views, geometry) = build('plm').float(), batch()
    views = [view.float() for view in views]
    geometry = [ViewGeometry(g.box.float(), g.hflip, g.vflip, g.rot90) for g in geometry]
    exact = deepcopy(model).loss(views, None, geometry)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(views, None, geometry)
    for key in ('loss_global', 'loss_local'):
        assert losses[key].dtype == torch.float32
        assert losses[key].item() == pytest.approx(exact[key].item(), rel=0.02)


def test_map_projector_is_the_projector_of_each_cell():
    projector = MapProjector(5, 7, 3).eval()
    kinds = [type(layer).__name__ for layer in projector.mlp]
    assert kinds == ['Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d']
    assert [layer.bias is not None for layer in projector.mlp if isinstance(layer, nn.Conv2d)] == [True, True, False]
    feature_map = torch.randn(2, 5, 3, 4)
    found = projector((torch.zeros(1), feature_map))
    assert found.shape == (2, 3, 3, 4)
    for row, column in ((0, 0), (2, 1)):
        alone = projector((feature_map[:, :, row : row + 1, column : column + 1],))
        torch.testing.assert_close(found[:, :, row, column], alone[:, :, 0, 0])
    with pytest.raises(ValueError, match='num_layers is 0'):
        MapProjector(5, 7, 3, num_layers=0)


# ---- numbers worked out by hand

YES, NO, STILL = torch.tensor([True]), torch.tensor([False]), torch.tensor([0])


def _flipped(values):
    """(1, C, 2, 2) map of a view that was flipped left-right, from the rows of its cells as seen, turned back."""
    seen = torch.tensor(values).t().reshape(1, -1, 2, 2)
    return canonicalize(seen, YES, NO, STILL)


def test_invariance_of_precise_matches_worked_out_by_hand():
    """Query cell 2 shares half of itself with key cell 1 as seen, query cell 3 lies in key cells 0 and 1.

    Weights 1/2 and 1: targets (2, 0) and (1.5, .5) of (0, 2) and (−1, 1), errors 4 and 3.25. The other way key
    cell 0 is covered by half, key cell 1 in full: targets (−1, 1) and (−.5, 1.5) of (1, 1) and (2, 0), errors 2 and
    4.25. Together (2 + 3.25 + 1 + 4.25) / 3.
    """
    query = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 2.0], [-1.0, 1.0]]).t().reshape(1, 2, 2, 2)
    key = _flipped([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    views = (
        DenseView(query, query, torch.tensor([[0.0, 0.0, 0.5, 0.5]])),
        DenseView(key, key, torch.tensor([[0.125, 0.25, 0.625, 0.75]])),
    )
    anchor, positive, weight = PreciseLocationMatcher()(*views)
    errors = (anchor - positive).square().mean(1)
    # the key's cells are read right to left within their rows, as they lie in the source
    torch.testing.assert_close(errors, torch.tensor([0.5, 0.5, 4, 3.25, 4.25, 2, 0.5, 0.5]))
    assert vicreg_invariance(anchor, positive, weight).item() == pytest.approx(3.5)


def test_locations_worked_out_by_hand():
    """A crop of 4 x 4 at the origin, and one 4 high and 6 wide from row 2, column 1 on, flipped.

    The centres of the first lie at (1, 1) to (3, 3); the nearest of the second is always that of its upper left cell
    in the source, (3, 2.5) as (row, column), which is cell 1 as seen. Distances: 2.5, 2.061553, 1.5 and .5.
    """
    own = torch.arange(4.0).view(1, 1, 2, 2)
    other = _flipped([[10.0], [11.0], [12.0], [13.0]])
    views = (
        DenseView(own, own, torch.tensor([[0.0, 0.0, 4.0, 4.0]])),
        DenseView(other, other, torch.tensor([[1.0, 2.0, 7.0, 6.0]])),
    )
    anchor, positive, _ = LocationMatcher(gamma=2).align(*views)
    assert anchor.flatten().tolist() == [2, 3]
    assert positive.flatten().tolist() == [11, 11]
    assert LocationMatcher(gamma=None).align(*views).positive.flatten().tolist() == [11] * 4


# ---- several processes


def _equals_one_process(rank):
    """Loss and gradients of two processes with half the batch each are those of one with the whole of it."""
    for name in MATCHERS:
        whole, half = build(name).eval(), build(name).eval()
        views, geometry = batch(name)
        own = slice(2 * rank, 2 * rank + 2)
        places = [ViewGeometry(g.box[own], g.hflip[own], g.vflip[own], g.rot90[own]) for g in geometry]
        losses = half.loss([view[own] for view in views], None, places)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('histomm.models.gather.get_world_size', lambda: 1)
            expected = whole.loss(views, None, geometry)
        torch.testing.assert_close(losses, expected)
        for found in (losses, expected):
            sum(value for key, value in found.items() if 'loss' in key).backward()
        for parameter, reference in zip(half.parameters(), whole.parameters(), strict=True):
            dist.all_reduce(parameter.grad)  # the mean over processes, as DDP takes it
            torch.testing.assert_close(parameter.grad / 2, reference.grad)


def test_two_processes_equal_one():
    run_two_processes(_equals_one_process)


# ---- bad input


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(alpha=1.5), 'alpha is 1.5'),
        (dict(num_large=0), 'num_large 0'),
        (dict(weights=(25.0, 25.0)), r'weights \(25.0, 25.0\)'),
        (dict(covariance='max'), "covariance is 'max'"),
        (dict(statistics='rows'), "statistics 'rows'"),
        (dict(dense_neck=None), 'found 2 matchers and dense_neck=None'),
        (dict(small_matchers=[LOCATION]), r"small_matchers are \['LocationMatcher'\]"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_missing_geometry_says_which_transforms_to_use():
    views, geometry = batch()
    for places in (None, geometry[:1]):
        with pytest.raises(ValueError, match=r'geometry of 2 views, found that of [01];.*PackViews'):
            build().loss(views, None, places)


def test_too_few_views_are_named():
    views, geometry = batch()
    with pytest.raises(ValueError, match='found 1 views, expected at least 2'):
        build().loss(views[:1], None, geometry[:1])


def test_features_are_handed_out_without_views():
    model, images = build().eval(), torch.randn(2, 3, 48, 48).double()
    (found,) = model(images)
    torch.testing.assert_close(found, model.backbone(images)[0])
