"""Prototypes of slides and what regions follow, against loops over slides and regions, and scikit-learn."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional as F

from histomm.functional import (
    cluster_slides,
    member_means,
    nearest_elsewhere,
    prototype_neighbors,
    region_targets,
    slide_prototypes,
    spherical_kmeans,
)


def drawn(sizes, groups=3, channels=8, seed=0):
    """Regions of slides in mixed order: (N, C) around ``groups`` directions, the slide and the group of each."""
    generator = torch.Generator().manual_seed(seed)
    slide = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
    slide = slide[torch.randperm(len(slide), generator=generator)]
    group = torch.randint(groups, (len(slide),), generator=generator)
    noise = 0.03 * torch.randn(len(slide), channels, generator=generator)
    length = 1 + 9 * torch.rand(len(slide), 1, generator=generator)
    return (torch.eye(channels)[group] + noise) * length, slide, group


def same_partition(one, other):
    return torch.equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize('group', [1, 10**9])
def test_each_slide_is_clustered_by_itself(group, monkeypatch):
    """Padded together or alone, slides of 9 to 60 regions have the partitions that scikit-learn finds."""
    monkeypatch.setattr(slide_prototypes, 'GROUP', group)
    x, slide, truth = drawn([40, 9, 25, 2, 60, 0, 12])
    valid = torch.tensor([True, True, True, False, True, False, True])
    prototypes, labels = cluster_slides(x, slide, valid, 3, restarts=20, generator=torch.Generator().manual_seed(0))
    assert prototypes.shape == (7, 3, 8)
    for number in range(7):
        own = slide == number
        if not valid[number]:
            assert not prototypes[number].any()
            assert (labels[own] == -1).all()
            continue
        assert len(truth[own].unique()) == 3
        rows = F.normalize(x[own], dim=1)
        found = KMeans(3, n_init=10, random_state=0).fit(rows.numpy())
        assert same_partition(labels[own], torch.from_numpy(found.labels_).long())
        for cluster in range(3):
            mean = F.normalize(rows[labels[own] == cluster].mean(0), dim=0)
            torch.testing.assert_close(prototypes[number, cluster], mean)


def test_groups_bound_the_padding():
    sizes = torch.randint(0, 300, (500,), generator=torch.Generator().manual_seed(0))
    groups = slide_prototypes._groups(sizes, 64)
    assert sorted(torch.cat(groups).tolist()) == sizes.nonzero().squeeze(1).tolist()
    padded = sum(len(group) * int(sizes[group].max()) for group in groups)
    assert padded < 1.5 * int(sizes.sum())


def test_the_best_of_the_restarts_is_kept():
    """The sum of cosines never falls with more restarts, and is that of the best single one."""
    x = torch.randn(6, 30, 5, generator=torch.Generator().manual_seed(3))
    positions = torch.stack([torch.stack([torch.randperm(30)[:4] for _ in range(5)]) for _ in range(6)])

    def score(centroids, labels):
        own = centroids.gather(1, labels[..., None].expand(-1, -1, 5))
        return (F.normalize(x, dim=2) * own).sum((1, 2))

    single = [spherical_kmeans(x, None, 4, 3, positions[:, r], 'keep') for r in range(5)]
    best = spherical_kmeans(x, None, 4, 3, positions, 'keep', restarts=5)
    scores = torch.stack([score(*one) for one in single])
    torch.testing.assert_close(score(*best), scores.max(0).values)
    chosen = scores.argmax(0)
    for number in range(6):
        torch.testing.assert_close(best[0][number], single[chosen[number]][0][number])
        assert torch.equal(best[1][number], single[chosen[number]][1][number])
    assert len(set(chosen.tolist())) > 1


def test_an_empty_cluster_halves_the_largest():
    """Rows 0 to 5 lie in two bunches, row 6 far away; the clusters that start at row 0 part the bunches."""
    angles = torch.tensor([0.0, 0.1, 0.2, 0.9, 1.0, 1.1, 3.0])
    x = torch.stack([angles.cos(), angles.sin()], 1)[None]
    init = torch.tensor([[0, 6, 0]])  # the third cluster gets nothing: the first is as near
    once, labels = spherical_kmeans(x, None, 3, 1, init, 'split')
    middle = F.normalize(x[0, :6].mean(0), dim=0)
    torch.testing.assert_close(once[0, [0, 2]], middle.expand(2, -1), atol=1e-3, rtol=0)
    assert same_partition(labels[0], torch.tensor([0, 0, 0, 1, 1, 1, 2]))
    centroids, labels = spherical_kmeans(x, None, 3, 10, init, 'split')
    assert same_partition(labels[0], torch.tensor([0, 0, 0, 1, 1, 1, 2]))
    torch.testing.assert_close(centroids.norm(dim=2), torch.ones(1, 3))


def test_halving_moves_two_centroids_apart():
    """The n-th empty cluster halves the n-th largest of at least two rows; others stay."""
    from histomm.functional.kmeans import SPLIT, _halve

    centroids = F.normalize(torch.rand(1, 1, 5, 4) + 0.5, dim=3)
    counts = torch.tensor([[[0.0, 7.0, 1.0, 0.0, 0.0]]])
    found = _halve(centroids, counts)
    tilt = torch.tensor([1.0, -1, 1, -1]) * SPLIT
    torch.testing.assert_close(found[0, 0, 0], F.normalize(centroids[0, 0, 1] * (1 - tilt), dim=0))
    torch.testing.assert_close(found[0, 0, 1], F.normalize(centroids[0, 0, 1] * (1 + tilt), dim=0))
    assert torch.equal(found[0, 0, 2:], centroids[0, 0, 2:])


def test_blocks_do_not_change_the_clusters(monkeypatch):
    from histomm.functional import kmeans

    x = torch.randn(5, 33, 6, dtype=torch.float64)
    mask = torch.rand(5, 33) < 0.8
    expected = spherical_kmeans(x, mask, 4, 5, 'distinct', 'split', True, torch.Generator().manual_seed(2), 3)
    monkeypatch.setattr(kmeans, 'BLOCK', {'cpu': 40})
    found = spherical_kmeans(x, mask, 4, 5, 'distinct', 'split', True, torch.Generator().manual_seed(2), 3)
    torch.testing.assert_close(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_means_of_members():
    x, labels = torch.tensor([[1.0, 2], [3, 4], [5, 6], [100, 100]]), torch.tensor([2, 0, 2, -1])
    assert member_means(x, labels, 3).tolist() == [[3, 4], [0, 0], [3, 4]]


@pytest.mark.parametrize('match', ['assignment', 'argmax'])
@pytest.mark.parametrize('num', [0, 1, 2])
def test_what_regions_follow(match, num):
    """Written out: a region of prototype m follows, on the k-th neighbour, the prototype that belongs to m."""
    x, slide, _ = drawn([12, 9, 3, 11, 8])
    valid = torch.tensor([True, True, False, True, True])
    prototypes, labels = cluster_slides(x, slide, valid, 4)
    neighbors, order, _ = prototype_neighbors(prototypes, valid, num, match)
    own, others = region_targets(labels, slide, neighbors, order)
    rows = prototypes.flatten(0, 1)
    assert others.shape == (len(x), num)
    for region in range(len(x)):
        s = int(slide[region])
        if not valid[s]:
            assert own[region] == -1
            assert (others[region] == -1).all()
            continue
        nearest = (prototypes[s] @ F.normalize(x[region], dim=0)).argmax()
        assert torch.equal(rows[own[region]], prototypes[s, nearest])
        for k in range(num):
            neighbor = prototypes[neighbors[s, k]]
            if match == 'argmax':
                expected = neighbor[(neighbor @ prototypes[s, nearest]).argmax()]
            else:
                expected = neighbor[order[s, k, nearest]]
            assert torch.equal(rows[others[region, k]], expected)


@pytest.mark.parametrize('rows', [1, 10**6])
@pytest.mark.parametrize('num', [1, 3])
def test_nearest_regions_of_other_slides(rows, num, monkeypatch):
    monkeypatch.setattr(slide_prototypes, 'ROWS', rows)
    x, slide = torch.randn(14, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2, 1, 3, 3])
    valid = slide != 1
    found = nearest_elsewhere(x, slide, valid, num)
    assert found.shape == (14, num)
    for region in range(14):
        others = [o for o in range(14) if valid[o] and slide[o] != slide[region]]
        others.sort(key=lambda o, region=region: -float(F.cosine_similarity(x[region], x[o], dim=0)))
        assert found[region].tolist() == (others[:num] if valid[region] else [-1] * num)


def test_no_region_elsewhere():
    one = torch.zeros(4, dtype=torch.long)
    everything, nothing = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    assert nearest_elsewhere(torch.randn(4, 3), one, everything, 2).shape == (4, 0)
    assert nearest_elsewhere(torch.randn(4, 3), one, nothing, 2).shape == (4, 0)
    few = nearest_elsewhere(torch.randn(4, 3), torch.tensor([0, 0, 0, 1]), everything, 2)
    assert few[:3].tolist() == [[3, -1]] * 3  # a region of the first slide has a single one elsewhere
    assert set(few[3].tolist()) < {0, 1, 2}
    assert nearest_elsewhere(torch.randn(4, 3), torch.tensor([0, 0, 4, 4]), everything, 9).shape == (4, 2)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: cluster_slides(torch.zeros(3, 2), torch.zeros(2).long(), torch.ones(1).bool(), 1),
            r'x has shape \(3, 2\) and slide \(2,\), expected \(N, C\)',
        ),
        (lambda: nearest_elsewhere(torch.zeros(3, 2), torch.zeros(3).long(), torch.ones(3), 1), 'bool'),
        (
            lambda: nearest_elsewhere(torch.zeros(3, 2), torch.zeros(3).long(), torch.ones(3).bool(), -1),
            'num is -1',
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
