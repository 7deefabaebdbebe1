"""Clusters against naive loops, and the number of clusters against a curve whose bend is known."""

import numpy as np
import pytest

from histomm.evaluation.clustering import Clusters, elbow, explained_variance, kmeans, nearest_centre, nearest_rows

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(0, 10, (5, 8))
TRUTH = np.repeat(np.arange(5), [40, 30, 20, 20, 10])
FEATURES = (CENTRES[TRUTH] + RNG.normal(0, 0.5, (120, 8))).astype(np.float32)


def test_well_separated_groups_are_found():
    found = kmeans(FEATURES, 5, seed=1)
    pairs = {(int(a), int(b)) for a, b in zip(found.labels, TRUTH, strict=True)}
    assert len(pairs) == 5


def test_nearest_centre_is_that_of_a_loop():
    centres = RNG.normal(0, 8, (7, 8)).astype(np.float32)
    labels, distances = nearest_centre(FEATURES, centres)
    for row, label, distance in zip(FEATURES, labels, distances, strict=True):
        every = [((row.astype(float) - centre) ** 2).sum() for centre in centres]
        assert label == int(np.argmin(every))
        assert distance == pytest.approx(min(every))


def test_explained_variance_is_that_of_a_loop():
    found = kmeans(FEATURES, 3, seed=0)
    mean = FEATURES.astype(float).mean(axis=0)
    total = sum(((row - mean) ** 2).sum() for row in FEATURES.astype(float))
    error = sum(((row - found.centres[label]) ** 2).sum() for row, label in zip(FEATURES, found.labels, strict=True))
    assert explained_variance(FEATURES, found.distances) == pytest.approx(1 - error / total, rel=1e-6)


def test_explained_variance_at_its_ends():
    mean = FEATURES.mean(axis=0, keepdims=True)
    assert explained_variance(FEATURES, nearest_centre(FEATURES, mean)[1]) == pytest.approx(0, abs=1e-6)
    assert explained_variance(FEATURES, nearest_centre(FEATURES, FEATURES)[1]) == pytest.approx(1)
    same = np.ones((4, 2), np.float32)
    assert explained_variance(same, np.zeros(4)) == 1.0


def test_the_seed_decides():
    one, again, other = (kmeans(FEATURES, 6, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.centres, again.centres)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert not np.array_equal(one.centres, other.centres)


def test_elbow_is_the_bend_of_two_lines():
    ks = [1000, 1500, 2000, 3000, 6000, 10000]
    variances = [0.2 + 0.0003 * (k - 1000) if k <= 3000 else 0.8 + 0.00001 * (k - 3000) for k in ks]
    assert elbow(ks, variances) == 3000
    # By hand: the curve 0, 6, 8, 9, 10 over 0 to 4 lies .35, .3, .15 above the chord.
    assert elbow([1, 2, 3, 4, 5], [0, 6, 8, 9, 10]) == 2
    assert elbow([1, 2, 3], [0.0, 0.5, 1.0]) == 1
    assert elbow([1, 2, 3], [0.5, 0.5, 0.5]) == 1


def test_elbow_of_the_published_curve():
    """Ciga et al. state three points and took the middle one."""
    assert elbow([2500, 3000, 5000], [0.671, 0.833, 0.91]) == 3000


@pytest.mark.parametrize(('ks', 'values'), [([1, 2], [0, 1]), ([1, 3, 2], [0, 1, 2]), ([1, 2, 3], [0, 1])])
def test_elbow_needs_a_curve(ks, values):
    with pytest.raises(ValueError, match='expected three or more, increasing'):
        elbow(ks, values)


def test_nearest_rows_of_each_cluster():
    clusters = Clusters(np.zeros((4, 1), np.float32), np.array([1, 0, 1, 1, 3, 1]), np.array([5.0, 1, 2, 9, 0, 2]))
    assert [rows.tolist() for rows in nearest_rows(clusters, 3)] == [[1], [2, 5, 0], [], [4]]


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(ValueError, match='k is 121, expected 1 to the 120 rows'):
        kmeans(FEATURES, 121)
