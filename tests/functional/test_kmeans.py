"""Spherical k-means against a loop over sets, rows and clusters, against scikit-learn and under padding."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional as F

from histomm.functional import spherical_kmeans


def naive(rows, starts, iterations, reassign):
    """One set, as the method is told: nearest centroid by cosine, centroids as normalised means, empty ones stay."""
    rows = [row / max(np.linalg.norm(row), 1e-12) for row in rows.double().numpy()]
    centroids = [rows[start] for start in starts]

    def assign():
        return [max(range(len(centroids)), key=lambda m: (row @ centroids[m], -m)) for row in rows]

    for _ in range(iterations):
        labels = assign()
        for m in range(len(centroids)):
            members = [row for row, label in zip(rows, labels, strict=True) if label == m]
            if members:
                mean = np.mean(members, axis=0)
                centroids[m] = mean / max(np.linalg.norm(mean), 1e-12)
    return torch.tensor(np.array(centroids)), torch.tensor(assign() if reassign else labels)


def padded(sizes, channels, seed=0):
    """Sets of given sizes, with NaN where there is no row, scattered over the positions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((len(sizes), max(sizes) + 3, channels), torch.nan)
    mask = torch.zeros(x.shape[:2], dtype=torch.bool)
    for number, size in enumerate(sizes):
        mask[number, torch.randperm(x.shape[1], generator=generator)[:size]] = True
        x[number, mask[number]] = torch.randn(size, channels, generator=generator)
    return x, mask


def test_four_points_worked_out_by_hand():
    x = torch.tensor([[[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]]])
    for iterations in (1, 2, 10):
        centroids, labels = spherical_kmeans(x, None, 2, iterations, torch.tensor([[0, 2]]))
        assert labels.tolist() == [[0, 0, 1, 1]]
        torch.testing.assert_close(
            centroids, torch.tensor([[[0.948683, 0.316228], [-0.316228, 0.948683]]]), atol=5e-7, rtol=0
        )


@pytest.mark.parametrize('reassign', [False, True])
@pytest.mark.parametrize('iterations', [1, 2, 7])
def test_equals_the_loop(iterations, reassign):
    x, mask = padded([1, 4, 5, 17, 30], 3)
    init = torch.stack([torch.where(row)[0][[0, -1, 0, -1]] for row in mask])
    centroids, labels = spherical_kmeans(x, mask, 4, iterations, init, 'keep', reassign)
    for number, real in enumerate(mask):
        starts = [int(real[:start].sum()) for start in init[number]]
        expected, assigned = naive(x[number, real], starts, iterations, reassign)
        torch.testing.assert_close(centroids[number].double(), expected, atol=1e-6, rtol=0)
        assert labels[number, real].tolist() == assigned.tolist()
        assert (labels[number, ~real] == -1).all()


def test_labels_of_before_the_last_update_can_differ_from_the_nearest_centroids():
    x = torch.randn(20, 30, 4)
    init = torch.arange(5).expand(20, -1)
    centroids, before = spherical_kmeans(x, None, 5, 1, init, reassign=False)
    again, after = spherical_kmeans(x, None, 5, 1, init, reassign=True)
    assert torch.equal(centroids, again)
    nearest = (F.normalize(x, dim=2) @ centroids.mT).argmax(2)
    assert torch.equal(after, nearest)
    assert not torch.equal(before, nearest)


