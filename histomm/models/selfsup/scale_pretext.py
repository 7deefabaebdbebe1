"""Attention that tells the magnification of a tile finds nuclei, though nobody has drawn one."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from histomm.functional import soft_mask
from histomm.functional.attention import map_equivariance, map_smoothness
from histomm.functional.symmetries import dihedral
from histomm.models.confidence_model import ConfidenceModel
from histomm.models.transfer import load_backbone
from histomm.registry import MODELS

TURNS = (1, 2, 3, 4, 5, 7)
"""Quarter turns, transposition and flips, as numbers of :func:`~histomm.functional.symmetries.dihedral`."""


@MODELS.register_module()
class ScalePretext(ConfidenceModel):
    """Segmentation by classification of scales (Sahasrabudhe et al., MICCAI 2020).

    A network F gives the attention a = σ(F(x)), a soft threshold the mask m = σ(20·(a − τ)) of about 7 % of the pixels,
    and a classifier sees m·x and tells from which magnification the tile is. L = cross-entropy + w_s · smoothness of m
    + w_e · equivariance of m under a turn or flip drawn for the batch. In ``'tensor'`` and ``'predict'`` mode the
    confidence is m, (B, 1, H, W).

    Images are normalised with ImageNet's mean and standard deviation before both networks. Draws come from the global
    generators, which ``histomm.SeedHook`` seeds from the iteration.

    Args:
        backbone: Config of F: one class, confidences in [0, 1].
        classifier: Config of a network from images to a tuple of maps, the last of which is averaged.
        num_scales: Magnifications.
        num_features: Channels of the classifier's last map.
        threshold: Config of the soft threshold.
        smoothness_weight: w_s.
        equivariance_weight: w_e.
        weights: File of ImageNet weights that the classifier starts from; if there is none it starts at random, with a
            warning. None starts at random.
        rescale: See :class:`~histomm.models.confidence_model.ConfidenceModel`, as are the others.
        symmetries: 8 averages predictions over the turns and flips, as the authors do in tests.
        data_preprocessor: Likewise.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: An argument out of range.
        TransferError: The file of weights is of another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: dict,
        classifier: dict,
        num_scales: int = 3,
        num_features: int = 512,
        threshold: dict | None = None,
        smoothness_weight: float = 1.0,
        equivariance_weight: float = 1.0,
        weights: str | None = None,
        rescale: float = 0.0,
        symmetries: int = 1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone, rescale, symmetries=symmetries, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        if num_scales < 2:
            raise ValueError(f'ScalePretext: num_scales is {num_scales}, expected at least 2 magnifications')
        self.classifier = MODELS.build(classifier)
        self.scales = nn.Linear(num_features, num_scales)
        self.threshold = MODELS.build(threshold or dict(type='histomm.SoftThreshold'))
        self.smoothness_weight, self.equivariance_weight = smoothness_weight, equivariance_weight
        self.weights = weights
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def init_weights(self) -> None:
        """Initialise, and load the weights of the classifier."""
        super().init_weights()
        if self.weights is None:
            return
        if Path(self.weights).is_file():
            load_backbone(self.classifier, self.weights)
            print_log(f'ScalePretext: the classifier starts from {self.weights}', 'current')
        else:
            print_log(
                f'ScalePretext: found no {self.weights}, so the classifier starts at random; the authors start from '
                'ImageNet: save the weights of a ResNet there, or set model.weights to None',
                'current',
                level=logging.WARNING,
            )

    def confidence(self, images: Tensor) -> Tensor:
        """Masks (B, 1, H, W) of images (B, 3, H, W) with values from 0 to 1."""
        return self.threshold(self.backbone((images - self.mean) / self.std))

    def losses(self, images: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Tensor]:
        """Losses of images with ``gt_label``, the number of the magnification.

        Returns:
            ``loss_scale``, ``loss_smoothness`` and ``loss_equivariance``; to watch, ``scale_top1`` (% of magnifications
            told), ``level`` (τ) and ``foreground`` (mean of the masks).

        Raises:
            ValueError: An image has no label, or one that is no magnification.
        """
        labels = self._scale_labels(data_samples, len(images))
        images = (images - self.mean) / self.std
        mask = self.threshold(self.backbone(images))
        scores = self.scales(self.classifier(images * mask)[-1].mean((2, 3)))
        index = TURNS[int(torch.randint(len(TURNS), ()))]
        with torch.no_grad():
            turned = soft_mask(self.backbone(dihedral(images, index)), self.threshold.level, self.threshold.slope)
        return dict(
            loss_scale=F.cross_entropy(scores, labels),
            loss_smoothness=self.smoothness_weight * map_smoothness(mask),
            loss_equivariance=self.equivariance_weight * map_equivariance(mask, turned, index),
            scale_top1=100 * (scores.argmax(1) == labels).float().mean(),
            level=self.threshold.level.clone(),
            foreground=mask.detach().mean(dtype=torch.float32),
        )

    def _scale_labels(self, data_samples: list[BaseDataElement] | None, count: int) -> Tensor:
        remedy = 'set with_labels=True in histomm.PatchDataset and pack by mmpretrain.PackInputs'
        labels = self.labels(data_samples, 'gt_label', count, remedy).flatten()
        if labels.max() >= self.scales.out_features:
            raise ValueError(
                f'ScalePretext: found an image of class {int(labels.max())}, expected 0 to '
                f'{self.scales.out_features - 1}; put the tiles of each magnification in one folder, or set num_scales'
            )
        return labels
