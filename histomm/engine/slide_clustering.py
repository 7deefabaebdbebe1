"""Prototypes and what regions follow, from the embeddings of all regions, as the options of an algorithm say."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from histomm import functional

if TYPE_CHECKING:
    from histomm.models import SLPD

BACKENDS = ('torch', 'faiss')


class Clustering(NamedTuple):
    """How k-means is done.

    Attributes:
        backend: 'torch', all slides in padded batches on the device of the embeddings, or 'faiss', slide by slide on
            the CPU.
        iterations: Updates of the centroids.
        restarts: How often it starts anew; the best is kept.
        seed: Of the rows that it starts from.
    """

    backend: str = 'torch'
    iterations: int = 10
    restarts: int = 5
    seed: int = 0


class Targets(NamedTuple):
    """What :class:`~histomm.models.prototype_bank.PrototypeBank` keeps.

    Attributes:
        rows: (T, C) float32 that a teacher's head maps.
        own: (N,) int64, the row of each region's prototype, −1 for none.
        others: (N, K) int64, the rows of its neighbours, −1 for none; K as far as there are so many.
    """

    rows: Tensor
    own: Tensor
    others: Tensor


def make_targets(model: 'SLPD', x: Tensor, slide: Tensor, valid: Tensor, clustering: Clustering) -> Targets:
    """Cluster regions and find neighbours.

    Args:
        model: Whose options count.
        x: (N, C) embeddings of regions.
        slide: (N,) number of the slide of each.
        valid: (S,) bool, slides that are large enough.
        clustering: How k-means is done.
    """
    if model.scope == 'global':
        return _global_targets(model, x, slide, clustering)
    centroids, labels = cluster(x, slide, valid, model.num_prototypes, clustering)
    rows = centroids.flatten(0, 1)
    wanted = model.num_neighbors if model.alpha_inter and model.neighbors == 'prototypes' else 0
    neighbors, order, _ = functional.prototype_neighbors(centroids, valid, wanted, model.match)
    own, others = functional.region_targets(labels, slide, neighbors, order)
    if model.feat == 'cls':  # the head wants vectors as long as those of the backbone
        rows = functional.member_means(x, own, len(rows))
    if model.alpha_inter and model.neighbors == 'regions':
        nearest = functional.nearest_elsewhere(x, slide, labels >= 0, model.num_neighbors)
        others = torch.where(nearest >= 0, nearest + len(rows), -1)
        rows = torch.cat([rows, x])
    return Targets(rows, own, others)


def _global_targets(model: 'SLPD', x: Tensor, slide: Tensor, clustering: Clustering) -> Targets:
    """All regions as if they were of one slide, with as many prototypes as all slides have together."""
    total = min(model.num_prototypes * len(slide.unique()), len(x))
    whole = torch.ones(1, dtype=torch.bool, device=x.device)
    centroids, own = cluster(x, torch.zeros_like(slide), whole, total, clustering)
    rows = functional.member_means(x, own, total) if model.feat == 'cls' else centroids[0]
    return Targets(rows, own, own.new_empty(len(own), 0))


def cluster(
    x: Tensor, slide: Tensor, valid: Tensor, num_prototypes: int, clustering: Clustering
) -> tuple[Tensor, Tensor]:
    """As :func:`~histomm.functional.cluster_slides`, with either backend; random numbers are drawn on the CPU."""
    backend, iterations, restarts, seed = clustering
    if backend == 'torch':
        generator = torch.Generator().manual_seed(seed)
        return functional.cluster_slides(x, slide, valid, num_prototypes, iterations, restarts, generator)
    faiss = require_faiss()
    unit, number = F.normalize(x.float(), dim=1, eps=1e-12).cpu().numpy(), slide.cpu().numpy()
    prototypes = np.zeros((len(valid), num_prototypes, x.shape[1]), np.float32)
    labels = np.full(len(x), -1)
    for index in valid.nonzero().squeeze(1).tolist():
        regions = np.flatnonzero(number == index)
        kmeans = faiss.Kmeans(
            x.shape[1], num_prototypes, niter=iterations, nredo=restarts, spherical=True, seed=seed,
            min_points_per_centroid=1, max_points_per_centroid=len(regions),
        )  # fmt: skip
        kmeans.train(unit[regions])
        prototypes[index] = kmeans.centroids
        labels[regions] = kmeans.index.search(unit[regions], 1)[1][:, 0]
    return torch.from_numpy(prototypes).to(x.device), torch.from_numpy(labels).to(x.device)


def require_faiss() -> object:
    """The module faiss.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ModuleNotFoundError(
            "backend='faiss' needs faiss, which is not installed; run `pip install faiss-cpu`, or take 'torch'",
            name='faiss',
        ) from error
    return faiss
