"""A ResNet with larger maps: strides of the last stages made up for by dilation."""

from typing import Any

from mmpretrain.models.backbones import ResNet

from histomm.registry import MODELS

_STAGES = {8: ((1, 2, 1, 1), (1, 1, 2, 4)), 16: ((1, 2, 2, 1), (1, 1, 1, 2))}


@MODELS.register_module()
class DilatedResNet(ResNet):
    """mmpretrain's ResNet at output stride 8 or 16, of bottleneck blocks.

    A stage that loses its stride has the dilation of its 3×3 convolutions doubled, and so have the stages after it; the
    block that lost the stride still sees the map of the stage before, and keeps the dilation of that stage: with stride
    8 layer3 has 1, 2, 2, … and layer4 2, 4, 4. This is torchvision's ``replace_stride_with_dilation``; mmpretrain's
    ``dilations`` dilate the first block like the others. Names and shapes of weights are those of the plain ResNet.

    Args:
        depth: 50, 101 or 152.
        output_stride: 8 or 16; at 8 an image of 224 pixels has a map of 28 × 28.
        zero_init_residual: As in mmpretrain, where it is on by default.
        **kwargs: Of mmpretrain's ``ResNet`` but ``strides`` and ``dilations``.

    Raises:
        ValueError: another stride, or a depth with basic blocks.
    """

    def __init__(self, depth: int, output_stride: int = 8, zero_init_residual: bool = False, **kwargs: Any) -> None:
        if output_stride not in _STAGES or depth not in (50, 101, 152):
            raise ValueError(
                f'DilatedResNet: depth is {depth} and output_stride {output_stride}, expected 50, 101 or 152, and '
                '8 or 16'
            )
        strides, dilations = _STAGES[output_stride]
        super().__init__(depth, strides=strides, dilations=dilations, zero_init_residual=zero_init_residual, **kwargs)
        for stage in range(1, 4):
            conv = getattr(self, f'layer{stage + 1}')[0].conv2
            conv.dilation = conv.padding = (dilations[stage - 1],) * 2

    def train(self, mode: bool = True) -> 'DilatedResNet':
        """Change to training or evaluation, but for what is frozen; gives the module itself, as torch has it."""
        super().train(mode)
        return self