@pytest.mark.parametrize('init', ['random', 'distinct', 'kmeans++'])
def test_separated_clusters_are_those_of_scikit_learn(init):
    generator = torch.Generator().manual_seed(1)
    centers = torch.eye(6)[:4]
    truth = torch.arange(4).repeat_interleave(15)
    rows = (centers[truth] + 0.05 * torch.randn(60, 6, generator=generator)) * (1 + torch.rand(60, 1)) * 7
    sets = rows.expand(200, -1, -1)
    centroids, labels = spherical_kmeans(sets, None, 4, 20, init, generator=torch.Generator().manual_seed(2))
    found = KMeans(4, n_init=10, random_state=0).fit(F.normalize(rows, dim=1).numpy())
    expected = F.normalize(torch.from_numpy(found.cluster_centers_).float(), dim=1)
    right = 0
    for own, label in zip(centroids, labels, strict=True):
        order = (own @ expected.T).argmax(1)
        if len(set(order.tolist())) == 4:  # a start with two rows of one cluster may end elsewhere
            right += 1
            torch.testing.assert_close(own, expected[order], atol=1e-5, rtol=0)
            assert order[label].tolist() == found.labels_.tolist()
    # 4!·15⁴/60⁴ = 9 % of random starts have a row of each cluster, and re-seeding repairs some of the others
    assert right > {'random': 18, 'distinct': 18, 'kmeans++': 190}[init]


@pytest.mark.parametrize('empty', ['random', 'keep', 'split'])
@pytest.mark.parametrize('init', ['random', 'distinct', 'kmeans++'])
def test_padding_changes_nothing(init, empty):
    sizes = [9, 9, 9]
    x, mask = padded(sizes, 5)
    torch.manual_seed(4)
    centroids, labels = spherical_kmeans(x, mask, 4, 10, init, empty)
    packed = torch.stack([row[real] for row, real in zip(x, mask, strict=True)])
    torch.manual_seed(4)
    expected, assigned = spherical_kmeans(packed, None, 4, 10, init, empty)
    torch.testing.assert_close(centroids, expected)
    assert torch.equal(torch.stack([row[real] for row, real in zip(labels, mask, strict=True)]), assigned)


def test_a_set_does_not_depend_on_its_neighbours():
    x = torch.randn(3, 12, 4)
    init = torch.tensor([[0, 3, 7]] * 3)
    alone = [spherical_kmeans(one[None], None, 3, 10, init[:1], 'keep') for one in x]
    centroids, labels = spherical_kmeans(x, None, 3, 10, init, 'keep')
    torch.testing.assert_close(centroids, torch.cat([own for own, _ in alone]))
    assert torch.equal(labels, torch.cat([own for _, own in alone]))


@pytest.mark.parametrize('empty', ['random', 'keep', 'split'])
@pytest.mark.parametrize('init', ['random', 'distinct', 'kmeans++'])
def test_sets_too_small_for_their_clusters_stay_finite(init, empty):
    x, mask = padded([0, 1, 2, 3, 11], 4)
    x[4, torch.where(mask[4])[0][2]] = 0
    centroids, labels = spherical_kmeans(x, mask, 5, 10, init, empty)
    assert torch.equal(centroids[0], torch.zeros(5, 4))
    torch.testing.assert_close(centroids[1:4].norm(dim=2), torch.ones(3, 5))
    assert torch.isfinite(centroids).all()
    assert torch.equal(labels >= 0, mask)
    own = F.normalize(x[1, mask[1]], dim=1)
    torch.testing.assert_close(centroids[1], own.expand(5, -1))
    # every row of the sets of two and three rows is the centroid of its cluster, or shares one
    for number in (2, 3):
        rows = F.normalize(x[number, mask[number]], dim=1)
        nearest = (rows @ centroids[number].T).max(1)
        assert torch.equal(nearest.indices, labels[number, mask[number]])


def test_rows_of_zeros_do_not_move_centroids():
    x = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]]])
    centroids, labels = spherical_kmeans(x, None, 2, 3, torch.tensor([[0, 2]]))
    assert labels.tolist() == [[0, 0, 1]]
    assert torch.equal(centroids[0], torch.eye(2))
    only, labels = spherical_kmeans(torch.zeros(1, 4, 2), None, 3)
    assert torch.equal(only, torch.zeros(1, 3, 2))
    assert labels.tolist() == [[0] * 4]


