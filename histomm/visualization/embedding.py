"""Features laid out in the plane, so that one sees what lies beside what."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histomm.visualization.clusters import cluster_color

METHODS = ('tsne', 'umap', 'pca')
"""Ways into the plane; UMAP needs a library of its own."""


def embed(
    features: np.ndarray, method: str = 'tsne', seed: int = 0, neighbours: float = 30, components: int = 50
) -> np.ndarray:
    """Places (n, 2) of features (n, D) in the plane.

    Args:
        features: n ≥ 3.
        method: One of :data:`METHODS`.
        seed: Of what is drawn.
        neighbours: Perplexity of t-SNE, or the number of neighbours of UMAP; less where there are too few rows.
        components: To so many principal components longer features are first reduced, which makes t-SNE and UMAP
            faster; 0 leaves them as they are.

    Raises:
        ValueError: fewer than three rows, or another method.
        ModuleNotFoundError: UMAP is not installed.
    """
    from sklearn.decomposition import PCA

    if len(features) < 3 or method not in METHODS:
        raise ValueError(f'method is {method!r} for {len(features)} rows, expected one of {METHODS} and 3 rows or more')
    if method == 'pca':
        return PCA(2, random_state=seed).fit_transform(features)
    reduced = features
    if 0 < components < features.shape[1]:
        reduced = PCA(min(components, len(features)), random_state=seed).fit_transform(features)
    near = min(neighbours, (len(features) - 1) / 3)
    if method == 'tsne':
        from sklearn.manifold import TSNE

        return TSNE(2, perplexity=max(near, 1.0), init='pca', random_state=seed).fit_transform(reduced)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ModuleNotFoundError(
            'the layout umap needs UMAP, which is not installed; run `pip install umap-learn`, or take tsne',
            name='umap',
        ) from error
    return UMAP(n_neighbors=max(2, int(near)), random_state=seed, n_jobs=1).fit_transform(reduced)


class Cloud(NamedTuple):
    """Points of one panel."""

    places: np.ndarray
    """(n, 2)."""
    labels: np.ndarray | None
    """(n,) classes, or values for a scale of colours."""
    title: str
    """What stands above."""


def draw_embedding(clouds: Sequence[Cloud], names: Sequence[str], title: str) -> Figure:
    """Points in the colours of their classes, a panel for each cloud, in rows of at most four.

    Args:
        clouds: At least one; all have labels, or none has.
        names: Of the classes; empty for values.
        title: What stands above all of them.
    """
    columns = min(len(clouds), 4 if len(clouds) != 5 else 3)
    rows = -(-len(clouds) // columns)
    side = 6 if len(clouds) == 1 else 3.1
    figure = Figure(figsize=(columns * side + 1.6, rows * side + 0.2), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    values = [cloud.labels for cloud in clouds if cloud.labels is not None]
    everything = np.concatenate(values) if values else np.zeros(0)
    for axes, cloud in zip(grid.flat, clouds, strict=False):
        points = _draw_cloud(axes, cloud, bool(names), everything)
    for axes in grid.flat[len(clouds) :]:
        axes.set_axis_off()
    if names:
        _add_legend(figure, everything, names)
    elif values:
        figure.colorbar(points, ax=grid, shrink=0.6)
    figure.suptitle(title, x=0.006, ha='left', fontsize=10)
    return figure


def _draw_cloud(axes: Axes, cloud: Cloud, classes: bool, everything: np.ndarray) -> PathCollection:
    """One panel; values of all panels share a scale."""
    size = float(np.clip(6000 / len(cloud.places), 3, 30))
    if cloud.labels is None:
        points = axes.scatter(*cloud.places.T, s=size, color='0.35', lw=0)
    elif not classes:
        ends = dict(vmin=everything.min(), vmax=everything.max())
        points = axes.scatter(*cloud.places.T, s=size, c=cloud.labels, cmap='viridis', lw=0, **ends)
    else:
        # One call, in the order of the rows: no class lies above all others.
        colors = [cluster_color(int(label)) for label in cloud.labels]
        points = axes.scatter(*cloud.places.T, s=size, c=colors, lw=0, alpha=0.8)
    axes.set_title(cloud.title, loc='left', fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect('equal', adjustable='datalim')  # the points fill the picture
    axes.spines[:].set_color('0.8')
    return points


def _add_legend(figure: Figure, labels: np.ndarray, names: Sequence[str]) -> None:
    """Classes that are there, with how many rows they have."""
    handles = [
        Line2D([], [], ls='', marker='o', ms=6, color=cluster_color(number), label=f'{name} ({count:,})')
        for number, name in enumerate(names)
        if (count := int((labels == number).sum()))
    ]
    figure.legend(handles=handles, loc='outside right center', frameon=False, fontsize=9, ncols=-(-len(names) // 30))
