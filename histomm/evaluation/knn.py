"""Weighted nearest-neighbour classification of features."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def knn_votes(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    k: int,
    temperature: float,
    num_classes: int,
    chunk_size: int = 1024,
) -> Tensor:
    """Weighted kNN (Wu et al. 2018, §3.4), the protocol of DINO.

    Among the k rows of the bank with the highest cosine similarity s to a query, each votes exp(s / temperature) for
    its class. Rows are normalised here; a zero row has similarity 0 to all.

    Args:
        bank: Features (M, D).
        bank_labels: Classes (M,), int64 in [0, num_classes).
        query: Features (Q, D); Q may be 0.
        k: Neighbours, 1 to M.
        temperature: Above 0; the smaller, the more the nearest decides.
        num_classes: Number of classes.
        chunk_size: Queries at a time; memory is chunk_size · M numbers.

    Returns:
        Votes (Q, num_classes) of each query as shares of all its votes, float32.

    Raises:
        ValueError: ``k`` is not in [1, M], the temperature is not positive, or a label is out of range.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f'k is {k}, expected 1 to the {len(bank)} rows of the bank')
    if temperature <= 0:
        raise ValueError(f'temperature is {temperature}, expected a positive number')
    if bank_labels.min() < 0 or bank_labels.max() >= num_classes:
        found = f'{int(bank_labels.min())} to {int(bank_labels.max())}'
        raise ValueError(f'labels of the bank go from {found}, expected 0 to num_classes - 1 = {num_classes - 1}')
    bank = normalize(bank.float(), dim=1)
    votes = [
        _vote(bank, bank_labels, chunk, k, temperature, num_classes)
        for chunk in normalize(query.float(), dim=1).split(chunk_size)
    ]
    return torch.cat(votes)


def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    query: Tensor,
    k: int,
    temperature: float,
    num_classes: int,
    chunk_size: int = 1024,
) -> Tensor:
    """Class (Q,), int64, with most of :func:`knn_votes`; equal votes go to the lower class. Arguments as there."""
    return knn_votes(bank, bank_labels, query, k, temperature, num_classes, chunk_size).argmax(dim=1)


def knn_mean(bank: Tensor, bank_values: Tensor, query: Tensor, k: int, chunk_size: int = 1024) -> Tensor:
    """Mean value (Q,) of the k rows of the bank that are most alike, by cosine similarity.

    Args:
        bank: Features (M, D).
        bank_values: Values (M,).
        query: Features (Q, D).
        k: Neighbours, 1 to M.
        chunk_size: Queries at a time.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f'k is {k}, expected 1 to the {len(bank)} rows of the bank')
    bank = normalize(bank.float(), dim=1)
    chunks = normalize(query.float(), dim=1).split(chunk_size)
    return torch.cat([bank_values[(chunk @ bank.T).topk(k, dim=1).indices].mean(dim=1) for chunk in chunks])


def _vote(bank: Tensor, bank_labels: Tensor, query: Tensor, k: int, temperature: float, num_classes: int) -> Tensor:
    similarity, index = (query @ bank.T).topk(k, dim=1)
    # Less the query's best similarity: the same winner, and no overflow at small temperatures.
    weight = ((similarity - similarity[:, :1]) / temperature).exp()
    votes = weight.new_zeros(len(query), num_classes).scatter_add_(1, bank_labels[index], weight)
    return votes / votes.sum(dim=1, keepdim=True)
