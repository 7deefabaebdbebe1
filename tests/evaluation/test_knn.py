"""kNN against a naive loop, scikit-learn and a case by hand."""

import math

import numpy as np
import pytest
import torch

from histomm.evaluation import knn_predict


def naive(bank, labels, query, k, temperature, num_classes):
    predictions = []
    for q in query.double():
        similarity = [float(q @ b / (q.norm() * b.norm())) for b in bank.double()]
        votes = [0.0] * num_classes
        for i in sorted(range(len(bank)), key=lambda i: -similarity[i])[:k]:
            votes[int(labels[i])] += math.exp(similarity[i] / temperature)
        predictions.append(votes.index(max(votes)))
    return predictions


@pytest.mark.parametrize('k', [1, 5, 37])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
@pytest.mark.parametrize('chunk_size', [1, 7, 1024])
def test_equals_naive_loop(k, temperature, chunk_size):
    bank, query, labels = torch.randn(37, 9), torch.randn(15, 9), torch.randint(4, (37,))
    found = knn_predict(bank, labels, query, k, temperature, 4, chunk_size)
    assert found.tolist() == naive(bank, labels, query, k, temperature, 4)


def test_equals_sklearn():
    neighbors = pytest.importorskip('sklearn.neighbors')
    bank, query, labels = torch.randn(60, 8), torch.randn(40, 8), torch.randint(3, (60,))
    reference = neighbors.KNeighborsClassifier(9, metric='cosine', weights=lambda d: np.exp((1 - d) / 0.1))
    reference.fit(bank.numpy(), labels.numpy())
    expected = reference.predict(query.numpy()).tolist()
    assert knn_predict(bank, labels, query, 9, 0.1, 3).tolist() == expected


def test_temperature_decides_between_one_near_and_two_far():
    """Cosines 1 against twice 0.8: e^(0.2/T) > 2 where T < 0.2885."""
    bank = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels, query = torch.tensor([0, 1, 1]), torch.tensor([[3.0, 0.0]])
    assert knn_predict(bank, labels, query, 3, 0.28, 2).item() == 0
    assert knn_predict(bank, labels, query, 3, 0.30, 2).item() == 1


def test_small_temperature_does_not_overflow():
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert knn_predict(bank, torch.tensor([1, 0]), bank, 2, 1e-4, 2).tolist() == [1, 0]


def test_no_queries():
    assert knn_predict(torch.randn(3, 2), torch.tensor([0, 1, 0]), torch.zeros(0, 2), 2, 0.1, 2).tolist() == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(k=4), 'k is 4, expected 1 to the 3 rows'),
        (dict(temperature=0.0), 'temperature is 0.0'),
        (dict(num_classes=2), '0 to 2, expected 0 to num_classes - 1 = 1'),
    ],
)
def test_errors(changes, message):
    arguments = dict(k=1, temperature=0.1, num_classes=3) | changes
    with pytest.raises(ValueError, match=message):
        knn_predict(torch.randn(3, 2), torch.tensor([0, 1, 2]), torch.randn(1, 2), **arguments)
