"""Linear classifier with dropout before the layer."""

from typing import Any

from mmpretrain.models.heads import LinearClsHead
from torch import Tensor, nn

from histomm.registry import MODELS


@MODELS.register_module()
class DropoutLinearHead(LinearClsHead):
    """mmpretrain's ``LinearClsHead`` on vectors of which a share is dropped in training.

    Args:
        dropout: Probability that an entry is set to 0, from 0 to below 1; the others grow by 1 / (1 − dropout).
        **kwargs: Of ``LinearClsHead``: ``num_classes``, ``in_channels``, ``loss`` and so on.

    Raises:
        ValueError: ``dropout`` is out of range.
    """

    def __init__(self, dropout: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f'DropoutLinearHead: dropout is {dropout}, expected a probability from 0 to below 1')
        self.dropout = nn.Dropout(dropout)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Vectors (B, D) that the layer sees."""
        return self.dropout(super().pre_logits(feats))
