"""Pictures of what is retrieved for an image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from histomm.visualization.colors import BLACK, GREEN, VERMILION


def draw_retrieval(
    patches: Sequence[Sequence[np.ndarray]], captions: Sequence[Sequence[str]], right: Sequence[Sequence[bool | None]]
) -> Figure:
    """A row for each query: the query, and what is most similar, from the left.

    Args:
        patches: For each query its patch and the retrieved ones, uint8 RGB of one size.
        captions: What stands above each.
        right: Whether each has the class of the query, which makes its frame green or red; ``None`` where nobody knows.
    """
    columns = max(map(len, patches))
    figure = Figure(figsize=(columns * 1.25 + 0.3, len(patches) * 1.5 + 0.1), layout='constrained')
    grid = figure.subplots(len(patches), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, members, texts, marks in zip(grid, patches, captions, right, strict=True):
        for number, (axes, patch, text, mark) in enumerate(zip(line, members, texts, marks, strict=False)):
            axes.imshow(patch, interpolation='nearest')
            axes.set_title(text, fontsize=7.5, loc='left', pad=3)
            color = BLACK if number == 0 else {True: GREEN, False: VERMILION, None: '0.7'}[mark]
            axes.spines[:].set(visible=True, color=color, linewidth=3 if number else 2)
    return figure
