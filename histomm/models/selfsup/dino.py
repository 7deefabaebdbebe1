"""DINO: self-distillation without labels, of many crops."""

import torch
from mmengine.dist import all_reduce
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.models.selfsup.base import ViewSupervisor
from histomm.models.teacher import EMATeacher
from histomm.registry import MODELS


@MODELS.register_module()
class DINO(ViewSupervisor):
    """DINO (Caron et al., ICCV 2021): a student's outputs for all crops follow a teacher's for the large ones.

    L is the mean over pairs of a large crop g and another crop v of −Σ p_t(g)·log p_s(v), with p_s = softmax(s/τ_s)
    and p_t = softmax((t − c)/τ_t). The teacher is the moving average of the student and has no gradient; the centre c
    is the moving average of its outputs over the large crops of all processes, as it was before the step. Centring and
    the low τ_t keep each other from collapse: without the one a single output wins, without the other all are equal.

    The student sees all crops, in one batch for each size, and its neck all of them at once. The teacher follows at the
    beginning of a step, and is a copy of the student in the first. It runs without dropout and drop-path; batch norms,
    if there are any, use the statistics of the batch. The loss is reckoned in float32.

    Teacher, centre and the place in the schedules are saved with the model. The rest of the recipe is of the optimiser
    and in the config: ``histomm.PerParameterClipHook``, ``histomm.FrozenModuleHook`` and the schedules of rate and
    weight decay.

    Args:
        backbone: Config of the backbone, which must take crops of every size that the views have.
        neck: Config of :class:`~histomm.models.DINONeck`, or of what has ``out_channels`` and gives (N, D) in a tuple.
        num_large: How many of the views, from the first on, are large crops, which the teacher sees.
        student_temp: τ_s.
        teacher_temp: τ_t, after its warm-up.
        warmup_teacher_temp: τ_t in the first epoch.
        warmup_teacher_epochs: Epochs of the linear warm-up; the last of them has ``teacher_temp``. 0 has none.
        center_momentum: m of c ← m·c + (1 − m)·mean(t).
        momentum: Of the teacher in the first step; see :class:`~histomm.models.EMATeacher`.
        end_momentum: In the last one, reached along a cosine.
        data_preprocessor: Config; by default ``histomm.ViewDataPreprocessor`` without geometry.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: a temperature not above 0, a momentum outside [0, 1], a negative warm-up, or no large crop.
    """

    center: Tensor

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        num_large: int = 2,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_epochs: int = 0,
        center_momentum: float = 0.9,
        momentum: float = 0.996,
        end_momentum: float | None = 1.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or dict(type='histomm.ViewDataPreprocessor', geometry=False)
        super().__init__(backbone, neck, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        temperatures = (student_temp, teacher_temp, warmup_teacher_temp)
        if min(temperatures) <= 0 or warmup_teacher_epochs < 0:
            raise ValueError(
                f'DINO: student_temp, teacher_temp and warmup_teacher_temp are {temperatures} and '
                f'warmup_teacher_epochs is {warmup_teacher_epochs}, expected numbers > 0 and at least 0'
            )
        if not 0 <= center_momentum <= 1 or num_large < 1:
            raise ValueError(
                f'DINO: center_momentum is {center_momentum} and num_large {num_large}, expected a value in [0, 1] '
                'and at least 1'
            )
        self.num_large = num_large
        self.student_temp, self.teacher_temp = student_temp, teacher_temp
        self.warmup_teacher_temp, self.warmup_teacher_epochs = warmup_teacher_temp, warmup_teacher_epochs
        self.center_momentum = center_momentum
        self.teacher = EMATeacher(self._student(), momentum, end_momentum)
        self.register_buffer('center', torch.zeros(self.neck.out_channels))

    def _student(self) -> nn.ModuleDict:
        """What the teacher averages."""
        return nn.ModuleDict(dict(backbone=self.backbone, neck=self.neck))

    def train(self, mode: bool = True) -> 'DINO':
        """Change to training or evaluation; of the teacher only the batch norms follow."""
        super().train(mode)
        for part in self.teacher.modules():
            if not isinstance(part, _BatchNorm):
                part.training = False
        return self

    def current_teacher_temp(self) -> float:
        """τ_t of the running epoch.

        Raises:
            ValueError: there is a warm-up, but no training loop counts epochs.
        """
        if self.warmup_teacher_epochs == 0:
            return self.teacher_temp
        epoch = MessageHub.get_current_instance().get_info('epoch')
        if epoch is None:
            raise ValueError(
                f'DINO: warmup_teacher_epochs is {self.warmup_teacher_epochs}, expected a training loop that counts '
                'epochs, or 0'
            )
        share = min(epoch / max(self.warmup_teacher_epochs - 1, 1), 1.0)
        return self.warmup_teacher_temp + share * (self.teacher_temp - self.warmup_teacher_temp)

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
    ) -> dict[str, Tensor]:
        """Loss of views (B, 3, H, W), large crops first; the centre follows the teacher's outputs.

        Raises:
            ValueError: fewer views than large crops, or fewer than two.
        """
        return dict(loss=self._self_distillation(*self._see(inputs)))

    def _see(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Outputs (V, B, D) of the student and (G, B, D) of the teacher, which follows the student before it looks."""
        if len(views) < max(2, self.num_large):
            raise ValueError(
                f'{type(self).__name__}: found {len(views)} views, expected at least {max(2, self.num_large)}; check '
                'MultiView and num_large'
            )
        student = _outputs(self.backbone, self.neck, views)
        with torch.no_grad():
            self.teacher.update(self._student())
            teacher = _outputs(*self.teacher.module.values(), views[: self.num_large])
        return student, teacher

    def _self_distillation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of outputs (V, B, D) and (G, B, D); the centre follows afterwards."""
        loss = functional.dino_loss(student, teacher, self.center, self.student_temp, self.current_teacher_temp())
        self._update_center(teacher)
        return loss

    @torch.no_grad()
    def _update_center(self, teacher: Tensor) -> None:
        """Let the centre follow the mean of outputs (G, B, D) over all processes."""
        mean = teacher.to(torch.promote_types(teacher.dtype, torch.float32)).mean((0, 1))
        all_reduce(mean, 'mean')
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)


def _outputs(backbone: nn.Module, neck: nn.Module, views: list[Tensor]) -> Tensor:
    """Outputs (V, B, D); neighbouring views of one size go through the backbone as one batch."""
    groups: list[list[Tensor]] = []
    for view in views:
        if groups and groups[-1][0].shape == view.shape:
            groups[-1].append(view)
        else:
            groups.append([view])
    features = torch.cat([last_vectors(backbone(torch.cat(group))) for group in groups])
    return neck((features,))[0].unflatten(0, (len(views), -1))


def last_vectors(features: tuple[Tensor, ...]) -> Tensor:
    """(N, C) of what a backbone gives last: vectors as they are, maps averaged over space."""
    return features[-1].mean((2, 3)) if features[-1].ndim == 4 else features[-1]
