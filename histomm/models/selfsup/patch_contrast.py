"""Contrast of patches that a small network is confident of; its maps are segmentations learnt without labels."""

import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm import functional
from histomm.functional import ContrastTerms
from histomm.functional.patch_contrast import SAMPLERS, SIMILARITIES
from histomm.models.confidence_model import ConfidenceModel
from histomm.registry import MODELS


@MODELS.register_module()
class PatchContrast(ConfidenceModel):
    """Segmentation by contrast of patches (Boserup & Selvan, NLDL 2023): L = Σ_k intra_k + w · Σ_k inter_k.

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
        symmetries: 1, or 8 to average predictions over the turns and flips of the image.
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
        symmetries: int = 1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, rescale, bn_batch_stats, symmetries, data_preprocessor, init_cfg)
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
        self.similarity, self.sampler, self.empty = similarity, sampler, empty
        self.num_patches, self.patch_size, self.patch_stride = num_patches, patch_size, patch_stride
        self.inter_weight, self.inter_log = inter_weight, inter_log
        self.num_anchors, self.repo_norm = num_anchors, repo_norm
        self.drop_last_row = drop_last_row

    def losses(self, images: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Tensor]:
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
