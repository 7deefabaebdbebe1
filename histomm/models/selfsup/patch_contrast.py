"""Contrast of patches that a small network is confident of; its maps are segmentations learnt without labels."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm import functional
from histomm.functional import ContrastTerms, ViewGeometry
from histomm.functional.patch_contrast import SAMPLERS, SIMILARITIES
from histomm.models.backbones.confidence_net import batch_statistics
from histomm.registry import MODELS

BLANK = 10 / 255
"""An image whose values span no more is counted as blank: glass, with the noise of a camera and of JPEG."""


@MODELS.register_module()
class PatchContrast(BaseModel):
    """Segmentation by contrast of patches (Boserup & Selvan, NLDL 2023): L = Σ_k intra_k + w · Σ_k inter_k.

    In the modes of mmengine's models: ``'tensor'`` gives confidences, ``'loss'`` the losses and numbers to watch, and
    ``'predict'`` data samples with the field ``confidence`` (K, H, W).

    A class without positives or negatives has no intra-class term, one without positives, or with the only ones, no
    inter-class term. What is missing is counted in the log as ``empty``. A batch without any term changes no weight;
    on several ranks it counts as one with zero gradient.

    Draws come from the global generators, which ``histomm.SeedHook`` seeds from the iteration, so a resumed run repeats
    them and there is no state to save.

    Args:
        backbone: Config of a network from images (B, 3, H, W) to confidences (B, K, H, W) in [0, 1].
        similarity: 'mse' or 'ce', see :func:`~histomm.functional.patch_similarity`.
        num_patches: n, drawn for each image and class.
        patch_size: Side in pixels.
        patch_stride: Pixels from one window to the next.
        sampler: 'probabilistic', 'uniform' or 'topk', see :func:`~histomm.functional.draw_patches`.
        inter_weight: w.
        inter_log: False takes the inter-class loss as it is printed, without the logarithm.
        num_anchors: Anchors drawn from the positives of a class; None takes all of them, as the paper has it.
        repo_norm: Divide by the squared number of anchors and by the number of images, as the authors' code does,
            instead of taking means.
        empty: 'term' leaves out the terms that are missing; 'batch' leaves out every batch that lacks one, or whose
            loss is 0, as the authors' code does.
        drop_last_row: Leave out windows that touch the lower border, as the authors' code does; with crops of 300
            pixels there are none.
        rescale: ε of x ← (1 − ε)·x + ε, which keeps black tissue apart from what is masked out.
        bn_batch_stats: In evaluation take batch norms' statistics from the batch, as the authors' code does.
        data_preprocessor: Config; it hands over images with values from 0 to 1.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: An argument that no such name or number exists for.
    """

    def __init__(
        self,
        backbone: dict,
        similarity: str = 'mse',
        num_patches: int = 10,
        patch_size: int = 50,
        patch_stride: int = 20,
        sampler: str = 'probabilistic',
        inter_weight: float = 1.0,
        inter_log: bool = True,
        num_anchors: int | None = None,
        repo_norm: bool = False,
        empty: str = 'term',
        drop_last_row: bool = False,
        rescale: float = 0.05,
        bn_batch_stats: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or dict(
            type='histomm.ViewDataPreprocessor', mean=(0, 0, 0), std=(255, 255, 255)
        )
        super().__init__(data_preprocessor, init_cfg)
        for name, value, known in (
            ('similarity', similarity, SIMILARITIES),
            ('sampler', sampler, SAMPLERS),
            ('empty', empty, ('term', 'batch')),
        ):
            if value not in known:
                raise ValueError(f'PatchContrast: {name} is {value!r}, expected one of {", ".join(known)}')
        for name, value in (
            ('num_patches', num_patches),
            ('patch_size', patch_size),
            ('patch_stride', patch_stride),
            ('num_anchors', num_anchors),
        ):
            if value is not None and value < 1:
                raise ValueError(f'PatchContrast: {name} is {value}, expected at least 1')
        if not 0 <= rescale < 1:
            raise ValueError(f'PatchContrast: rescale is {rescale}, expected a value in [0, 1)')
        self.backbone = MODELS.build(backbone)
        self.similarity, self.sampler, self.empty = similarity, sampler, empty
        self.num_patches, self.patch_size, self.patch_stride = num_patches, patch_size, patch_stride
        self.inter_weight, self.inter_log = inter_weight, inter_log
        self.num_anchors, self.repo_norm = num_anchors, repo_norm
        self.drop_last_row, self.rescale, self.bn_batch_stats = drop_last_row, rescale, bn_batch_stats

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
            return self._losses(images) | dict(blank=blank)
        with batch_statistics(self.backbone) if self.bn_batch_stats and not self.training else nullcontext():
            confidence = self.backbone(images)
        if mode == 'tensor':
            return confidence
        if mode == 'predict':
            samples = data_samples or [BaseDataElement() for _ in confidence]
            for sample, maps in zip(samples, confidence, strict=True):
                sample.set_field(maps, 'confidence')
            return samples
        raise ValueError(f"PatchContrast: mode is {mode!r}, expected 'tensor', 'loss' or 'predict'")

    def _checked(
        self, inputs: Tensor | Sequence[Tensor], data_samples: list[BaseDataElement] | None
    ) -> tuple[Tensor, Tensor]:
        """Images after x ← (1 − ε)·x + ε, and how many of them are blank."""
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if len(views) != 1:
            raise ValueError(f'PatchContrast: found {len(views)} views, expected 1; leave MultiView out')
        low, high = views[0].flatten(1).amin(1), views[0].flatten(1).amax(1)
        bad = ~((low >= 0) & (high <= 1 + 1e-6))
        if bad.any():
            number = int(bad.nonzero()[0])
            name = data_samples[number].get('img_path', number) if data_samples else number
            raise ValueError(
                f'PatchContrast: image {name} has values from {low[number]:.4g} to {high[number]:.4g}, expected 0 to 1 '
                'and no NaN; set mean=(0, 0, 0) and std=(255, 255, 255) in the data preprocessor'
            )
        return views[0] * (1 - self.rescale) + self.rescale, (high - low <= BLANK).sum().float()

    def _losses(self, images: Tensor) -> dict[str, Tensor]:
        """Losses and numbers to watch of rescaled images (B, 3, H, W)."""
        confidence = self.backbone(images)
        terms, seen = self.contrast(images, confidence)
        num_classes = len(terms.intra)
        present = torch.cat((terms.has_intra, terms.has_inter)).sum()
        expected = num_classes * (2 if num_classes > 1 else 1)  # one class has no others
        used = present if self.empty == 'term' else torch.where(present == expected, present, 0)
        return dict(
            loss_intra=torch.where(used > 0, terms.intra.sum(), 0),
            loss_inter=torch.where(used > 0, self.inter_weight * terms.inter.sum(), 0),
            terms=used.float(),
            empty=(expected - present).float(),
            confidence=confidence.detach().mean(dtype=torch.float32),
            **seen,
        )

    def contrast(
        self, images: Tensor, confidence: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ContrastTerms, dict[str, Tensor]]:
        """Draw patches and contrast them.

        Args:
            images: (B, 3, H, W) after rescaling.
            confidence: (B, K, H, W) in [0, 1].
            generator: Source of random numbers, on the device of ``confidence``; None is the global one.

        Returns:
            The losses of each class, and as numbers to watch the mean ``entropy`` of all windows in bits and how many
            of the drawn patches are ``positives``.

        Raises:
            ValueError: The images are smaller than a patch, or the confidence holds NaN.
        """
        size, stride = self.patch_size, self.patch_stride
        windows = confidence[:, :, :-1] if self.drop_last_row else confidence
        mean, entropy = functional.patch_statistics(windows, size, stride)
        index, positive = functional.draw_patches(mean, entropy, self.num_patches, self.sampler, generator)
        patches = functional.gather_patches(images, confidence, index, size, stride)
        terms = functional.patch_contrast_terms(
            patches.flatten(3).flatten(1, 2),
            positive.transpose(0, 1).flatten(1),
            self.similarity,
            self.inter_log,
            self.num_anchors,
            len(images) if self.repo_norm else None,
            generator,
        )
        return terms, dict(entropy=entropy.mean(), positives=positive.sum().float())

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapper | dict[str, OptimWrapper]
    ) -> dict[str, Tensor]:
        """As in mmengine, but a batch that has no term leaves the weights as they are, momentum and decay included."""
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            losses = self._run_forward(data, mode='loss')
        total, logged = self.parse_losses(losses)
        if losses['terms'] > 0 and (self.empty == 'term' or total != 0):
            optim_wrapper.update_params(total)
        return logged
