"""What the algorithms on views with geometry have in common."""

from mmengine.structures import BaseDataElement
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from torch import Tensor

from histomm.functional import ViewGeometry


class ViewSupervisor(BaseSelfSupervisor):
    """mmpretrain's base of algorithms, whose ``loss`` is also told where each view came from."""

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Losses of the views (``mode='loss'``) or the backbone's maps of one batch (``mode='tensor'``).

        Args:
            inputs: Views, each (B, 3, H, W), in the order that ``loss`` asks for; or one batch for ``'tensor'``.
            data_samples: Unused; images need no labels.
            geometry: Where each view came from; needed with matchers.
            mode: ``'loss'`` or ``'tensor'``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, geometry)
        return super().forward(inputs, data_samples, mode)
