"""Dense contrast as a part that any framework with two encoders can take."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.models.matchers import DenseView
from histomm.models.queue import FeatureQueue
from histomm.registry import MODELS

_REDUCTIONS = {'sum': 'weighted_mean', 'mean': 'mean'}


class DenseMaps(NamedTuple):
    """Maps of one view of a batch, as the view is turned.

    Attributes:
        projection: (B, C, H, W) dense projections, not normalised.
        feature: (B, D, H, W) backbone map over the same cells.
    """

    projection: Tensor
    feature: Tensor


class DenseBranch(nn.Module):
    """Dense neck, matchers and queue: the mean over matchers of the InfoNCE of the pairs each returns.

    The query side's parts are its own. What the key side uses in their place is given to :meth:`forward`, so that the
    framework decides how an encoder follows the other::

        branch = DenseBranch(dense_neck, matchers)
        key_encoder = EMATeacher(nn.ModuleDict(dict(backbone=backbone, **branch.learned())))
        loss, overlap = branch(query_maps, key_maps, geometry, key_encoder.module['matchers'])
        branch.enqueue(key_maps)

    Args:
        neck: Config of the dense neck, from the backbone's maps to (B, C, H, W).
        matchers: Configs of matchers.
        queue_len: Negatives kept.
        feat_dim: C, width of the projection.
        temperature: τ of the InfoNCE.
        weight_norm: ``'sum'``: Σwℓ/Σw over the batch's rows (Zhang et al., IPMI 2023, eq. 11); ``'mean'``: mean of wℓ
            (their code).
        strict_queue: Refuse batch sizes that do not divide ``queue_len``.

    Raises:
        ValueError: no matchers; unknown ``weight_norm``.
    """

    def __init__(
        self,
        neck: dict,
        matchers: Sequence[dict],
        queue_len: int = 16384,
        feat_dim: int = 128,
        temperature: float = 0.2,
        weight_norm: str = 'sum',
        strict_queue: bool = False,
    ) -> None:
        super().__init__()
        if not matchers:
            raise ValueError('DenseBranch: matchers is empty, expected at least one')
        if weight_norm not in _REDUCTIONS:
            raise ValueError(f"DenseBranch: weight_norm is {weight_norm!r}, expected 'sum' or 'mean'")
        self.reduction = _REDUCTIONS[weight_norm]
        self.temperature = temperature
        self.neck = MODELS.build(neck)
        self.matchers = nn.ModuleList(MODELS.build(matcher) for matcher in matchers)
        self.queue = FeatureQueue(queue_len, feat_dim, strict_queue)

    def learned(self) -> dict[str, nn.Module]:
        """The parts with parameters, ``dense_neck`` and ``matchers``: what an averaged encoder has twins of."""
        return dict(dense_neck=self.neck, matchers=self.matchers)

    def forward(
        self, query: DenseMaps, key: DenseMaps, geometry: Sequence[ViewGeometry] | None, twins: nn.ModuleList
    ) -> tuple[Tensor, Tensor]:
        """Loss of one pair of views.

        Args:
            query: Maps of the query view.
            key: Maps of the key view, without gradient.
            geometry: Where the query view and the key view came from.
            twins: The key encoder's matchers; they align what the key view holds.

        Returns:
            Mean loss over the matchers, a graph-connected 0 where no pair has weight, and their mean weight.

        Raises:
            ValueError: there is no geometry.
        """
        if geometry is None:
            raise ValueError(
                'the matchers of dense contrast need the geometry of the views, found none; '
                'use histomm.MultiView, histomm.PackViews and histomm.ViewDataPreprocessor'
            )
        views = [dense_view(*pair) for pair in zip((query, key), geometry, strict=True)]
        losses, weights = [], []
        for matcher, twin in zip(self.matchers, twins, strict=True):
            pairs = matcher(*views, twin)
            losses.append(
                self.queue.contrast(pairs.anchor, pairs.positive, self.temperature, pairs.weight, self.reduction)
            )
            weights.append(pairs.weight.detach().mean())
        return torch.stack(losses).mean(), torch.stack(weights).mean()

    def enqueue(self, key: DenseMaps) -> None:
        """Write one pooled dense vector an image."""
        self.queue.enqueue(functional.unit_rows(key.projection.mean((2, 3), dtype=torch.float32)))


def dense_view(maps: DenseMaps, geometry: ViewGeometry) -> DenseView:
    """Turn a view's maps back to the orientation of the source; features serve to compare only, without gradient."""
    turned = (
        functional.canonicalize(feat, geometry.hflip, geometry.vflip, geometry.rot90)
        for feat in (maps.projection, maps.feature.detach())
    )
    return DenseView(*turned, geometry.box)
