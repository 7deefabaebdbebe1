"""Normalisation on the device, and the geometry of views as tensors."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from histomm.functional.geometry import ViewGeometry
from histomm.registry import MODELS

_GEOMETRY = {'crop_box': torch.float32, 'hflip': torch.bool, 'vflip': torch.bool, 'rot90': torch.long}


@MODELS.register_module()
class ViewDataPreprocessor(BaseDataPreprocessor):
    """Moves uint8 views to the device, normalises them there in float32 and batches their geometry.

    Takes what ``histomm.PackViews`` gives after mmengine's ``default_collate`` (or ``pseudo_collate``), and also
    batches of single images as mmpretrain's ``PackInputs`` makes them. Data samples stay on the CPU.

    Args:
        mean: Of the R, G and B channels, in grey levels (0 to 255). ImageNet's by default.
        std: Likewise.
        channels_last: Give the images the memory format ``torch.channels_last``.
        non_blocking: Copy to the device without waiting; takes effect with pinned memory.
        geometry: Hand over the views' geometry. mmpretrain's algorithms take none.

    Raises:
        ValueError: ``mean`` or ``std`` are not three numbers, or a ``std`` is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channels_last: bool = False,
        non_blocking: bool = True,
        geometry: bool = True,
    ) -> None:
        super().__init__(non_blocking)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f'ViewDataPreprocessor: mean is {mean} and std {std}, expected three grey levels each, std above 0'
            )
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.geometry = geometry
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def _normalise(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, 3, H, W) uint8, or B times (3, H, W), to normalised float32 on the device."""
        if not isinstance(images, Tensor):
            images = torch.stack(list(images))
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f'ViewDataPreprocessor: images of shape {tuple(images.shape)}, expected (B, 3, H, W)')
        images = self.cast_data(images).contiguous(memory_format=self.memory_format)
        return images.sub(self.mean).div_(self.std)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs`` (list over V views of (B, 3, H, W) uint8, or of B tensors (3, H, W); or one tensor
                (B, 3, H, W) of single images) and ``data_samples`` (list of B data samples, or None).
            training: Not used; mmengine passes it.

        Returns:
            dict: ``inputs`` (list over views of (B, 3, H, W) float32, or one tensor), ``data_samples`` as given, and
            ``geometry`` (list over views of :class:`~histomm.functional.geometry.ViewGeometry`) if it is wanted and
            the samples carry it.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        single = isinstance(inputs, Tensor) or (isinstance(inputs[0], Tensor) and inputs[0].ndim == 3)
        result = {
            'inputs': self._normalise(inputs) if single else [self._normalise(view) for view in inputs],
            'data_samples': samples,
        }
        if self.geometry and samples and 'crop_box' in samples[0]:
            result['geometry'] = self._geometry(samples, 1 if single else len(inputs))
        return result

    def _geometry(self, samples: Sequence, num_views: int) -> list[ViewGeometry]:
        fields = {
            key: torch.tensor([sample.get(key) for sample in samples], dtype=dtype) for key, dtype in _GEOMETRY.items()
        }
        recorded = fields['crop_box'].shape[1]
        if recorded != num_views:
            raise ValueError(
                f'ViewDataPreprocessor: data samples record {recorded} views, expected {num_views} as in inputs; '
                'use histomm.PackViews'
            )
        views = zip(*(field.unbind(1) for field in fields.values()), strict=True)
        return [ViewGeometry(*view).to(self.device) for view in views]
