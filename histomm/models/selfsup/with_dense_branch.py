"""Dense contrast beside any framework of mmpretrain, on the maps that the framework computes anyway."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from inspect import isclass

import torch
from mmengine.structures import BaseDataElement
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from torch import Tensor, nn

from histomm.functional import ViewGeometry
from histomm.models.dense_branch import DenseBranch, DenseMaps
from histomm.models.teacher import EMATeacher
from histomm.registry import MODELS

Maps = dict[int, tuple[Tensor, ...]]


class DenseBranchMixin:
    """What :func:`with_dense_branch` puts before a framework's class.

    The framework's own loss runs as it is; hooks on its backbones note the maps of each view on the way.
    """

    def add_dense_branch(
        self,
        dense: dict,
        loss_lambda: float,
        target_backbone: str | None,
        target_momentum: float,
        target_end_momentum: float | None,
    ) -> None:
        """Set up the branch; arguments as in :func:`with_dense_branch`."""
        name = type(self).__name__
        if not 0 <= loss_lambda <= 1:
            raise ValueError(f'{name}: loss_lambda is {loss_lambda}, expected a value in [0, 1]')
        if target_backbone is None and target_momentum:
            raise ValueError(
                f'{name}: target_momentum is {target_momentum} without a target_backbone, expected 0; '
                'name the backbone of the target network'
            )
        if target_backbone is not None and target_backbone not in dict(self.named_modules()):
            children = ', '.join(child for child, _ in self.named_children())
            raise ValueError(
                f'{name}: it has no module {target_backbone!r}, expected the path of a target backbone in {children}; '
                'correct target_backbone'
            )
        self.loss_lambda = loss_lambda
        self.target_backbone = target_backbone
        self.dense = DenseBranch(**dense)
        self.dense_target = EMATeacher(self._dense_student(), target_momentum, target_end_momentum)

    def _dense_student(self) -> nn.ModuleDict:
        return nn.ModuleDict(self.dense.learned())

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list[BaseDataElement] | None = None,
        geometry: list[ViewGeometry] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Losses of the framework and of the branch, both weighted by λ, or the backbone's maps.

        Args:
            inputs: Views, each (B, 3, H, W); or one batch for ``'tensor'``.
            data_samples: Handed to the framework.
            geometry: Where each view came from.
            mode: ``'loss'`` or ``'tensor'``.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        with self._recorded(inputs) as (online, target):
            losses = super().forward(inputs, data_samples, mode='loss')
        weighted = {name: (1 - self.loss_lambda) * value if 'loss' in name else value for name, value in losses.items()}
        dense_loss, overlap = self._dense_loss(online, online if self.target_backbone is None else target, geometry)
        return dict(weighted, loss_dense=self.loss_lambda * dense_loss, overlap=overlap)

    @contextmanager
    def _recorded(self, views: list[Tensor]) -> Iterator[tuple[Maps, Maps]]:
        """Collect the maps that the backbone and the target's backbone make of each view, by the view's number."""
        paths = ['backbone'] if self.target_backbone is None else ['backbone', self.target_backbone]
        stores: tuple[Maps, Maps] = ({}, {})
        handles = [
            self.get_submodule(path).register_forward_hook(partial(_record, views, store))
            for path, store in zip(paths, stores, strict=False)
        ]
        try:
            yield stores
        finally:
            for handle in handles:
                handle.remove()

    def _dense_loss(self, online: Maps, target: Maps, geometry: list[ViewGeometry] | None) -> tuple[Tensor, Tensor]:
        """Mean loss and weight over the pairs of a view that the backbone saw and another that the target saw."""
        pairs = [(query, key) for query in sorted(online) for key in sorted(target) if query != key]
        if not pairs:
            raise ValueError(
                f'{type(self).__name__}: its backbones saw views {sorted(online)} and {sorted(target)} as they are, '
                'expected a view and another one; the framework may join or change them, or target_backbone be wrong'
            )
        student = self._dense_student()
        self.dense_target.update(student)
        twins = self.dense_target.module
        queries = {view: _dense_maps(student, online[view]) for view in sorted({query for query, _ in pairs})}
        with torch.no_grad():
            keys = {view: _dense_maps(twins, target[view]) for view in sorted({key for _, key in pairs})}
        found = [
            self.dense(queries[query], keys[key], geometry and [geometry[query], geometry[key]], twins['matchers'])
            for query, key in pairs
        ]
        for maps in keys.values():
            self.dense.enqueue(maps)
        return tuple(torch.stack(values).mean() for values in zip(*found, strict=True))


def _record(views: list[Tensor], store: Maps, module: nn.Module, args: tuple, output: tuple[Tensor, ...]) -> None:
    """Forward hook: keep the output under the number of the view that was the input."""
    store.update({number: output for number, view in enumerate(views) if args[0] is view})


def _dense_maps(parts: nn.ModuleDict, feats: tuple[Tensor, ...]) -> DenseMaps:
    return DenseMaps(parts['dense_neck'](feats), feats[-1])


@cache
def _combined(base: type) -> type:
    return type(f'{base.__name__}WithDenseBranch', (DenseBranchMixin, base), {})


@MODELS.register_module(name='WithDenseBranch')
def with_dense_branch(
    framework: str,
    dense: dict,
    loss_lambda: float = 0.5,
    target_backbone: str | None = None,
    target_momentum: float = 0.0,
    target_end_momentum: float | None = None,
    **settings: object,
) -> BaseSelfSupervisor:
    """A framework with a dense branch: L = (1 − λ)·L_framework + λ·L^D.

    Makes, for instance, BYOL with M_pl from BYOL's config by a few more fields. The model is the framework's class with
    ``dense`` and ``dense_target`` beside its own parts, so names in checkpoints stay: ``backbone``, ``neck``, ``head``.

    The framework's loss has to call ``self.backbone`` on single views of ``inputs``, unchanged, as BYOL, SimSiam and
    Barlow Twins do; the maps are taken from these calls, nothing is computed twice. Every view that the backbone saw is
    the query to every other view that the target's backbone saw, and L^D is the mean over these pairs: both orders for
    frameworks that are symmetric. Without a target backbone the key is the other view's map without gradient.

    Args:
        framework: Registered name of the framework's class, such as ``'mmpretrain.BYOL'``.
        dense: Arguments of :class:`~histomm.models.dense_branch.DenseBranch`.
        loss_lambda: λ in [0, 1].
        target_backbone: Path in the framework of the backbone that follows the trained one, such as
            ``'target_net.module.0'`` of BYOL.
        target_momentum: m of the key side's dense neck and matchers, near 1 as in the papers; best that of the
            framework's target. 0 without a target: they equal those of the query side.
        target_end_momentum: m at the end of a half cosine; ``None`` keeps it constant.
        **settings: Arguments of the framework's class.

    Raises:
        ValueError: no such framework or target backbone; λ outside [0, 1]; a momentum without a target.
    """
    base = MODELS.get(framework)
    if not (isclass(base) and issubclass(base, BaseSelfSupervisor)):
        raise ValueError(
            f'WithDenseBranch: framework is {framework!r}, expected the name of a self-supervised algorithm, '
            "such as 'mmpretrain.BYOL'"
        )
    model = _combined(base)(**settings)
    model.add_dense_branch(dense, loss_lambda, target_backbone, target_momentum, target_end_momentum)
    return model
