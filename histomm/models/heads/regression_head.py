"""Head that predicts one value an image, such as the cellularity of a patch."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn, stack
from torch.nn.functional import l1_loss

from histomm.registry import MODELS


@MODELS.register_module()
class RegressionHead(BaseModule):
    """A linear layer from a pooled vector to a value in a known range, trained on the absolute error.

    The layer works in units of the range: the value is low + (high − low) · layer(x), so that the first predictions of
    a new layer are of the right order whatever the unit. Predictions are cut to the range, the loss is not.

    Args:
        in_channels: D, width of the vectors.
        low: Lowest value.
        high: Highest value, above ``low``.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: ``high`` is not above ``low``.
    """

    def __init__(
        self, in_channels: int, low: float = 0.0, high: float = 100.0, init_cfg: dict | list | None = None
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', layer='Linear', std=0.01))
        if not high > low:
            raise ValueError(f'RegressionHead: low is {low} and high {high}, expected high above low')
        self.low, self.high = float(low), float(high)
        self.fc = nn.Linear(in_channels, 1)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Values (B,) from the last of ``feats``, vectors (B, D)."""
        return self.low + (self.high - self.low) * self.fc(feats[-1]).squeeze(1)

    def loss(self, feats: tuple[Tensor, ...], data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """Mean absolute error against ``gt_score`` of the samples, in their unit."""
        values = self(feats)
        truth = stack([sample.gt_score.reshape(()) for sample in data_samples]).to(values)
        return dict(loss=l1_loss(values, truth))

    def predict(
        self, feats: tuple[Tensor, ...], data_samples: Sequence[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Samples with ``pred_score`` (1,), the value cut to the range."""
        values = self(feats).detach().clamp(self.low, self.high)
        samples = data_samples or [None] * len(values)
        return [
            (sample or DataSample()).set_pred_score(value[None]) for sample, value in zip(samples, values, strict=True)
        ]
