"""ConCL: concepts found in a reference view, contrasted between the two views cut from it."""

from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.models.queue import FeatureQueue
from histomm.models.selfsup.dense_moco import DenseMoCo
from histomm.registry import MODELS


@MODELS.register_module()
class ConCL(DenseMoCo):
    """Concept contrastive learning (Yang et al., ECCV 2022), alone or with dense matchers.

    The key encoder maps a third, plain view that contains the other two. Spherical k-means groups its cells into K
    concepts, and the labels are carried over to the cells of both views. The mean feature of a concept that both views
    show is to agree between them: InfoNCE against a queue of concepts, through the same neck as the global branch.

    L = w·L^C + (1 − w)·L^G from ``start_epoch`` on, L^G before. With matchers L' = (1 − λ)·L + λ·L^D from the first
    epoch.

    **The first map that the backbone returns is clustered, the last one is averaged** over concepts and fed to the
    necks. So ``out_indices=(2, 3)`` of a ResNet clusters its third stage (256 × 14 × 14 in a ResNet-18 at 224 pixels,
    the paper's choice); ``histomm.ResNetWithStem`` with ``out_indices=(3,)`` clusters the stem.

    Random numbers (first centroids, concepts written to the queue) come from the global generator, which
    :class:`~histomm.engine.hooks.SeedHook` seeds in each step.

    Args:
        backbone: Config of the backbone; see above for which of its maps are used.
        neck: Global neck, from a map (B, D, H, W) in a tuple to (B, C) in a tuple. It must treat images one by one, as
            necks without batch norm do: absent concepts pass through it as zeros, without effect.
        num_concepts: K.
        concept_weight: w in [0, 1].
        start_epoch: Epochs without the concept loss. In a run counted in iterations only 0 is of use.
        kmeans_iterations: Updates of the centroids.
        unshuffle_map: False leaves the keys' maps in the order of the shuffled batch, as the authors' released code
            does, so that the positives of concepts are those of other images. It exists to look into results obtained
            so, changes nothing in a run of one process, and is refused with matchers.
        **kwargs: Of :class:`~histomm.models.DenseMoCo`; ``queue_len`` is also the length of the queue of concepts, and
            ``strict_queue`` does not concern that.

    Raises:
        ValueError: a weight outside [0, 1]; no concept; a negative start; ``unshuffle_map`` with matchers.
    """

    _maps_needed = True

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        num_concepts: int = 8,
        concept_weight: float = 1.0,
        start_epoch: int = 20,
        kmeans_iterations: int = 10,
        unshuffle_map: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, neck, **kwargs)
        if not 0 <= concept_weight <= 1:
            raise ValueError(f'ConCL: concept_weight is {concept_weight}, expected a value in [0, 1]')
        if num_concepts < 1 or start_epoch < 0 or kmeans_iterations < 1:
            raise ValueError(
                f'ConCL: num_concepts is {num_concepts}, start_epoch {start_epoch} and kmeans_iterations '
                f'{kmeans_iterations}, expected at least 1, 0 and 1'
            )
        if not unshuffle_map and self.dense is not None:
            raise ValueError('ConCL: unshuffle_map=False is for the released ConCL alone, expected no matchers with it')
        self.num_concepts = num_concepts
        self.concept_weight = concept_weight
        self.start_epoch = start_epoch
        self.kmeans_iterations = kmeans_iterations
        self.unshuffle_map = unshuffle_map
        self.concept_queue = FeatureQueue(*self.queue.rows.shape)

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses of query, key and reference view, and the mean number of shared concepts an image."""
        if len(inputs) != 3 or geometry is None or len(geometry) != 3:
            raise ValueError(
                f'ConCL: found {len(inputs)} views and the geometry of {len(geometry or [])}, expected 3 of each '
                '(query, key, reference); end the views of MultiView with histomm.BoundingCrop'
            )
        query, key = self._encode_views(*inputs[:2])
        losses = self._losses(query, key, geometry[:2])
        if not self._started():
            return losses
        labels = self._label_maps(inputs[2], geometry, query['feature'].shape[2:])
        concept_loss, shared = self._concept_loss((query['feature'], key['feature']), labels, geometry[:2])
        share = 1 if self.dense is None else 1 - self.loss_lambda
        # where w is 1 the global loss stays, times 0: every parameter then has a gradient whatever the batch shows
        losses['loss_global'] = (1 - self.concept_weight) * losses['loss_global']
        return dict(losses, loss_concept=self.concept_weight * share * concept_loss, concepts=shared)

    def _started(self) -> bool:
        """Whether the running epoch has the concept loss."""
        if self.start_epoch == 0:
            return True
        hub = MessageHub.get_current_instance()
        epoch, epochs = hub.get_info('epoch'), hub.get_info('max_epochs')
        if epoch is None or epochs <= self.start_epoch:
            found = 'no training loop' if epoch is None else f'a run of {epochs} (one counted in iterations is 1)'
            raise ValueError(
                f'ConCL: concepts start after {self.start_epoch} epochs, found {found}; lower model.start_epoch'
            )
        return epoch >= self.start_epoch

    def _unshuffle(self, encoded: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
        restored = super()._unshuffle(encoded, order)
        return restored if self.unshuffle_map else dict(restored, feature=encoded['feature'])

    @torch.no_grad()
    def find_concepts(self, images: Tensor, reference: ViewGeometry) -> Tensor:
        """Concepts of the cells of reference views, found by clustering each image's first map of the key encoder.

        Args:
            images: (B, 3, H, W), normalised.
            reference: Where they came from.

        Returns:
            (B, H', W') int64 in [0, K), turned as the source is.
        """
        stage = _turn_back(self.key_encoder.module['backbone'](images)[0], reference)
        _, labels = functional.spherical_kmeans(
            stage.flatten(2).mT, None, self.num_concepts, self.kmeans_iterations, reassign=False
        )
        return labels.unflatten(1, stage.shape[2:])

    def _label_maps(self, images: Tensor, geometry: list[ViewGeometry], size: tuple[int, int]) -> list[Tensor]:
        """Concepts (B, h, w) of the cells of query and key, turned as the source is.

        Args:
            images: Reference view.
            geometry: Of query, key and reference.
            size: (h, w) of the maps of query and key.
        """
        labels = self.find_concepts(images, geometry[2])
        return [
            functional.cut_labels(labels, self.num_concepts, geometry[2].box, view.box, size) for view in geometry[:2]
        ]

    def _concept_loss(
        self, maps: tuple[Tensor, Tensor], labels: list[Tensor], geometry: list[ViewGeometry]
    ) -> tuple[Tensor, Tensor]:
        """Mean loss over shared concepts, 0 with a graph where there is none, and their mean number an image."""
        (query, cells_q), (key, cells_k) = (
            functional.concept_prototypes(_turn_back(feat, view), label, self.num_concepts)
            for feat, label, view in zip(maps, labels, geometry, strict=True)
        )
        shared = (cells_q > 0) & (cells_k > 0)
        anchor = _project(self.neck, query)
        with torch.no_grad():
            positive = _project(self.key_encoder.module['neck'], key)
        # absent concepts have weight 0, which costs less than to ask a GPU how many there are
        loss = self.concept_queue.contrast(anchor, positive, self.temperature, shared.flatten())
        self._enqueue_concepts(functional.unit_rows(positive), shared.flatten(), (cells_k > 0).flatten())
        return loss, shared.sum(1).float().mean()

    def _enqueue_concepts(self, keys: Tensor, shared: Tensor, present: Tensor) -> None:
        """Write as many concepts in each step: K an image, or 4 where K > 8, as the authors do.

        Args:
            keys: (B·K, C) unit rows of the key view's concepts.
            shared: (B·K,) those that the query view shows too, from which is chosen.
            present: (B·K,) those that the key view shows, from which is chosen if none is shared.
        """
        images = len(keys) // self.num_concepts
        count = images * (self.num_concepts if self.num_concepts <= 8 else 4)
        candidates = torch.where(shared.any(), shared, present)
        self.concept_queue.enqueue(functional.resample_rows(keys, candidates, count))


def _turn_back(feat: Tensor, geometry: ViewGeometry) -> Tensor:
    """Map of a view in the orientation of the source."""
    return functional.canonicalize(feat, geometry.hflip, geometry.vflip, geometry.rot90)


def _project(neck: nn.Module, prototypes: Tensor) -> Tensor:
    """(B, K, D) as maps of one cell through a global neck: (B·K, C)."""
    return neck((prototypes.flatten(0, 1)[:, :, None, None],))[0]
