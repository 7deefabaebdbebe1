"""VICReg on whole images, and on matched places in them."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.functional.vicreg import COMBINATIONS
from histomm.models.dense_branch import DenseMaps, dense_view
from histomm.models.gather import gather_with_grad
from histomm.models.matchers import DenseView, Matcher, Matches
from histomm.models.selfsup.base import ViewSupervisor
from histomm.registry import MODELS

TERMS = ('invariance', 'variance', 'covariance')


@MODELS.register_module()
class VICReg(ViewSupervisor):
    """VICReg (Bardes et al., ICLR 2022), VICRegL (NeurIPS 2022) and either with M_pl.

    Without matchers L = 25·s + 25·v + c of the views' embeddings: the invariance s draws the views of an image
    together, the variance v keeps every channel spread out, the covariance c keeps channels apart. Nothing else is
    needed against collapse, neither negatives nor a second encoder, and gradients flow into both views.

    With matchers L = α·L_global + (1 − α)·L_local. L_local is the sum over matchers of the same criterion on the pairs
    of cells that each finds. Cells are brought together as they lie in the source, whatever flips and turns the views
    went through. VICRegL has one ``FeatureMatcher`` and one ``LocationMatcher``: each direction is a criterion of its
    own, with variance and covariance of the matched cells, and the directions are averaged. A matcher whose targets
    are means of cells (``PreciseLocationMatcher``) gives s = Σw·mse / Σw over both directions, and v and c are those
    of each view's whole map, since means vary less than cells.

    Of several views the first ``num_large`` are large crops. s is the mean over ordered pairs of a large crop and any
    other view, v is the mean over views and c their sum or mean; so is the local criterion the mean over these pairs.

    All embeddings, maps and boxes are gathered over processes before anything is computed, with gradient. So loss and
    gradients are those of one process that holds the whole batch; every process needs as many images as the others. The
    criterion is reckoned in float32.

    At α = 0 and α = 1 both losses are still computed and one is multiplied by zero, so that every parameter has a
    gradient under DDP.

    Args:
        backbone: Config of the backbone; the last map that it returns is used.
        neck: Global projector, from the backbone's maps to (B, C) in a tuple.
        dense_neck: Map projector, from the backbone's maps to (B, C, H, W). Needed with matchers.
        matchers: Configs of matchers. Their ``anchor`` is of no matter: both sides have gradients.
        small_matchers: One for each of ``matchers``, for the direction in which the cells of a small crop are given
            targets; ``None`` takes the same. VICRegL keeps 20 pairs of large crops and 4 of small ones.
        num_large: How many of the views, from the first on, are large crops.
        alpha: α in [0, 1], share of the global criterion; of no matter without matchers.
        weights: Of invariance, variance and covariance.
        covariance: ``'sum'`` over the two views, as VICReg's authors have it, or ``'mean'``, as VICRegL's.
        statistics: Over what variance and covariance of cells are taken. ``'images'``: over the images of the batch,
            for each place of the map (or in the list of an image's pairs) apart, then averaged, as VICRegL's authors
            do. ``'cells'``: over all cells of all images together, which is steadier where batches are small.
        data_preprocessor: Config; it must hand over ``geometry`` if there are matchers.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: α outside [0, 1]; matchers without map projector or the reverse; small matchers unlike the others;
            no large crop; other than three weights; an unknown ``covariance`` or ``statistics``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        dense_neck: dict | None = None,
        matchers: Sequence[dict] = (),
        small_matchers: Sequence[dict] | None = None,
        num_large: int = 2,
        alpha: float = 0.75,
        weights: Sequence[float] = (25.0, 25.0, 1.0),
        covariance: str = 'sum',
        statistics: str = 'images',
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or dict(type='histomm.ViewDataPreprocessor')
        super().__init__(backbone, neck, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 <= alpha <= 1 or num_large < 1 or len(weights) != 3:
            raise ValueError(
                f'VICReg: alpha is {alpha}, num_large {num_large} and weights {weights}, expected a share in [0, 1], '
                'at least 1, and three numbers: of invariance, variance and covariance'
            )
        if covariance not in COMBINATIONS or statistics not in ('images', 'cells'):
            raise ValueError(
                f"VICReg: covariance is {covariance!r} and statistics {statistics!r}, expected 'sum' or 'mean', and "
                "'images' or 'cells'"
            )
        if bool(matchers) != bool(dense_neck):
            raise ValueError(
                f'VICReg: found {len(matchers)} matchers and dense_neck={dense_neck}, '
                'expected both (VICRegL) or none of them (VICReg)'
            )
        self.alpha, self.num_large, self.weights = alpha, num_large, tuple(weights)
        self.covariance, self.statistics = covariance, statistics
        self.dense_neck = MODELS.build(dense_neck) if dense_neck else None
        self.matchers = nn.ModuleList(MODELS.build(matcher) for matcher in matchers)
        self.small_matchers = nn.ModuleList(MODELS.build(matcher) for matcher in small_matchers or ())
        if small_matchers is not None and list(map(type, self.small_matchers)) != list(map(type, self.matchers)):
            raise ValueError(
                f'VICReg: small_matchers are {[type(m).__name__ for m in self.small_matchers]}, expected '
                f'{[type(m).__name__ for m in self.matchers]} as matchers'
            )

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """Both criteria of views, large crops first, weighted by α; their terms without weight; the matched weight."""
        self._check_views(inputs, geometry)
        feats = [self.backbone(view) for view in inputs]
        terms = self._global_terms([_gather(self.neck(feat)[0]) for feat in feats])
        if not self.matchers:
            return dict(loss_global=self._weigh(terms), **_named('global', terms))
        views = [
            DenseView(*map(_gather, dense_view(DenseMaps(self.dense_neck(feat), feat[-1]), place)))
            for feat, place in zip(feats, geometry, strict=True)
        ]
        local_terms, overlap = self._local_terms(views)
        return dict(
            loss_global=self.alpha * self._weigh(terms),
            loss_local=(1 - self.alpha) * self._weigh(local_terms),
            overlap=overlap,
            **_named('global', terms),
            **_named('local', local_terms),
        )

    def _check_views(self, inputs: list[Tensor], geometry: list[ViewGeometry] | None) -> None:
        if len(inputs) < max(2, self.num_large):
            raise ValueError(
                f'VICReg: found {len(inputs)} views, expected at least {max(2, self.num_large)}; check MultiView and '
                'num_large'
            )
        if self.matchers and len(geometry or ()) != len(inputs):
            raise ValueError(
                f'VICReg: its matchers need the geometry of {len(inputs)} views, found that of {len(geometry or ())}; '
                'use histomm.MultiView, histomm.PackViews and histomm.ViewDataPreprocessor'
            )

    def _weigh(self, terms: Tensor) -> Tensor:
        return sum(weight * term for weight, term in zip(self.weights, terms, strict=True))

    def _pairs(self, num_views: int) -> Iterator[tuple[int, int, float]]:
        """(i, j, share) with i < j: the share of each among the ordered pairs of a large crop and any other view."""
        total = self.num_large * (num_views - 1)
        for i in range(self.num_large):
            for j in range(i + 1, num_views):
                yield i, j, (2 if j < self.num_large else 1) / total

    def _global_terms(self, views: list[Tensor]) -> Tensor:
        """(3,) terms of the embeddings (N, C) of all views."""
        invariance = sum(
            share * functional.vicreg_invariance(views[i], views[j]) for i, j, share in self._pairs(len(views))
        )
        return torch.stack([invariance, *functional.vicreg_spread(views, self.covariance)])

    def _local_terms(self, views: list[DenseView]) -> tuple[Tensor, Tensor]:
        """(3,) terms, mean over pairs of the sum over matchers; and the mean weight of the matches."""
        terms, weights = torch.zeros(3, device=views[0].box.device), []
        for i, j, share in self._pairs(len(views)):
            for number, matcher in enumerate(self.matchers):
                found = [
                    self._matcher(number, target).align(views[target], views[source])
                    for target, source in ((i, j), (j, i))[: 1 + matcher.both_directions]
                ]
                criterion = self._aggregated_terms if matcher.aggregates else self._pair_terms
                terms = terms + share * criterion(found, [views[i], views[j]])
                weights.append(torch.cat([matches.weight for matches in found]).detach().mean())
        return terms, torch.stack(weights).mean()

    def _matcher(self, number: int, target: int) -> Matcher:
        small = self.small_matchers and target >= self.num_large
        return (self.small_matchers if small else self.matchers)[number]

    def _pair_terms(self, found: list[Matches], views: list[DenseView]) -> Tensor:
        """Mean over directions of the criterion of the matched cells."""
        size = len(views[0].box)
        directions = [
            functional.vicreg_terms(*(self._places(rows, size) for rows in matches), self.covariance)
            for matches in found
        ]
        return torch.stack([torch.stack(terms) for terms in directions]).mean(0)

    def _aggregated_terms(self, found: list[Matches], views: list[DenseView]) -> Tensor:
        """Weighted invariance over both directions; variance and covariance of the views' maps."""
        anchor, positive, weight = (torch.cat(rows) for rows in zip(*found, strict=True))
        maps = [self._places(view.rows().flatten(0, 1), len(view.box)) for view in views]
        spread = functional.vicreg_spread(maps, self.covariance)
        return torch.stack([functional.vicreg_invariance(anchor, positive, weight), *spread])

    def _places(self, rows: Tensor, size: int) -> Tensor:
        """Rows (B·n, ...) of B images as (B, n, ...), or as they are where all cells are taken together."""
        return rows.unflatten(0, (size, -1)) if self.statistics == 'images' else rows


def _gather(rows: Tensor) -> Tensor:
    """Rows of all processes, in float32 or wider, so that gradients are summed over processes without loss."""
    return gather_with_grad(rows.to(torch.promote_types(rows.dtype, torch.float32)))


def _named(criterion: str, terms: Tensor) -> dict[str, Tensor]:
    """Terms for the log: ``global_invariance`` and so on."""
    return {f'{criterion}_{name}': term for name, term in zip(TERMS, terms.detach(), strict=True)}
