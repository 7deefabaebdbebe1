"""Matchers against the specification's hand-checkable numbers and plain loops."""

import pytest
import torch
import torch.nn.functional as F

from histomm.functional import canonicalize, info_nce
from histomm.models import DenseView, FeatureMatcher, LocationMatcher, PreciseLocationMatcher

# Oracles O2 and O3: two views of which the key view is flipped, 2 x 2 cells, channels last.
BOX_Q = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
BOX_K = torch.tensor([[0.125, 0.25, 0.625, 0.75]])
ROWS_Q = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 2.0], [-1.0, 1.0]])
ROWS_K = torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
QUEUE = F.normalize(torch.tensor([[1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]]), dim=1)


def _map(rows):
    return rows.t().reshape(1, 2, 2, 2)


def _views():
    yes, no, zero = torch.tensor([True]), torch.tensor([False]), torch.tensor([0])
    query, key = _map(ROWS_Q), canonicalize(_map(ROWS_K), yes, no, zero)
    return DenseView(query, query, BOX_Q), DenseView(key, key, BOX_K)


def _loss(matches, reduction):
    return info_nce(
        F.normalize(matches.anchor, dim=1), F.normalize(matches.positive, dim=1), QUEUE, 0.2, matches.weight, reduction
    ).item()


@pytest.mark.parametrize(
    ('anchor', 'reduction', 'expected'),
    [
        ('query', 'weighted_mean', 1.348682),
        ('key', 'weighted_mean', 3.705486),
        ('query', 'mean', 0.505756),
        ('key', 'mean', 1.389557),
    ],
)
def test_precise_matching_gives_the_losses_of_o3(anchor, reduction, expected):
    matches = PreciseLocationMatcher(anchor=anchor)(*_views())
    assert _loss(matches, reduction) == pytest.approx(expected, abs=2e-6)


def test_precise_weights_are_those_of_o2():
    weight = PreciseLocationMatcher()(*_views()).weight
    # the key view is unflipped here, so w^k = (.5, 1, 0, 0) reads right to left within its rows
    torch.testing.assert_close(weight, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]))


def test_one_direction_keeps_query_rows_only():
    matches = PreciseLocationMatcher(both_directions=False)(*_views())
    torch.testing.assert_close(matches.anchor, ROWS_Q)
    assert matches.weight.tolist() == [0.0, 0.0, 0.5, 1.0]


def test_identity_linear_changes_nothing_and_bias_fills_empty_rows():
    matcher = PreciseLocationMatcher(match_linear=True, channels=2)
    torch.nn.init.eye_(matcher.linear.weight)
    torch.nn.init.zeros_(matcher.linear.bias)
    plain, linear = PreciseLocationMatcher()(*_views()), matcher(*_views())
    torch.testing.assert_close(linear.positive, plain.positive)
    torch.nn.init.constant_(matcher.linear.bias, 3.0)
    empty = matcher(*_views())
    assert empty.positive[0].tolist() == [3.0, 3.0]
    assert empty.weight[0] == 0


def test_the_key_twin_serves_what_the_key_view_holds():
    matcher, twin = (PreciseLocationMatcher(match_linear=True, channels=2) for _ in range(2))
    torch.nn.init.zeros_(matcher.linear.weight)
    torch.nn.init.zeros_(matcher.linear.bias)
    torch.nn.init.zeros_(twin.linear.weight)
    torch.nn.init.ones_(twin.linear.bias)
    matches = matcher(*_views(), twin)
    assert torch.equal(matches.positive[:4], torch.ones(4, 2))
    assert torch.equal(matches.anchor[4:], torch.zeros(4, 2))


def test_feature_matching_gives_o4():
    feature_q = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=1)
    feature_k = F.normalize(torch.tensor([[0.0, 1.0], [1.0, 0.2], [-1.0, 0.0]]), dim=1)
    dense_q = torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]])
    dense_k = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    query, key = (
        DenseView(d.t().reshape(1, 2, 1, 3), f.t().reshape(1, 2, 1, 3), torch.tensor([[0.0, 0.0, 3.0, 1.0]]))
        for d, f in ((dense_q, feature_q), (dense_k, feature_k))
    )
    matches = FeatureMatcher()(query, key)
    torch.testing.assert_close(matches.positive, dense_k[[1, 0, 1]])
    assert _loss(matches, 'weighted_mean') == pytest.approx(0.657467, abs=2e-6)


def test_feature_space_is_an_option():
    view_q = DenseView(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.ones(1, 2, 1, 2), torch.zeros(1, 4))
    view_k = DenseView(torch.tensor([[[[0.0, 2.0]], [[2.0, 0.0]]]]), torch.ones(1, 2, 1, 2), torch.zeros(1, 4))
    by_feature = FeatureMatcher('backbone')(view_q, view_k).positive
    by_projection = FeatureMatcher('projection')(view_q, view_k).positive
    # equal features tie, and the lowest index wins; projections tell the cells apart
    torch.testing.assert_close(by_feature, torch.tensor([[0.0, 2.0], [0.0, 2.0]]))
    torch.testing.assert_close(by_projection, torch.tensor([[2.0, 0.0], [0.0, 2.0]]))


