"""Prototype similarity against all permutations, scipy and hand-worked numbers; neighbours against a loop."""

from itertools import permutations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from histomm.functional import best_assignment, prototype_neighbors, prototype_similarity, prototypes


def naive(one, two):
    """Highest mean cosine over all permutations, and the permutation."""
    cosines = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T
    size = len(one)
    return max((sum(cosines[m, s[m]].item() for m in range(size)) / size, s) for s in permutations(range(size)))


def test_two_slides_by_hand():
    protos = torch.tensor([[[1, 0], [0.6, 0.8]], [[0.8, 0.6], [0.96, 0.28]]])
    similarity, order = prototype_similarity(protos, permutations=True)
    # cosines .8 .96 / .96 .8: swapping gives (.96 + .96) / 2
    torch.testing.assert_close(similarity, torch.tensor([[1, 0.96], [0.96, 1]]))
    assert order[0, 1].tolist() == [1, 0]
    assert order[1, 1].tolist() == [0, 1]


def test_the_best_permutation_is_not_that_of_each_row():
    total, order = best_assignment(torch.tensor([[[0.9, 0.8], [0.85, 0.1]]]))
    assert total.item() / 2 == pytest.approx(0.825)
    assert order.tolist() == [[1, 0]]


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 8, 9])
def test_assignment_against_scipy(size):
    scores = torch.randn(20, size, size, dtype=torch.float64)
    total, order = best_assignment(scores)
    for number, matrix in enumerate(scores):
        rows, columns = linear_sum_assignment(matrix.numpy(), maximize=True)
        assert total[number].item() == pytest.approx(matrix[rows, columns].sum().item())
        assert order[number].tolist() == columns.tolist()


@pytest.mark.parametrize('size', [1, 2, 4, 9])
def test_similarity_against_all_permutations(size, monkeypatch):
    monkeypatch.setattr(prototypes, 'BLOCK', 3 * 6 * size**2)  # three slides at a time
    protos = torch.randn(6, size, 3, dtype=torch.float64)
    similarity, order = prototype_similarity(protos, permutations=True)
    torch.testing.assert_close(similarity, prototype_similarity(protos)[0])
    torch.testing.assert_close(similarity, similarity.T)
    for i in range(6):
        for j in range(6) if size < 9 else ():
            value, best = naive(protos[i], protos[j])
            assert similarity[i, j].item() == pytest.approx(value)
            assert tuple(order[i, j].tolist()) == best


def test_length_and_order_of_prototypes_do_not_matter():
    protos = torch.randn(5, 4, 8, dtype=torch.float64)
    shuffled = torch.stack([slide[torch.randperm(4)] for slide in protos]) * torch.rand(
        5, 4, 1, dtype=torch.float64
    ).add(1)
    torch.testing.assert_close(prototype_similarity(shuffled)[0], prototype_similarity(protos)[0])


def test_zeros_and_no_slides():
    protos = torch.zeros(2, 3, 4)
    assert not prototype_similarity(protos)[0].any()
    assert prototype_similarity(torch.zeros(0, 3, 4))[0].shape == (0, 0)


@pytest.mark.parametrize('num', [1, 2, 4])
@pytest.mark.parametrize('tile', [(1, 1), (2, 3), (64, 256)])
def test_neighbours_against_a_loop(num, tile, monkeypatch):
    monkeypatch.setattr(prototypes, 'BLOCK', tile[0])
    monkeypatch.setattr(prototypes, 'TILE', {'cpu': tile})
    protos = torch.randn(7, 3, 4, dtype=torch.float64)
    valid = torch.tensor([True, True, False, True, True, False, True])
    index, order, similarity = prototype_neighbors(protos, valid, num)
    assert index.shape == (7, num)
    for slide in range(7):
        if not valid[slide]:
            assert index[slide].tolist() == [-1] * num
            continue
        others = [other for other in range(7) if valid[other] and other != slide]
        ranked = sorted(others, key=lambda other, slide=slide: -naive(protos[slide], protos[other])[0])
        assert index[slide].tolist() == ranked[:num]
        for rank, other in enumerate(ranked[:num]):
            value, best = naive(protos[slide], protos[other])
            assert similarity[slide, rank].item() == pytest.approx(value)
            assert tuple(order[slide, rank].tolist()) == best


def test_the_most_similar_prototype_in_place_of_the_best_permutation():
    """Cosines .63 .56 / .595 .07: both prototypes are most like the first of the other slide; σ swaps them."""
    one = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    other = torch.tensor([[0.63, 0.595, 0.249075**0.5, 0], [0.56, 0.07, 0, 0.6815**0.5]])
    found = {
        match: prototype_neighbors(torch.stack([one, other]), None, 1, match) for match in ('assignment', 'argmax')
    }
    assert found['assignment'][1][0, 0].tolist() == [1, 0]
    assert found['argmax'][1][0, 0].tolist() == [0, 0]
    for index, _, similarity in found.values():  # slides are ranked by the permutation either way
        assert index.tolist() == [[1], [0]]
        torch.testing.assert_close(similarity, torch.full((2, 1), (0.56 + 0.595) / 2))


def test_a_slide_is_not_its_own_neighbour_among_equals():
    index, _, similarity = prototype_neighbors(torch.ones(4, 2, 3), None, 1)
    assert all(index[slide, 0] != slide for slide in range(4))
    torch.testing.assert_close(similarity, torch.ones(4, 1))


@pytest.mark.parametrize(('slides', 'found'), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_fewer_valid_slides_than_neighbours_wanted(slides, found):
    valid = torch.arange(5) < slides
    index, order, similarity = prototype_neighbors(torch.randn(5, 2, 3), valid, 4)
    assert (index.shape, order.shape, similarity.shape) == ((5, found), (5, found, 2), (5, found))
    assert ((index >= 0) == valid[:, None]).all()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: best_assignment(torch.zeros(2, 3, 4)), r'scores has shape \(2, 3, 4\), expected \(P, M, M\)'),
        (lambda: prototype_similarity(torch.zeros(2, 3)), r'prototypes has shape \(2, 3\), expected \(S, M, C\)'),
        (lambda: prototype_neighbors(torch.zeros(2, 3, 4), torch.ones(2), 1), r'valid is torch\.float32 of shape'),
        (lambda: prototype_neighbors(torch.zeros(2, 3, 4), None, -1), "num is -1 and match 'assignment', expected 0"),
        (
            lambda: prototype_neighbors(torch.zeros(2, 3, 4), None, 1, 'best'),
            "match 'best', expected 0 or more and one of",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
