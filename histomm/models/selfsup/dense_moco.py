"""MoCo-v2 with any number of dense matchers beside its global branch."""

from collections.abc import Sequence

import torch
from mmengine.dist import get_world_size
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from histomm.functional import ViewGeometry, unit_rows
from histomm.models.dense_branch import DenseBranch, DenseMaps
from histomm.models.queue import FeatureQueue
from histomm.models.selfsup.base import ViewSupervisor
from histomm.models.shuffle import shuffle_rows, unshuffle_rows
from histomm.models.teacher import EMATeacher
from histomm.registry import MODELS


@MODELS.register_module()
class DenseMoCo(ViewSupervisor):
    """Momentum contrast, global and dense: L = (1 − λ)·L^G + λ·L^D.

    L^G is the InfoNCE of MoCo-v2. L^D is the mean over matchers of the InfoNCE of the pairs each returns, against a
    queue of its own that takes one pooled dense vector an image. So MoCo-v2 is this class without matchers, DenseCL
    with a ``FeatureMatcher``, PLM with a ``PreciseLocationMatcher`` (eqs. 3–14), and VICRegL^m with one
    ``FeatureMatcher`` and one ``LocationMatcher``.

    At λ = 0 and λ = 1 both branches are still computed and one is multiplied by zero, so that every parameter has a
    gradient under DDP; the loss equals that of the other branch exactly.

    Args:
        backbone: Config of the backbone; the last map that it returns is used.
        neck: Global neck, from the backbone's maps to (B, C) in a tuple.
        dense_neck: Dense neck, from the backbone's maps to (B, C, H, W). Needed with matchers.
        matchers: Configs of matchers.
        loss_lambda: λ in [0, 1], share of the dense branch.
        weight_norm: ``'sum'``: Σwℓ/Σw over the batch's rows (eq. 11); ``'mean'``: mean of wℓ (the authors' code).
        temperature: τ of both InfoNCE.
        queue_len: Negatives kept for each branch.
        feat_dim: C, width of both projections.
        strict_queue: Refuse batch sizes that do not divide ``queue_len``, as the original does.
        momentum: m of the key encoder, θ_k ← mθ_k + (1 − m)θ_q.
        end_momentum: m at the end of a half cosine; ``None`` keeps it constant.
        data_preprocessor: Config; it must hand over ``geometry`` if there are matchers.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: λ outside [0, 1]; matchers without dense neck or the reverse; unknown ``weight_norm``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        dense_neck: dict | None = None,
        matchers: Sequence[dict] = (),
        loss_lambda: float = 0.5,
        weight_norm: str = 'sum',
        temperature: float = 0.2,
        queue_len: int = 16384,
        feat_dim: int = 128,
        strict_queue: bool = False,
        momentum: float = 0.999,
        end_momentum: float | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or dict(type='histomm.ViewDataPreprocessor')
        super().__init__(backbone, neck, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 <= loss_lambda <= 1:
            raise ValueError(f'DenseMoCo: loss_lambda is {loss_lambda}, expected a value in [0, 1]')
        if bool(matchers) != bool(dense_neck):
            raise ValueError(
                f'DenseMoCo: found {len(matchers)} matchers and dense_neck={dense_neck}, '
                'expected both (dense) or none of them (MoCo-v2)'
            )
        self.loss_lambda = loss_lambda
        self.temperature = temperature
        self.dense = None
        if matchers:
            self.dense = DenseBranch(
                dense_neck, matchers, queue_len, feat_dim, temperature, weight_norm, strict_queue=strict_queue
            )
        self.queue = FeatureQueue(queue_len, feat_dim, strict_queue)
        self.key_encoder = EMATeacher(self._student(), momentum, end_momentum)

    @property
    def _maps_needed(self) -> bool:
        """Whether the losses ask for the backbone's maps; else they are not kept, nor sent to other processes."""
        return self.dense is not None

    def _student(self) -> nn.ModuleDict:
        """What the key encoder follows."""
        learned = {} if self.dense is None else self.dense.learned()
        return nn.ModuleDict(dict(backbone=self.backbone, neck=self.neck, **learned))

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a query and a key view by both branches, weighted by λ, and the matched weight as ``overlap``."""
        if len(inputs) != 2:
            raise ValueError(f'DenseMoCo: found {len(inputs)} views, expected 2 (query, key); check num of MultiView')
        return self._losses(*self._encode_views(*inputs), geometry)

    def _encode_views(self, query: Tensor, key: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Encode both views; the key encoder first makes its step."""
        student = self._student()
        encoded = self._encode(student, query)
        with torch.no_grad():
            self.key_encoder.update(student)
            return encoded, self._encode_shuffled(key)

    def _losses(
        self, query: dict[str, Tensor], key: dict[str, Tensor], geometry: list[ViewGeometry] | None
    ) -> dict[str, Tensor]:
        """Losses of encoded views; their keys go into the queues."""
        global_loss = self.queue.contrast(query['global'], key['global'], self.temperature)
        self.queue.enqueue(unit_rows(key['global']))
        if self.dense is None:
            return dict(loss_global=global_loss)
        maps = [DenseMaps(encoded['dense'], encoded['feature']) for encoded in (query, key)]
        dense_loss, overlap = self.dense(*maps, geometry, self.key_encoder.module['matchers'])
        self.dense.enqueue(maps[1])
        return dict(
            loss_global=(1 - self.loss_lambda) * global_loss, loss_dense=self.loss_lambda * dense_loss, overlap=overlap
        )

    def _encode(self, parts: nn.ModuleDict, images: Tensor) -> dict[str, Tensor]:
        """Global vector (B, C) and, where needed, last backbone map (B, D, H, W) and dense map (B, C, H, W)."""
        feats = parts['backbone'](images)
        encoded = {'global': parts['neck'](feats[-1:])[0]}
        if self._maps_needed:
            encoded['feature'] = feats[-1]
        if 'dense_neck' in parts:
            encoded['dense'] = parts['dense_neck'](feats)
        return encoded

    def _encode_shuffled(self, images: Tensor) -> dict[str, Tensor]:
        """Encode keys with batch statistics over a random share of all ranks' images; one process has no other."""
        parts = self.key_encoder.module
        if get_world_size() == 1:
            return self._encode(parts, images)
        images, order = shuffle_rows(images)
        return self._unshuffle(self._encode(parts, images), order)

    def _unshuffle(self, encoded: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
        """Everything that was encoded from a shuffled batch in the order of the images."""
        return {name: unshuffle_rows(value, order) for name, value in encoded.items()}
