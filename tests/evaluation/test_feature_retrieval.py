"""What is retrieved is most alike, and never of the query's own group."""

import math

import numpy as np
import pytest

from histomm.evaluation.retrieval import precision_at, retrieve

FEATURES = np.random.default_rng(0).normal(0, 1, (30, 5)).astype(np.float32)


def test_rows_are_those_of_a_loop():
    queries = np.array([4, 17])
    rows, similar = retrieve(FEATURES, queries, 6)
    for query, found, values in zip(queries, rows, similar, strict=True):
        cosines = {
            row: FEATURES[row] @ FEATURES[query] / np.linalg.norm(FEATURES[row]) / np.linalg.norm(FEATURES[query])
            for row in range(30)
            if row != query
        }
        expected = sorted(cosines, key=cosines.get, reverse=True)[:6]
        assert found.tolist() == expected
        np.testing.assert_allclose(values, [cosines[row] for row in expected], rtol=1e-5)


def test_own_group_is_left_out():
    groups = np.array([f'p{row % 3}' for row in range(30)])
    rows, similar = retrieve(FEATURES, np.arange(30), 25, groups)
    for query, found in enumerate(rows):
        assert (found >= 0).sum() == 20
        assert not set(groups[found[found >= 0]]) & {groups[query]}
    assert np.isnan(similar[rows < 0]).all()


def test_precision_by_hand():
    labels = np.array([0, 0, 1, 1])
    assert precision_at(labels, np.array([0, 2]), np.array([[1, 2, -1], [3, 0, 1]])) == pytest.approx(2 / 5)
    assert math.isnan(precision_at(labels, np.array([0]), np.array([[-1]])))


def test_wrong_queries_are_refused():
    with pytest.raises(ValueError, match='expected 1 or more, and rows below 30'):
        retrieve(FEATURES, np.array([30]), 3)
