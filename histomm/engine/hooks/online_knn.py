"""kNN accuracy of the features during training, where labels exist."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from histomm.engine.hooks.features import bare_model, find_module, pool_features
from histomm.evaluation import knn_predict
from histomm.randomness import preserved_randomness
from histomm.registry import DATASETS, HOOKS


@HOOKS.register_module()
class OnlineKNNHook(Hook):
    """Logs ``knn_top1``: percent of held-out labelled images whose class the nearest others predict.

    A fixed random part of the data set is split into a bank and held-out queries; the backbone, in evaluation mode,
    gives a pooled vector for each, and :func:`~histomm.evaluation.knn_predict` votes. The labels reach nothing but
    this number. The images are normalised with ``mean`` and ``std`` of the model's ``data_preprocessor``. On several
    ranks each computes the features of its share.

    The training does not notice: the generators, the mode of each module and the BN statistics are as before.

    Data without labels, or with one class, are said once, and the hook turns itself off.

    Args:
        dataset: Config of a data set whose samples are ``inputs`` (3, H, W) uint8 RGB, of one size, and
            ``data_samples`` with ``gt_label``: ``histomm.PatchDataset`` with ``with_labels=True`` and a pipeline that
            draws nothing, such as ``histomm.LoadPatch``, ``mmpretrain.ResizeEdge``, ``mmpretrain.CenterCrop``,
            ``mmpretrain.PackInputs``.
        interval: Epochs, or iterations, between two measurements; the end of training is measured too.
        by_epoch: Whether ``interval`` counts epochs.
        max_samples: Images used, bank and queries together.
        k: Neighbours; cut to the size of the bank.
        temperature: Of the votes.
        holdout: Share of the images that are queries, in (0, 1).
        batch_size: Images at a time.
        num_workers: Loader processes, started for each measurement.
        module: Dotted path of the module in the model.

    Raises:
        ValueError: an argument is out of range, the model has no such module or its preprocessor no ``mean`` and
            ``std``, or the images differ in size.
    """

    # After the feature monitor, before the logger.
    priority = 55

    def __init__(
        self,
        dataset: dict,
        interval: int = 1,
        by_epoch: bool = True,
        max_samples: int = 2000,
        k: int = 20,
        temperature: float = 0.07,
        holdout: float = 0.2,
        batch_size: int = 64,
        num_workers: int = 0,
        module: str = 'backbone',
    ) -> None:
        for name, value in dict(interval=interval, k=k, batch_size=batch_size).items():
            if value < 1:
                raise ValueError(f'OnlineKNNHook: {name} is {value}, expected 1 or more')
        if not 0 < holdout < 1 or max_samples < 2:
            raise ValueError(
                f'OnlineKNNHook: holdout is {holdout} and max_samples {max_samples}, expected a share between 0 and 1 '
                'and at least 2'
            )
        self.dataset = dataset
        self.interval = interval
        self.by_epoch = by_epoch
        self.max_samples = max_samples
        self.k = k
        self.temperature = temperature
        self.holdout = holdout
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.module = module
        self._data: Dataset | None = None

    def before_train(self, runner: Runner) -> None:
        """Build the data set and choose bank and queries, the same in every run."""
        find_module(runner, self.module)
        _statistics(runner)
        try:
            dataset = DATASETS.build(self.dataset)
        except ValueError as error:  # what PatchDataset raises for images without a label
            runner.logger.warning(f'OnlineKNNHook is off: {error}')
            return
        labels = [dataset.get_data_info(index).get('gt_label') for index in range(len(dataset))]
        classes = len({int(label) for label in labels if label is not None})
        if None in labels or classes < 2:
            runner.logger.warning(
                f'OnlineKNNHook is off: its {len(labels)} images have {classes} classes, at least 2 are needed.'
            )
            return
        chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: self.max_samples]
        self._data = Subset(dataset, chosen.tolist())
        self._num_queries = min(max(1, round(self.holdout * len(chosen))), len(chosen) - 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure every ``interval`` epochs."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._measure(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Measure every ``interval`` iterations."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._measure(runner)

    def _measure(self, runner: Runner) -> None:
        if self._data is None:
            return
        backbone = find_module(runner, self.module)
        with preserved_randomness(), evaluating(backbone), torch.no_grad():
            features, labels = self._features(backbone, *_statistics(runner))
        classes, labels = labels.unique(return_inverse=True)
        held, bank = slice(None, self._num_queries), slice(self._num_queries, None)
        k = min(self.k, len(labels) - self._num_queries)
        predicted = knn_predict(features[bank], labels[bank], features[held], k, self.temperature, len(classes))
        top1 = 100 * (predicted == labels[held]).float().mean().item()
        runner.message_hub.update_scalar('train/knn_top1', top1)
        # The logger shows the hub's value with its next line; the point itself, and the last one, is written here.
        runner.visualizer.add_scalar('knn_top1', top1, step=runner.iter if self.by_epoch else runner.iter + 1)
        runner.logger.info(f'knn_top1: {top1:.2f} % of {self._num_queries} held-out images of {len(classes)} classes')

    def _features(self, backbone: nn.Module, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D) and labels (N,) of all chosen images, on all ranks."""
        rank, world_size = get_dist_info()
        total = len(self._data)
        # Every rank takes the same number, so that the gathered tensors agree in shape; surplus ones are dropped.
        share = [(rank + i * world_size) % total for i in range(-(-total // world_size))]
        loader = DataLoader(
            Subset(self._data, share),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=pseudo_collate,
            generator=torch.Generator().manual_seed(0),
        )
        features, labels = [], []
        for batch in loader:
            if len({tuple(image.shape) for image in batch['inputs']}) > 1:
                raise ValueError('OnlineKNNHook: the images differ in size; end its pipeline with a resize and a crop')
            images = torch.stack(batch['inputs']).to(mean.device)
            features.append(pool_features(backbone((images.float() - mean) / std)))
            labels += [int(sample.gt_label) for sample in batch['data_samples']]
        gathered = [
            torch.stack(all_gather(part), dim=1).flatten(0, 1)[:total]
            for part in (torch.cat(features), torch.tensor(labels, device=mean.device))
        ]
        return gathered[0], gathered[1]


def _statistics(runner: Runner) -> tuple[Tensor, Tensor]:
    model = bare_model(runner)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, 'mean', None) is None or getattr(preprocessor, 'std', None) is None:
        raise ValueError(
            f'OnlineKNNHook: the data_preprocessor of {type(model).__name__} ({type(preprocessor).__name__}) has no '
            'mean and std to normalise images with; set them in the config'
        )
    return preprocessor.mean, preprocessor.std


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode, and each of its submodules back into its own mode at the end."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
