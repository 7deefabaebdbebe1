"""Prototypes of slides, made anew at the start of each epoch."""

import hashlib
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dist import all_gather, broadcast, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor

from histomm.engine.hooks.features import bare_model
from histomm.engine.hooks.online_knn import evaluating
from histomm.engine.slide_clustering import BACKENDS, Clustering, Targets, make_targets, require_faiss
from histomm.registry import HOOKS

if TYPE_CHECKING:
    from histomm.models import SLPD

LISTED = 20
"""Names of small slides that the log shows."""


@HOOKS.register_module()
class PrototypeHook(Hook):
    """Makes the prototypes of :class:`~histomm.models.SLPD` at the start of each epoch.

    The teacher embeds all regions of the training data, in float32, each by the crop in its middle. The regions of each
    slide are clustered by spherical k-means, similar slides are found, and the model is told which prototypes each
    region follows. They stay the same until the next epoch, and are saved with the model: a run that goes on inside an
    epoch has those that it began the epoch with. Nothing is drawn from the global generators.

    Processes share the embedding, batch by batch; each then has all embeddings, and takes the targets that the main one
    found, so that they agree bit by bit.

    In a run counted in iterations an epoch is as many of them as a pass over the data takes, rounded down.

    Slides with too few regions get no prototypes and are no neighbours; their number and names are said once. Where
    there are fewer slides, or regions of other slides, than neighbours wanted, that is said too.

    Args:
        warm_epoch: The last epoch, counted from 0, without prototypes; −1 has them from the beginning (the paper), 20
            from the 22nd epoch on (the authors' code).
        min_regions: A slide needs so many regions, and as many as it gets prototypes. No matter with
            ``scope='global'``.
        crop_size: Side in tokens of the crop in the middle.
        batch_size: Regions that are embedded at a time.
        iterations: Of k-means.
        restarts: Of k-means; the best of so many is kept.
        seed: Of k-means, the same in each epoch.
        backend: 'torch', on the model's device, or 'faiss', if that is installed, on the CPU.

    Raises:
        ValueError: an argument is out of range; the model is not SLPD; the data are not regions; a crop does not fit
            their tokens, or the tokens not the model; the run ends before there are prototypes; no slide has enough
            regions; the prototypes of a checkpoint are of other regions or options.
        ModuleNotFoundError: ``backend='faiss'`` without it.
    """

    def __init__(
        self,
        warm_epoch: int = 20,
        min_regions: int = 1,
        crop_size: int = 14,
        batch_size: int = 256,
        iterations: int = 10,
        restarts: int = 5,
        seed: int = 0,
        backend: str = 'torch',
    ) -> None:
        numbers = dict(
            min_regions=min_regions, crop_size=crop_size, batch_size=batch_size, iterations=iterations,
            restarts=restarts,
        )  # fmt: skip
        if warm_epoch < -1 or min(numbers.values()) < 1:
            raise ValueError(
                f'PrototypeHook: warm_epoch is {warm_epoch}, '
                + ', '.join(f'{name} {value}' for name, value in numbers.items())
                + '; expected at least -1, and 1 or more of the others'
            )
        if backend not in BACKENDS:
            raise ValueError(f'PrototypeHook: backend is {backend!r}, expected one of {", ".join(BACKENDS)}')
        if backend == 'faiss':
            require_faiss()
        self.warm_epoch, self.min_regions = warm_epoch, min_regions
        self.crop_size, self.batch_size = crop_size, batch_size
        self.clustering = Clustering(backend, iterations, restarts, seed)

    def before_train(self, runner: Runner) -> None:
        """Look at model and data; keep the prototypes of a checkpoint only if they are of the epoch that goes on."""
        model, data = self._model(runner), runner.train_dataloader.dataset
        if not all(hasattr(data, name) for name in ('read_tokens', 'region_slides', 'slide_names', 'store')):
            raise ValueError(
                f'PrototypeHook: the training data are {type(data).__name__}, expected histomm.RegionTokenDataset'
            )
        self._steps = self._steps_per_epoch(runner)
        self._slide = torch.as_tensor(data.region_slides, dtype=torch.long)
        self._valid = self._large_enough(runner, model, data.slide_names)
        self._embed(model, data, torch.arange(1))
        self._origin = self._digest(model, data)
        kept = runner.iter > 0 and int(model.bank.epoch) == self._epoch(runner)
        if not kept:
            model.bank.clear()
        elif model.bank.origin.tolist() != list(self._origin):
            raise ValueError(
                f'PrototypeHook: the checkpoint has prototypes of {len(model.bank.own)} regions, the training data '
                f'have {len(self._slide)}, or they were made of other slides, places or tokens, or with other options; '
                'resume with the data and options of that run'
            )
        self._made = self._epoch(runner) if kept else -1
        model.bank.supplied = True

    def before_train_epoch(self, runner: Runner) -> None:
        """Make prototypes if epochs are counted."""
        if not self._by_iteration(runner):
            self._make_if_due(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Make prototypes if iterations are counted and a pass begins."""
        if self._by_iteration(runner):
            self._make_if_due(runner)

    @staticmethod
    def _by_iteration(runner: Runner) -> bool:
        return isinstance(runner.train_loop, IterBasedTrainLoop)

    def _epoch(self, runner: Runner) -> int:
        return runner.iter // self._steps if self._by_iteration(runner) else runner.epoch

    def _steps_per_epoch(self, runner: Runner) -> int:
        """Iterations of an epoch; refuses a run that ends before there are prototypes."""
        loader, world_size = runner.train_dataloader, get_dist_info()[1]
        if self._by_iteration(runner):
            steps = max(1, len(loader.dataset) // (loader.batch_size * world_size))
            epochs = -(-runner.max_iters // steps)
        else:
            steps, epochs = len(loader), runner.max_epochs
        if epochs <= self.warm_epoch + 1:
            raise ValueError(
                f'PrototypeHook: the run has {epochs} epochs, and prototypes are made after {self.warm_epoch + 1}; '
                'lower warm_epoch'
            )
        return steps

    @staticmethod
    def _model(runner: Runner) -> 'SLPD':
        from histomm.models import SLPD  # not above: hooks come without mmdet, which all models together bring

        model = bare_model(runner)
        if not isinstance(model, SLPD):
            raise ValueError(f'PrototypeHook: the model is {type(model).__name__}, expected histomm.SLPD')
        return model

    def _digest(self, model: 'SLPD', data: object) -> bytes:
        """SHA-256 of the regions and of the options that decide which prototypes they follow."""
        inter = model.alpha_inter > 0
        options = [model.num_prototypes, model.num_neighbors, model.feat, model.match, model.scope, model.neighbors]
        options += [inter, self.min_regions, self.crop_size, data.store.digest, data.slide_names]
        places = np.column_stack([data.region_slides, data.store.coords[data.data_list.rows]])
        return hashlib.sha256(json.dumps(options).encode() + places.astype('<i8').tobytes()).digest()

    def _large_enough(self, runner: Runner, model: 'SLPD', names: list[str]) -> Tensor:
        """Slides that get prototypes; says once what is left out."""
        sizes = torch.bincount(self._slide, minlength=len(names))
        if model.scope == 'global':
            return sizes > 0
        floor = max(self.min_regions, model.num_prototypes)
        valid = sizes >= floor
        small = (~valid).nonzero().squeeze(1).tolist()
        if not valid.any():
            raise ValueError(
                f'PrototypeHook: none of the {len(names)} slides has {floor} regions, the largest has '
                f'{int(sizes.max())}; lower min_regions or num_prototypes'
            )
        if small:
            listed = ', '.join(f'{names[slide]} ({sizes[slide]})' for slide in small[:LISTED])
            more = f' and {len(small) - LISTED} more' if len(small) > LISTED else ''
            runner.logger.warning(
                f'{len(small)} of {len(names)} slides have fewer than {floor} regions and get no prototypes: '
                f'{listed}{more}'
            )
        if model.alpha_inter:
            self._warn_of_few_neighbors(runner, model, sizes[valid])
        return valid

    @staticmethod
    def _warn_of_few_neighbors(runner: Runner, model: 'SLPD', sizes: Tensor) -> None:
        """Say once if neighbours are fewer than wanted; ``sizes`` are those of the slides that get prototypes."""
        wanted, regions = model.num_neighbors, model.neighbors == 'regions'
        elsewhere = sizes.sum() - sizes if regions else torch.full_like(sizes, len(sizes) - 1)
        few = elsewhere < wanted
        if few.any():
            what = ('regions' if regions else 'slides') + ('' if elsewhere.any() else '; loss_inter is left out')
            runner.logger.warning(
                f'{int(few.sum())} of {len(sizes)} slides with prototypes have fewer than {wanted} neighbours, for '
                f'there are {int(elsewhere.min())} other {what}'
            )

    def _make_if_due(self, runner: Runner) -> None:
        epoch = self._epoch(runner)
        if epoch <= self.warm_epoch or epoch == self._made:
            return
        begin = time.perf_counter()
        model = self._model(runner)
        x = self._embed_shared(model, runner.train_dataloader.dataset)
        targets = make_targets(model, x, self._slide.to(x.device), self._valid.to(x.device), self.clustering)
        for part in targets:
            broadcast(part)
        model.bank.replace(*targets, epoch, self._origin)
        self._made = epoch
        runner.logger.info(_said(epoch, targets, time.perf_counter() - begin))

    def _embed_shared(self, model: 'SLPD', data: object) -> Tensor:
        """Embeddings (N, C) of all regions; batch b is the work of process b modulo their number."""
        rank, world_size = get_dist_info()
        batches = torch.arange(len(self._slide)).split(self.batch_size)
        own = [self._embed(model, data, batch) for batch in batches[rank::world_size]]
        width = own[0].shape[1] if own else self._embed(model, data, batches[0][:1]).shape[1]
        # as many rows from each process, so that they can be gathered; what is beyond the last region is cut off
        rows = torch.zeros(-(-len(batches) // world_size), self.batch_size, width, device=_device(model))
        for place, part in enumerate(own):
            rows[place, : len(part)] = part
        return torch.stack(all_gather(rows), 1).flatten(0, 2)[: len(self._slide)]

    def _embed(self, model: 'SLPD', data: object, regions: Tensor) -> Tensor:
        """Embeddings of some regions, by the crop in the middle."""
        tokens = data.read_tokens(regions.tolist())
        height, width = tokens.shape[2:]
        side = self.crop_size
        if side > min(height, width):
            raise ValueError(f'PrototypeHook: crop_size is {side}, the regions have {height} x {width} tokens')
        top, left = (height - side) // 2, (width - side) // 2
        crop = tokens[:, :, top : top + side, left : left + side]
        with evaluating(model.teacher):  # before its first epoch a model is in no mode of training yet
            return model.embed(model.data_preprocessor(dict(inputs=[crop]))['inputs'][0])


def _device(model: 'SLPD') -> torch.device:
    return model.bank.epoch.device


def _said(epoch: int, targets: Targets, seconds: float) -> str:
    """A line for the log."""
    without = int((targets.own < 0).sum())
    return (
        f'Prototypes of epoch {epoch + 1}: {len(targets.rows)} rows from {len(targets.own)} regions, {without} of them '
        f'without prototype, in {seconds:.1f} s'
    )
