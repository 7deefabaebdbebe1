"""Features laid out in the plane, so that one sees what lies beside what."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from histomm.visualization.clusters import cluster_color

METHODS = ('tsne', 'umap', 'pca')
"""Ways into the plane; UMAP needs a library of its own."""


def embed(features: np.ndarray, method: str = 'tsne', seed: int = 0, neighbours: float = 30) -> np.ndarray:
    """Places (n, 2) of features (n, D) in the plane.

    Args:
        features: n ≥ 3. Beyond 50 numbers they are first reduced to their 50 principal components.
        method: One of :data:`METHODS`.
        seed: Of what is drawn.
        neighbours: Perplexity of t-SNE, or the number of neighbours of UMAP; less where there are too few rows.

    Raises:
        ValueError: fewer than three rows, or another method.
        ModuleNotFoundError: UMAP is not installed.
    """
    from sklearn.decomposition import PCA

    if len(features) < 3 or method not in METHODS:
        raise ValueError(f'method is {method!r} for {len(features)} rows, expected one of {METHODS} and 3 rows or more')
    components = 2 if method == 'pca' else min(50, *features.shape)
    reduced = PCA(components, random_state=seed).fit_transform(features)
    if method == 'pca':
        return reduced
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


def draw_embedding(places: np.ndarray, labels: np.ndarray | None, names: Sequence[str], title: str) -> Figure:
    """Points in the colours of their classes.

    Args:
        places: (n, 2).
        labels: (n,) classes, or values for a scale of colours, or ``None``.
        names: Of the classes; empty for values.
        title: What stands above.
    """
    figure = Figure(figsize=(7.6, 6), layout='constrained')
    axes = figure.subplots()
    size = float(np.clip(6000 / len(places), 3, 30))
    if labels is None:
        axes.scatter(*places.T, s=size, color='0.35', lw=0)
    elif not names:
        points = axes.scatter(*places.T, s=size, c=labels, cmap='viridis', lw=0)
        figure.colorbar(points, ax=axes, shrink=0.6)
    else:
        # One call, in the order of the rows: no class lies above all others.
        axes.scatter(*places.T, s=size, c=[cluster_color(int(label)) for label in labels], lw=0, alpha=0.8)
        for number, name in enumerate(names):
            if (labels == number).any():
                axes.scatter([], [], s=30, color=cluster_color(number), label=f'{name} ({(labels == number).sum():,})')
        columns = -(-len(names) // 30)
        figure.legend(loc='outside right upper', frameon=False, fontsize=9, ncols=columns)
    axes.set_title(title, loc='left', fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect('equal', adjustable='datalim')  # the points fill the picture
    axes.spines[:].set_color('0.8')
    return figure
