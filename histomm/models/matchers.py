"""Which cell of one view belongs to which of the other: matchers as modules.

Shapes: B images; n = H·W cells of the view that is asked, m of the view that answers; C channels of the projection,
D of the backbone; N rows of a match set.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm import functional
from histomm.functional.matching import METRICS
from histomm.registry import MODELS


class DenseView(NamedTuple):
    """One view of a batch, turned back to the orientation of its source.

    Attributes:
        projection: (B, C, H, W) dense projections, not normalised.
        feature: (B, D, H, W) backbone map over the same cells.
        box: (B, 4) crop boxes in source pixels.
    """

    projection: Tensor
    feature: Tensor
    box: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Cells (H, W)."""
        return self.projection.shape[-2], self.projection.shape[-1]

    def rows(self) -> Tensor:
        """Projections as (B, n, C), cells row-major."""
        return self.projection.flatten(2).transpose(1, 2)


class Matches(NamedTuple):
    """Pairs for a loss: anchor (N, C), positive (N, C), not normalised, and weight (N,) ≥ 0."""

    anchor: Tensor
    positive: Tensor
    weight: Tensor


class Matcher(BaseModule):
    """Base of the matchers: a matcher says what the *source* view holds at each cell of the *target* view.

    Args:
        both_directions: Match key cells to the query view too, not only query cells to the key view.
        anchor: Which side of the second direction is the anchor. ``'query'``: what the query view says of key cell i is
            the anchor and carries the gradient into the negatives (PLM's code). ``'key'``: key cell i is the
            anchor (PLM's eq. 11 read literally), so that negatives give no gradient there.
    """

    aggregates = False
    """Whether a positive is a weighted mean of cells, which varies less than cells do, instead of a cell."""

    def __init__(self, both_directions: bool, anchor: str = 'query') -> None:
        super().__init__()
        if anchor not in ('query', 'key'):
            raise ValueError(f"{type(self).__name__}: anchor is {anchor!r}, expected 'query' or 'key'")
        self.both_directions = both_directions
        self.anchor = anchor

    def align(self, target: DenseView, source: DenseView) -> Matches:
        """For cells of ``target``, as anchor, what ``source`` holds there, as positive, and how much it counts."""
        raise NotImplementedError

    def forward(self, query: DenseView, key: DenseView, key_twin: 'Matcher | None' = None) -> Matches:
        """All pairs of both directions, rows of the first before those of the second.

        Args:
            query: Dense features of the query view.
            key: Dense features of the key view.
            key_twin: This matcher in the key encoder; it aligns what the key view holds. Matters only to matchers
                with parameters, and ``None`` shares them.
        """
        forth = (key_twin or self).align(query, key)
        if not self.both_directions:
            return forth
        back = self.align(key, query)
        if self.anchor == 'query':
            back = Matches(back.positive, back.anchor, back.weight)
        return Matches(*(torch.cat(pair) for pair in zip(forth, back, strict=True)))


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (B, m, C) at index (B, n) as (B, n, C)."""
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))


def _check_gamma(owner: str, gamma: int | None) -> int | None:
    if gamma is not None and gamma < 1:
        raise ValueError(f'{owner}: gamma is {gamma}, expected at least 1, or None for all cells')
    return gamma


def _pairs(
    target: DenseView, source: DenseView, index: Tensor, distance: Tensor | None = None, gamma: int | None = None
) -> Matches:
    """Target cells, each with the source cell at ``index`` (B, n); every row counts the same.

    Of each image the ``gamma`` pairs of the smallest ``distance`` (B, n) are kept, the lowest index first where they
    tie. Cells stay in their order.
    """
    anchor = target.rows()
    if gamma is not None and gamma < index.shape[1]:
        kept = distance.argsort(dim=1, stable=True)[:, :gamma].sort(dim=1).values
        anchor, index = _take(anchor, kept), index.gather(1, kept)
    anchor, positive = anchor.flatten(0, 1), _take(source.rows(), index).flatten(0, 1)
    return Matches(anchor, positive, anchor.new_ones(anchor.shape[0]))


@MODELS.register_module()
class FeatureMatcher(Matcher):
    """M_ft of DenseCL and VICRegL: the cell with the most similar feature; the lowest index wins a tie.

    Args:
        space: Where to compare: ``'backbone'`` maps (DenseCL) or ``'projection'`` (VICRegL's code).
        both_directions: See :class:`Matcher`; DenseCL matches query cells only.
        anchor: See :class:`Matcher`.
        metric: ``'cosine'`` (DenseCL) or ``'l2'``, Euclidean distance (VICRegL).
        gamma: How many of an image's pairs to keep, the most similar first; ``None`` keeps all.
    """

    def __init__(
        self,
        space: str = 'backbone',
        both_directions: bool = False,
        anchor: str = 'query',
        metric: str = 'cosine',
        gamma: int | None = None,
    ) -> None:
        super().__init__(both_directions, anchor)
        if space not in ('backbone', 'projection'):
            raise ValueError(f"FeatureMatcher: space is {space!r}, expected 'backbone' or 'projection'")
        if metric not in METRICS:
            raise ValueError(f"FeatureMatcher: metric is {metric!r}, expected 'cosine' or 'l2'")
        self.space = space
        self.metric = metric
        self.gamma = _check_gamma('FeatureMatcher', gamma)

    def align(self, target: DenseView, source: DenseView) -> Matches:
        """Target cells with the source cell most like each."""
        field = 'feature' if self.space == 'backbone' else 'projection'
        asked, answers = (getattr(view, field).detach().flatten(2) for view in (target, source))
        index = functional.feature_match(asked, answers, self.metric)
        distance = None if self.gamma is None else self._distance(asked.mT, _take(answers.mT, index))
        return _pairs(target, source, index, distance, self.gamma)

    def _distance(self, rows: Tensor, found: Tensor) -> Tensor:
        """(B, n) of rows (B, n, C) to what was found for each."""
        rows, found = rows.float(), found.float()
        if self.metric == 'l2':
            return (rows - found).norm(dim=2)
        return -F.cosine_similarity(rows, found, dim=2)


@MODELS.register_module()
class LocationMatcher(Matcher):
    """M_loc of VICRegL: the cell with the nearest centre in the source image.

    Args:
        gamma: How many of an image's pairs to keep, the closest first; ``None`` keeps all.
        both_directions: See :class:`Matcher`.
        anchor: See :class:`Matcher`.
    """

    def __init__(self, gamma: int | None = 20, both_directions: bool = True, anchor: str = 'query') -> None:
        super().__init__(both_directions, anchor)
        self.gamma = _check_gamma('LocationMatcher', gamma)

    def align(self, target: DenseView, source: DenseView) -> Matches:
        """The ``gamma`` target cells that lie closest to a source cell, each with that cell."""
        index, distance = functional.nearest_match(target.box, source.box, target.size, source.size)
        return _pairs(target, source, index, distance, self.gamma)


@MODELS.register_module()
class PreciseLocationMatcher(Matcher):
    """M_pl of PLM (eqs. 3–11): a cell's target is the overlap-weighted sum of the other view's cells.

    Args:
        match_linear: Send the aggregated side through a linear layer with bias before the norm, as the authors' code
            does; the key side uses a trailing copy of it. Needs ``channels``.
        channels: C, for ``match_linear``.
        both_directions: See :class:`Matcher`; eq. 11 sums over both.
        anchor: See :class:`Matcher`.
    """

    aggregates = True

    def __init__(
        self,
        match_linear: bool = False,
        channels: int | None = None,
        both_directions: bool = True,
        anchor: str = 'query',
    ) -> None:
        super().__init__(both_directions, anchor)
        self.linear: nn.Module = nn.Identity()
        if match_linear:
            if channels is None:
                raise ValueError(
                    'PreciseLocationMatcher: match_linear needs channels, found None; give C of dense_neck'
                )
            self.linear = nn.Linear(channels, channels)

    def align(self, target: DenseView, source: DenseView) -> Matches:
        """Every target cell with M·source (eq. 7 or 8) and the share of it that the source covers (eq. 9 or 10).

        Rows of M are divided by their sums first: the direction is the same, ``linear`` sees features of the scale
        that the neck gives whatever the size of the crop, and areas in pixels cannot overflow half precision.
        """
        fy, fx = functional.overlap_factors(target.box, source.box, target.size, source.size)
        shares = functional.row_shares(fy), functional.row_shares(fx)
        aligned = functional.precise_match(source.projection, *shares).flatten(2).transpose(1, 2)
        weight = functional.overlap_weights(fy, fx, target.box, target.size)
        return Matches(target.rows().flatten(0, 1), self.linear(aligned).flatten(0, 1), weight.flatten())
