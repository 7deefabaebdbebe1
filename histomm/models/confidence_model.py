"""What all networks that give confidence maps share: checked images, modes, and predictions."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm.functional import ViewGeometry
from histomm.functional.symmetries import SYMMETRIES, dihedral, undo_dihedral
from histomm.models.backbones.confidence_net import batch_statistics
from histomm.registry import MODELS

BLANK = 10 / 255
"""An image whose values span no more is counted as blank: glass, with the noise of a camera and of JPEG."""


class ConfidenceModel(BaseModel):
    """Base of models that turn images into confidences (B, K, H, W) in [0, 1].

    In the modes of mmengine's models: ``'tensor'`` gives confidences, ``'loss'`` the losses and numbers to watch, and
    ``'predict'`` data samples with the field ``confidence`` (K, H, W). A derived class has :meth:`losses`.

    Args:
        backbone: Config of a network from images (B, 3, H, W) to confidences (B, K, H, W) in [0, 1].
        rescale: ε of x ← (1 − ε)·x + ε.
        bn_batch_stats: In evaluation take batch norms' statistics from the batch.
        symmetries: 1, or 8 to average predictions over the turns and flips of the image.
        data_preprocessor: Config; it hands over images with values from 0 to 1.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        backbone: dict,
        rescale: float = 0.05,
        bn_batch_stats: bool = False,
        symmetries: int = 1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or dict(
            type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255)
        )
        super().__init__(data_preprocessor, init_cfg)
        self.name = type(self).__name__
        if not 0 <= rescale < 1:
            raise ValueError(f'{self.name}: rescale is {rescale}, expected a value in [0, 1)')
        if symmetries not in (1, SYMMETRIES):
            raise ValueError(f'{self.name}: symmetries is {symmetries}, expected 1 or {SYMMETRIES}')
        self.backbone = MODELS.build(backbone)
        self.rescale, self.bn_batch_stats, self.symmetries = rescale, bn_batch_stats, symmetries

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Confidences, losses or predictions of a batch.

        Args:
            inputs: Images (B, 3, H, W) with values from 0 to 1, or a list of one such view.
            data_samples: Predictions are written into them; their ``img_path`` serves to name bad images.
            geometry: Unused; one view has no other to match.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Raises:
            ValueError: More than one view, or values outside [0, 1], as NaN is.
        """
        images, blank = self._checked(inputs, data_samples)
        if mode == 'loss':
            return self.losses(images, data_samples) | dict(blank=blank)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"{self.name}: mode is {mode!r}, expected 'tensor', 'loss' or 'predict'")
        with batch_statistics(self.backbone) if self.bn_batch_stats and not self.training else nullcontext():
            confidence = self._mean_confidence(images) if mode == 'predict' else self.confidence(images)
        if mode == 'tensor':
            return confidence
        samples = data_samples or [BaseDataElement() for _ in confidence]
        for sample, maps in zip(samples, confidence, strict=True):
            sample.set_field(maps, 'confidence')
        return samples

    def confidence(self, images: Tensor) -> Tensor:
        """Confidences (B, K, H, W) of rescaled images (B, 3, H, W)."""
        return self.backbone(images)

    def losses(self, images: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Tensor]:
        """Losses and numbers to watch of rescaled images (B, 3, H, W)."""
        raise NotImplementedError

    def _mean_confidence(self, images: Tensor) -> Tensor:
        """Confidences (B, K, H, W), averaged over the symmetries."""
        total = self.confidence(images)
        for index in range(1, self.symmetries):
            total = total + undo_dihedral(self.confidence(dihedral(images, index)), index)
        return total / self.symmetries

    def _checked(
        self, inputs: Tensor | Sequence[Tensor], data_samples: list[BaseDataElement] | None
    ) -> tuple[Tensor, Tensor]:
        """Images after x ← (1 − ε)·x + ε, and how many of them are blank."""
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if len(views) != 1:
            raise ValueError(f'{self.name}: found {len(views)} views, expected 1; leave MultiView out')
        low, high = views[0].flatten(1).amin(1), views[0].flatten(1).amax(1)
        bad = ~((low >= 0) & (high <= 1 + 1e-6))
        if bad.any():
            number = int(bad.nonzero()[0])
            raise ValueError(
                f'{self.name}: image {_name(data_samples, number)} has values from {low[number]:.4g} to '
                f'{high[number]:.4g}, expected 0 to 1 and no NaN; set mean=(0, 0, 0) and std=(255, 255, 255) in the '
                'data preprocessor'
            )
        return views[0] * (1 - self.rescale) + self.rescale, (high - low <= BLANK).sum().float()

    def labels(self, data_samples: list[BaseDataElement] | None, field: str, count: int, remedy: str) -> Tensor:
        """A field of all data samples, stacked, on the device of the model.

        Raises:
            ValueError: Some of the ``count`` images lack it; the message ends with ``remedy``.
        """
        samples = data_samples or [BaseDataElement()] * count
        for number, sample in enumerate(samples):
            if field not in sample:
                raise ValueError(f'{self.name}: image {_name(data_samples, number)} has no {field}; {remedy}')
        device = next(self.parameters()).device
        return torch.stack([torch.as_tensor(sample.get(field)) for sample in samples]).to(device)


def _name(data_samples: list[BaseDataElement] | None, number: int) -> str | int:
    return data_samples[number].get('img_path', number) if data_samples else number
