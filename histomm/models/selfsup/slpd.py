"""SLPD: slide-level prototypical distillation of the regions of whole slides."""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import BaseDataElement
from torch import Tensor

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.functional.prototypes import MATCHES
from histomm.models.prototype_bank import PrototypeBank
from histomm.models.selfsup.dino import DINO, last_vectors
from histomm.registry import MODELS

FEATURES = ('bottleneck', 'cls')
SCOPES = ('slide', 'global')
NEIGHBORS = ('prototypes', 'regions')


@MODELS.register_module()
class SLPD(DINO):
    """Slide-level prototypical distillation (Yu et al., MICCAI 2023): DINO, and regions that follow prototypes.

    L = L_self + α1·L_intra + α2·L_inter. L_self is DINO's loss. The embeddings of the regions of a slide are clustered
    into M prototypes; L_intra is the mean of H(g_t(c), g_s(z)) = −Σ p_t log p_s of a region's views z and its own
    prototype c, L_inter that of its views and, on each of the K most similar slides, the prototype that belongs to c.
    A prototype goes through a part of the teacher's head as it is in the step, and is centred and sharpened like the
    teacher's outputs.

    :class:`~histomm.engine.hooks.PrototypeHook` makes the prototypes, from an epoch on that it names, and this class
    asks for nothing but the number of a region in the data set, ``sample_idx`` of a data sample. Before, and for
    regions of slides that are too small, there is L_self alone. Means of L_intra and L_inter are over the regions that
    have prototypes, of the batches of all processes; without any they are zeros with a graph.

    Prototypes, and the centre of their branch, are saved with the model.

    Args:
        backbone: Config of the backbone.
        neck: Config of :class:`~histomm.models.DINONeck`.
        alpha_intra: α1; 0 leaves L_intra out.
        alpha_inter: α2; 0 leaves L_inter out.
        num_prototypes: M.
        num_neighbors: K.
        feat: What is clustered: 'bottleneck', the head's unit vectors before its last layer, which alone a prototype
            then goes through (as in the authors' code); or 'cls', the backbone's vectors (as in the paper), where a
            prototype is the mean of its regions and goes through the whole head.
        match: Which prototype of a similar slide belongs to one: that of the best permutation, 'assignment', or the
            most similar, 'argmax' (as in the authors' code).
        scope: 'slide', or 'global' for an ablation: all regions are clustered together into M prototypes for each
            slide there is, and there is no L_inter.
        neighbors: What L_inter has as neighbours: 'prototypes' of similar slides, or for an ablation 'regions', the K
            most similar ones of other slides.
        separate_center: Whether the branch of prototypes has a centre of its own; False takes that of DINO as the
            step's large crops have already moved it, and prototypes then do not move it.
        skip_first_view: Leave the first view out of L_intra and L_inter, as the authors' code does.
        **kwargs: Of :class:`~histomm.models.DINO`.

    Raises:
        ValueError: an option is unknown, a weight or number is too small, or α2 is not 0 with ``scope='global'``.
    """

    prototype_center: Tensor

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        alpha_intra: float = 1.0,
        alpha_inter: float = 1.0,
        num_prototypes: int = 4,
        num_neighbors: int = 1,
        feat: str = 'bottleneck',
        match: str = 'assignment',
        scope: str = 'slide',
        neighbors: str = 'prototypes',
        separate_center: bool = True,
        skip_first_view: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, neck, **kwargs)
        choices = dict(
            feat=(feat, FEATURES), match=(match, MATCHES), scope=(scope, SCOPES), neighbors=(neighbors, NEIGHBORS)
        )
        for name, (value, known) in choices.items():
            if value not in known:
                raise ValueError(f'SLPD: {name} is {value!r}, expected one of {", ".join(known)}')
        if min(alpha_intra, alpha_inter) < 0 or min(num_prototypes, num_neighbors) < 1:
            raise ValueError(
                f'SLPD: alpha_intra is {alpha_intra}, alpha_inter {alpha_inter}, num_prototypes {num_prototypes} and '
                f'num_neighbors {num_neighbors}, expected weights >= 0 and at least 1 of each'
            )
        if scope == 'global' and alpha_inter:
            raise ValueError(f"SLPD: alpha_inter is {alpha_inter} with scope='global', expected 0: there are no slides")
        self.alpha_intra, self.alpha_inter = alpha_intra, alpha_inter
        self.num_prototypes, self.num_neighbors = num_prototypes, num_neighbors
        self.feat, self.match, self.scope, self.neighbors = feat, match, scope, neighbors
        self.separate_center, self.skip_first_view = separate_center, skip_first_view
        self.bank = PrototypeBank()
        self.register_buffer('prototype_center', torch.zeros(self.neck.out_channels))

    @torch.no_grad()
    def embed(self, regions: Tensor) -> Tensor:
        """What is clustered of regions (B, C, H, W), by the teacher in the mode it is in, in float32: (B, E)."""
        if not int(self.teacher.steps):  # the copy that the first step would make
            self.teacher.module.load_state_dict(self._student().state_dict())
        backbone, neck = self.teacher.module.values()
        with torch.autocast(regions.device.type, enabled=False):
            vectors = last_vectors(backbone(regions))
            return (neck.bottleneck(vectors) if self.feat == 'bottleneck' else vectors).float()

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of views (B, C, H, W), large crops first, of the regions that ``data_samples`` number.

        Raises:
            ValueError: nobody makes prototypes, the samples have no ``sample_idx``, or there are too few views.
        """
        student, teacher = self._see(inputs)
        losses = dict(loss_self=self._self_distillation(student, teacher))
        if not self.alpha_intra and not self.alpha_inter:
            return losses
        if not self.bank.supplied:
            raise ValueError(
                'SLPD: nobody makes prototypes, expected histomm.PrototypeHook in default_hooks, or alpha_intra and '
                'alpha_inter of 0'
            )
        return losses | self._follow_prototypes(student, _numbers(data_samples)) if self.bank.filled else losses

    def _follow_prototypes(self, student: Tensor, regions: list[int]) -> dict[str, Tensor]:
        """L_intra and L_inter of outputs (V, B, D), times α1 and α2; the centre of prototypes follows afterwards."""
        own, others = self.bank.wanted(regions)
        parts = dict(loss_intra=(self.alpha_intra, own[:, None]), loss_inter=(self.alpha_inter, others))
        parts = {name: part for name, part in parts.items() if part[0] and part[1].shape[1]}
        if not parts:
            return {}
        rows = torch.cat([rows for _, rows in parts.values()], 1)
        outputs = self._project(self.bank.rows[rows.clamp(min=0)])
        center = self.prototype_center if self.separate_center else self.center
        targets = functional.teacher_probabilities(outputs, center, self.current_teacher_temp())
        entropies = functional.distillation_entropies(student[int(self.skip_first_view) :], targets, self.student_temp)
        losses, start = {}, 0
        for name, (alpha, part) in parts.items():
            found = entropies[:, start : start + part.shape[1]]
            losses[name], start = alpha * _mean_over_processes(found, part >= 0), start + part.shape[1]
        if self.separate_center:
            self._update_prototype_center(outputs, rows >= 0)
        return losses

    @torch.no_grad()
    def _project(self, prototypes: Tensor) -> Tensor:
        """The teacher's outputs (..., D) for prototypes (..., C)."""
        neck = self.teacher.module['neck']
        if self.feat == 'bottleneck':
            return neck.last_layer(prototypes)
        return neck((prototypes.flatten(0, -2),))[0].unflatten(0, prototypes.shape[:-1])

    @torch.no_grad()
    def _update_prototype_center(self, outputs: Tensor, present: Tensor) -> None:
        """Let the centre follow the mean over all processes of outputs (B, T, D) where present (B, T)."""
        weights = present.to(self.prototype_center.dtype)
        total = torch.einsum('bt,btd->d', weights, outputs.to(weights.dtype))
        packed = torch.cat([total, weights.sum()[None]])
        all_reduce(packed)
        count = packed[-1]
        mean = packed[:-1] / count.clamp(min=1)
        moved = self.prototype_center.lerp(mean, 1 - self.center_momentum)
        self.prototype_center.copy_(torch.where(count > 0, moved, self.prototype_center))


def _mean_over_processes(values: Tensor, present: Tensor) -> Tensor:
    """Mean of values (B, K) where present, over all processes, as what the mean of the processes' results gives.

    A zero with a graph where nothing is present anywhere.
    """
    count = present.sum().to(values.dtype)
    all_reduce(count)
    return torch.where(present, values, 0).sum() * get_world_size() / count.clamp(min=1)


def _numbers(samples: list[BaseDataElement] | None) -> list[int]:
    """Numbers of the regions in the data set."""
    if not samples or any('sample_idx' not in sample for sample in samples):
        raise ValueError(
            'SLPD: the data samples have no sample_idx, the number of the region in the data set; end the pipeline '
            'with histomm.PackTokens'
        )
    return [int(sample.sample_idx) for sample in samples]
