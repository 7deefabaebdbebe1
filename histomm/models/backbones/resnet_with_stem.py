"""A ResNet that hands out the map before its max-pooling as well."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones import ResNet
from torch import Tensor

from histomm.registry import MODELS


@MODELS.register_module()
class ResNetWithStem(ResNet):
    """mmpretrain's ResNet whose outputs begin with the stem's, at half the size of the image: what a U-Net joins last.

    Names and values of the weights are those of the ResNet, so that every checkpoint of one fits.

    Args:
        depth: 18, 34, 50, 101 or 152.
        out_indices: Stages that follow the stem in the outputs.
        zero_init_residual: As in mmpretrain, where it is on by default.
        **kwargs: Of mmpretrain's ``ResNet``. ``frozen_stages=4`` freezes all of it: no weight is trained, and no batch
            norm learns statistics.
    """

    def __init__(
        self, depth: int, out_indices: Sequence[int] = (0, 1, 2, 3), zero_init_residual: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(depth, out_indices=out_indices, zero_init_residual=zero_init_residual, **kwargs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of the stem and of the stages.

        Args:
            x: Images (B, 3, H, W).

        Returns:
            (B, stem channels, ⌈H/2⌉, ⌈W/2⌉) after batch norm and ReLU, then the stages of ``out_indices``, the first of
            them at a quarter of the size.
        """
        stem = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        outputs, x = [stem], self.maxpool(stem)
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> 'ResNetWithStem':
        """Change to training or evaluation, but for what is frozen; gives the module itself, as torch has it."""
        super().train(mode)
        return self
