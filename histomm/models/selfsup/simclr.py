"""SimCLR over all processes."""

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.models.gather import gather_with_grad
from histomm.models.selfsup.base import ViewSupervisor
from histomm.registry import MODELS


@MODELS.register_module()
class SimCLR(ViewSupervisor):
    """SimCLR (Chen et al., ICML 2020): NT-Xent of two views of each image, gradients flow into both.

    The views' projections are scaled to unit length and gathered over processes with gradient, so loss and gradients
    are those of one process that holds the whole batch. Every process needs as many images as the others. The loss is
    reckoned in float32.

    mmpretrain's SimCLR keeps, of the gradient for a gathered row, what its own process wants of it and drops what the
    others want, so its gradients depend on the number of processes; this one takes its place.

    Args:
        backbone: Config of the backbone.
        neck: Projector, from the backbone's maps to (B, C) in a tuple.
        temperature: τ > 0.
        join_views: Encode both views as one batch, so that batch norm sees them together, as SimCLR's authors do.
            False encodes them one by one, which :func:`~histomm.models.with_dense_branch` asks for.
        data_preprocessor: Config; geometry is of no use here.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: the temperature is not positive.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        temperature: float = 0.1,
        join_views: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if not temperature > 0:
            raise ValueError(f'SimCLR: temperature is {temperature}, expected a number > 0')
        data_preprocessor = data_preprocessor or dict(type='histomm.ViewDataPreprocessor', geometry=False)
        super().__init__(backbone, neck, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.temperature = temperature
        self.join_views = join_views

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """NT-Xent of two views (B, 3, H, W).

        Raises:
            ValueError: other than two views.
        """
        if len(inputs) != 2:
            raise ValueError(f'SimCLR: found {len(inputs)} views, expected 2; set num=2 in histomm.MultiView')
        if self.join_views:
            projections = self.neck(self.backbone(torch.cat(inputs)))[0].chunk(2)
        else:
            projections = [self.neck(self.backbone(view))[0] for view in inputs]
        rows = [gather_with_grad(functional.unit_rows(view)) for view in projections]
        return dict(loss=functional.nt_xent(*rows, self.temperature))