def test_metric_is_an_option():
    view_q = DenseView(torch.tensor([[[[1.0]], [[0.0]]]]), torch.ones(1, 2, 1, 1), torch.zeros(1, 4))
    view_k = DenseView(torch.tensor([[[[9.0, 1.0]], [[0.0, 1.0]]]]), torch.ones(1, 2, 1, 2), torch.zeros(1, 4))
    by_cosine = FeatureMatcher('projection')(view_q, view_k).positive
    by_distance = FeatureMatcher('projection', metric='l2')(view_q, view_k).positive
    assert by_cosine.tolist() == [[9.0, 0.0]]
    assert by_distance.tolist() == [[1.0, 1.0]]


def _random_views(batch=3, size=(4, 5)):
    views = []
    for _ in range(2):
        corner, extent = torch.rand(batch, 2) * 20, torch.rand(batch, 2) * 30 + 5
        box = torch.cat([corner, corner + extent], 1)
        views.append(DenseView(torch.randn(batch, 6, *size), torch.randn(batch, 7, *size), box))
    return views


def _centres(box, size):
    x1, y1, x2, y2 = box.tolist()
    height, width = size
    return [
        (x1 + (c + 0.5) * (x2 - x1) / width, y1 + (r + 0.5) * (y2 - y1) / height)
        for r in range(height)
        for c in range(width)
    ]


@pytest.mark.parametrize('gamma', [1, 7, 20, None])
def test_location_matching_against_a_loop(gamma):
    query, key = _random_views()
    found = LocationMatcher(gamma=gamma)(query, key)
    anchors, positives = [], []
    for target, source, back in ((query, key, False), (key, query, True)):
        for image in range(3):
            own, other = _centres(target.box[image], target.size), _centres(source.box[image], source.size)
            pairs = []
            for i, (x, y) in enumerate(own):
                distance, j = min((((x - u) ** 2 + (y - v) ** 2) ** 0.5, j) for j, (u, v) in enumerate(other))
                pairs.append((distance, i, j))
            for _, i, j in sorted(pairs)[:gamma]:
                rows = target.rows()[image, i], source.rows()[image, j]
                anchors.append(rows[1] if back else rows[0])
                positives.append(rows[0] if back else rows[1])
    # compare as sets of pairs: the order within an image does not matter to any loss
    want = torch.cat([torch.stack(anchors), torch.stack(positives)], 1)
    have = torch.cat([found.anchor, found.positive], 1)
    assert sorted(have.tolist()) == sorted(want.tolist())
    assert torch.equal(found.weight, torch.ones(len(want)))


@pytest.mark.parametrize('metric', ['cosine', 'l2'])
@pytest.mark.parametrize('gamma', [1, 7, None])
def test_feature_matching_against_a_loop(metric, gamma):
    query, key = _random_views()
    found = FeatureMatcher('projection', metric=metric, gamma=gamma)(query, key)
    want = []
    for rows_q, rows_k in zip(query.rows().double(), key.rows().double(), strict=True):
        pairs = []
        for i, a in enumerate(rows_q):
            far = [(1 - torch.cosine_similarity(a, b, 0) if metric == 'cosine' else (a - b).norm()) for b in rows_k]
            j = min(range(len(far)), key=far.__getitem__)
            pairs.append((float(far[j]), i, j))
        # those that are kept stay in the order of the cells
        want += [torch.cat([rows_q[i], rows_k[j]]) for i, j in sorted(pair[1:] for pair in sorted(pairs)[:gamma])]
    assert torch.equal(torch.cat([found.anchor, found.positive], 1).double(), torch.stack(want))
    assert found.weight.tolist() == [1.0] * len(want)


@pytest.mark.parametrize(
    'matcher',
    [FeatureMatcher(both_directions=True), LocationMatcher(), PreciseLocationMatcher()],
    ids=lambda m: type(m),
)
def test_only_the_query_view_gets_a_gradient_through_anchors(matcher):
    query, key = _random_views()
    query.projection.requires_grad_()
    matches = matcher(query, key)
    matches.anchor.sum().backward()
    assert query.projection.grad.abs().sum() > 0
    assert not matches.positive.requires_grad


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: PreciseLocationMatcher(anchor='both'), "anchor is 'both'"),
        (lambda: PreciseLocationMatcher(match_linear=True), 'channels'),
        (lambda: LocationMatcher(gamma=0), 'gamma is 0'),
        (lambda: FeatureMatcher(space='pixels'), "space is 'pixels'"),
        (lambda: FeatureMatcher(metric='dot'), "metric is 'dot'"),
        (lambda: FeatureMatcher(gamma=0), 'gamma is 0'),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