def test_an_empty_cluster_starts_again_at_one_position_for_all_sets():
    x = torch.randn(50, 7, 3)
    init = torch.zeros(50, 2, dtype=torch.long)  # both clusters start at row 0, so the second loses every row
    centroids, _ = spherical_kmeans(x, None, 2, 1, init, 'random')
    rows = F.normalize(x, dim=2)
    positions = (rows @ centroids[:, 1:].mT).squeeze(2).argmax(1)
    assert len(set(positions.tolist())) == 1
    torch.testing.assert_close(centroids[:, 1], rows[:, positions[0]])
    kept, _ = spherical_kmeans(x, None, 2, 1, init, 'keep')
    torch.testing.assert_close(kept[:, 1], rows[:, 0])
    seen = {int((rows[0] @ spherical_kmeans(x, None, 2, 1, init)[0][0, 1]).argmax()) for _ in range(60)}
    assert seen == set(range(7))


def test_starts_are_uniform_over_real_rows_and_distinct_where_asked():
    """A cluster that never gains another row than its first shows where it started."""
    x, mask = torch.eye(5).expand(4000, -1, -1), torch.tensor([True, False, True, True, True]).expand(4000, -1)
    for init in ('random', 'distinct', 'kmeans++'):
        centroids, _ = spherical_kmeans(x, mask, 2, 1, init, 'keep')
        # every other row goes to the first cluster, whose own coordinate stays its largest or equals theirs
        second = centroids[:, 1].argmax(1)
        doubled = (centroids[:, 0] - centroids[:, 1]).abs().sum(1) < 1e-6
        same = (centroids[:, 0].gather(1, second[:, None]) > 0.1).squeeze(1)
        share = torch.bincount(second, minlength=5) / 4000
        assert share[1] == 0
        assert (share[[0, 2, 3, 4]] - 0.25).abs().max() < 0.03
        assert not doubled.any()
        assert abs(float(same.float().mean()) - (0.25 if init == 'random' else 0)) < 0.03


def test_drawing_follows_the_generator_alone():
    x = torch.randn(4, 30, 6)
    first, again, other = (
        spherical_kmeans(x, None, 3, 1, generator=torch.Generator().manual_seed(seed))[0] for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_precision_is_reckoned_in_single():
    x = torch.randn(2, 40, 8).half()
    expected = spherical_kmeans(x.float(), None, 4, init=torch.arange(4).expand(2, -1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = spherical_kmeans(x, None, 4, init=torch.arange(4).expand(2, -1))
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(x=torch.zeros(3, 4)), r'x has shape \(3, 4\)'),
        (dict(x=torch.zeros(3, 0, 2)), 'L >= 1'),
        (dict(mask=torch.ones(2, 3, dtype=torch.bool)), r'mask is torch.bool of shape \(2, 3\)'),
        (dict(mask=torch.ones(2, 5)), 'mask is torch.float32'),
        (dict(num_clusters=0), 'num_clusters is 0'),
        (dict(iterations=0), 'iterations 0'),
        (dict(init='first'), "init is 'first', expected one of random, distinct"),
        (dict(empty='none'), "empty is 'none', expected one of random, keep, split"),
        (dict(restarts=0), 'restarts 0'),
        (dict(restarts=2, init=torch.zeros(2, 3).long()), r'init has shape \(2, 3\), expected \(2, 2, 3\)'),
        (dict(init=torch.zeros(2, 2, dtype=torch.long)), r'init has shape \(2, 2\), expected \(2, 3\)'),
        (dict(init=torch.tensor([[0, 1, 2], [0, 5, 1]])), r'init\[1, 1\] is 5, expected the position of a real row'),
        (dict(init=torch.tensor([[0, 1, 4], [0, 0, 0]])), r'init\[0, 2\] is 4'),
    ],
)
def test_bad_input_is_named(options, message):
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 4] = False
    with pytest.raises(ValueError, match=message):
        spherical_kmeans(**(dict(x=torch.randn(2, 5, 3), mask=mask, num_clusters=3) | options))
