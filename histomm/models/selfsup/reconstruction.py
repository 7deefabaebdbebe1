"""Painting an image anew from itself: autoencoder and colourisation."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from histomm.functional import ViewGeometry
from histomm.models.heads import UNetDecoder
from histomm.models.selfsup.base import ViewSupervisor
from histomm.registry import MODELS

INPUTS = ('color', 'grey')
_LUMA = (0.299, 0.587, 0.114)


@MODELS.register_module()
class PixelReconstruction(ViewSupervisor):
    """A U-Net that gives the colours of an image, of which it sees all (autoencoder) or the luma (colourisation).

    L = mean over pixels and channels of |predicted − true|, of normalised values. The decoder joins every map of the
    backbone, the stem's at half the size of the image among them, as that of a segmentation U-Net does; so an
    autoencoder can pass fine detail by its deeper layers, and learns little in them.

    Args:
        backbone: Config of ``histomm.ResNetWithStem``.
        in_channels: Channels of the backbone's maps, from the largest; (64, 64, 128, 256, 512) for ResNet-18 and 34,
            (64, 256, 512, 1024, 2048) for ResNet-50 and 101.
        input: 'color' shows the image, 'grey' its luma in all three channels.
        up_channels: Of :class:`~histomm.models.UNetDecoder`.
        data_preprocessor: Config of ``histomm.ViewDataPreprocessor``, whose mean and deviation are undone for the luma.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: an unknown input, or channels that do not fit, see :class:`~histomm.models.UNetDecoder`.
    """

    def __init__(
        self,
        backbone: dict,
        in_channels: Sequence[int] = (64, 64, 128, 256, 512),
        input: str = 'color',
        up_channels: Sequence[int] = (512, 256, 128, 64),
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if input not in INPUTS:
            raise ValueError(f"PixelReconstruction: input is {input!r}, expected 'color' or 'grey'")
        data_preprocessor = data_preprocessor or dict(type='histomm.ViewDataPreprocessor', geometry=False)
        super().__init__(backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.input = input
        self.decoder = UNetDecoder(in_channels, up_channels)
        self.colors = nn.Conv2d(32, 3, 1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Predicted normalised colours of normalised images, both (B, 3, H, W); H and W are multiples of 32."""
        shown = images if self.input == 'color' else self._grey(images)
        return self.colors(self.decoder(self.backbone(shown)))

    def _grey(self, images: Tensor) -> Tensor:
        """The luma 0.299 R + 0.587 G + 0.114 B, normalised as each of the channels."""
        mean, std = self.data_preprocessor.mean, self.data_preprocessor.std
        weights = images.new_tensor(_LUMA).view(3, 1, 1)
        luma = ((images * std + mean) * weights).sum(1, keepdim=True)
        return (luma - mean) / std

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """L1 of one view (B, 3, H, W), and the mean error in grey levels.

        Raises:
            ValueError: other than one view.
        """
        if len(inputs) != 1:
            raise ValueError(f'PixelReconstruction: found {len(inputs)} views, expected 1; set num=1 in MultiView')
        (images,) = inputs
        predicted = self.reconstruct(images)
        error = (predicted.detach() - images).abs() * self.data_preprocessor.std
        return dict(loss=F.l1_loss(predicted, images), grey_levels=error.mean())
