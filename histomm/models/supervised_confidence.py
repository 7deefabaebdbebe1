"""The yardstick of segmentation without labels: the same network, trained with them."""

import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm.models.confidence_model import ConfidenceModel
from histomm.registry import MODELS


@MODELS.register_module()
class SupervisedConfidence(ConfidenceModel):
    """Binary cross-entropy of the confidence of every pixel with a mask, the supervised CNN of Boserup & Selvan 2023.

    Arguments are those of :class:`~histomm.models.confidence_model.ConfidenceModel`; the backbone has one class, and
    ``logits`` beside ``forward``, as :class:`~histomm.models.backbones.confidence_net.ConfidenceNet` does.
    """

    def losses(self, images: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Tensor]:
        """Mean binary cross-entropy in nats over all pixels, with ``gt_mask`` (H, W) of the data samples.

        Returns:
            ``loss``, and as numbers to watch the mean ``confidence`` and the share of ``foreground`` in the masks.

        Raises:
            ValueError: An image has no mask, or the shapes of masks and confidences differ.
        """
        remedy = 'use histomm.NucleiDataset with LoadInstances and PackInstances in its pipeline'
        masks = self.labels(data_samples, 'gt_mask', len(images), remedy)[:, None]
        logits = self.backbone.logits(images)
        if logits.shape != masks.shape:
            raise ValueError(
                f'SupervisedConfidence: the confidences have shape {tuple(logits.shape)}, the masks '
                f'{tuple(masks.shape)}, expected the same; set num_classes=1 in the backbone'
            )
        return dict(
            loss=F.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype)),
            confidence=logits.detach().sigmoid().mean(dtype=logits.dtype),
            foreground=masks.float().mean(),
        )
