"""The decoder of a U-Net (Ronneberger et al. 2015) over the maps of a ResNet, alone and as a decode head of mmseg."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from histomm.registry import MODELS, register_on_demand

KAIMING = dict(type='Kaiming', layer=['Conv2d', 'ConvTranspose2d'], mode='fan_out', nonlinearity='relu')


def _conv(in_channels: int, channels: int, norm_cfg: dict) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A 3×3 convolution, norm and ReLU; with a bias, though a norm follows, as the decoder of PLM's authors has it."""
    return nn.Conv2d(in_channels, channels, 3, padding=1), build_norm_layer(norm_cfg, channels)[1], nn.ReLU()


class _UpBlock(nn.Module):
    """Double the size, join the skip, and two convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, kernel_size=2, stride=2)
        self.convs = nn.Sequential(
            *_conv(channels + skip_channels, channels, norm_cfg), *_conv(channels, channels, norm_cfg)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.convs(torch.cat([self.up(x), skip], dim=1))


class UNetDecoder(nn.Module):
    """Decoder of a U-Net: from the maps of a backbone to one map of the size of the image.

    Args:
        in_channels: Channels of the backbone's maps from the largest, at half the size of the image, to the smallest;
            each half the size of the one before.
        up_channels: Channels after each block, from the smallest map upwards; one block for every map but the last.
        channels: Channels of the result.
        norm_cfg: Norm of the convolutions.

    Raises:
        ValueError: numbers of maps and blocks that do not fit.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        up_channels: Sequence[int] = (512, 256, 128, 64),
        channels: int = 32,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) < 2 or len(up_channels) != len(in_channels) - 1:
            raise ValueError(
                f'UNetDecoder: in_channels names {len(in_channels)} maps and up_channels {len(up_channels)} blocks, '
                'expected one block fewer than maps'
            )
        *skips, width = in_channels
        self.blocks = nn.ModuleList()
        for skip, up in zip(reversed(skips), up_channels, strict=True):
            self.blocks.append(_UpBlock(width, skip, up, norm_cfg or dict(type='BN')))
            width = up
        self.last = nn.ConvTranspose2d(width, channels, kernel_size=2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """From maps (B, C_i, H/2ⁱ⁺¹, W/2ⁱ⁺¹) to (B, channels, H, W).

        Raises:
            ValueError: a map that is not half the size of the one before.
        """
        for large, small in pairwise(maps):
            (h, w), (half_h, half_w) = large.shape[2:], small.shape[2:]
            if (h, w) != (2 * half_h, 2 * half_w):
                side = 2 ** len(maps)
                raise ValueError(
                    f'UNetDecoder: a map of {h}×{w} is followed by one of {half_h}×{half_w}, expected half the size; '
                    f'the sides of the images must be multiples of {side}: set size_divisor={side} in the '
                    'data_preprocessor and in its test_cfg'
                )
        *skips, x = maps
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        return self.last(x)


@register_on_demand(MODELS, 'UNetHead', 'mmseg')
def unet_head_class() -> type:
    """The class ``UNetHead``, which derives from mmseg's ``BaseDecodeHead``."""
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    class UNetHead(BaseDecodeHead):
        """:class:`UNetDecoder` and a 1×1 convolution as a decode head of mmseg, for ``histomm.ResNetWithStem``.

        All convolutions start from a normal distribution with the variance of Kaiming's fan-out rule.

        Args:
            in_channels: Of :class:`UNetDecoder`; (64, 64, 128, 256, 512) for ResNet-18 and 34, (64, 256, 512, 1024,
                2048) for ResNet-50.
            num_classes: Number of classes.
            up_channels: Of :class:`UNetDecoder`.
            channels: Of :class:`UNetDecoder`.
            norm_cfg: Norm of the convolutions, batch norm by default.
            loss_decode: As in mmseg; by default the cross-entropy over the pixels that are not ignored (mmseg's own
                default divides by the ignored ones too).
            dropout_ratio: Of the dropout before the last convolution.
            init_cfg: As in mmengine.
            **kwargs: Of mmseg's ``BaseDecodeHead``, such as ``ignore_index`` and ``sampler``.
        """

        __qualname__ = 'UNetHead'  # where __getattr__ of the module finds it, so that it can be pickled

        def __init__(
            self,
            in_channels: Sequence[int],
            num_classes: int,
            up_channels: Sequence[int] = (512, 256, 128, 64),
            channels: int = 32,
            norm_cfg: dict | None = None,
            loss_decode: dict | Sequence[dict] | None = None,
            dropout_ratio: float = 0.0,
            init_cfg: dict | Sequence[dict] = KAIMING,
            **kwargs: Any,
        ) -> None:
            super().__init__(
                in_channels,
                channels,
                num_classes=num_classes,
                in_index=tuple(range(len(in_channels))),
                input_transform='multiple_select',
                norm_cfg=norm_cfg,
                loss_decode=loss_decode or dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True),
                dropout_ratio=dropout_ratio,
                init_cfg=init_cfg,
                **kwargs,
            )
            self.decoder = UNetDecoder(in_channels, up_channels, channels, norm_cfg)

        def forward(self, inputs: Sequence[Tensor]) -> Tensor:
            """Logits (B, num_classes, H, W) of the maps of a backbone."""
            return self.cls_seg(self.decoder(self._transform_inputs(inputs)))

    return UNetHead


def __getattr__(name: str) -> Any:
    if name == 'UNetHead':
        return unet_head_class()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
