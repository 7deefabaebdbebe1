"""A data set and a model small enough to train in a test, and the config of a run with them."""

import itertools

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn.functional import cross_entropy

from histomm.datasets.samplers import SampleIndex

RUN_NUMBER = itertools.count()


@DATASETS.register_module()
class ToyImages(BaseDataset):
    """Noise around one brightness a class, plus draws as transforms make them.

    ``classes=None`` leaves out the labels; ``global_draw`` adds a draw from numpy's global generator, as transforms of
    other packages do.
    """

    def __init__(self, size=10, classes=2, global_draw=False):
        self.size, self.classes, self.global_draw = size, classes, global_draw
        super().__init__(pipeline=[])

    def load_data_list(self):
        labels = [dict(gt_label=i % self.classes) if self.classes else {} for i in range(self.size)]
        return [dict(img_path=f'tissue_{i}.png') | label for i, label in enumerate(labels)]

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        index = info['sample_idx']
        key = [index.seed, index.epoch, int(index)] if isinstance(index, SampleIndex) else [int(index)]
        image = np.random.default_rng(key).integers(0, 100, (3, 8, 8)) + 100 * info.get('gt_label', 0)
        if self.global_draw:
            image = image + np.random.randint(0, 30)
        sample = BaseDataElement(metainfo=dict(img_path=info['img_path']))
        if 'gt_label' in info:
            sample.gt_label = torch.tensor([info['gt_label']])
        return dict(inputs=torch.from_numpy(image).to(torch.uint8), data_samples=sample)


@MODELS.register_module()
class ToyModel(BaseModel):
    """Convolution with BN, dropout, linear head."""

    def __init__(self):
        super().__init__(ImgDataPreprocessor(mean=[127.0] * 3, std=[60.0] * 3))
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)
        self.spoil_at, self.steps = None, 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.steps += 1
        logits = self.head(self.dropout(self.backbone(inputs).mean((2, 3))))
        target = torch.arange(len(inputs), device=logits.device) % 4
        loss = cross_entropy(logits, target)
        if self.steps == self.spoil_at:
            loss = loss * float('nan')
        return dict(loss_toy=loss, accuracy=torch.tensor(float('nan')))


@HOOKS.register_module()
class StopAt(Hook):
    """Stands for a kill: raises after the given number of iterations."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def toy_config(work_dir, *, by_epoch=True, length=3, workers=0, seed=5, hooks=(), checkpoint=None, **dataset):
    """Config of a run of ``length`` epochs or iterations on 10 images in batches of 3 (4 iterations an epoch)."""
    loop = dict(by_epoch=True, max_epochs=length) if by_epoch else dict(by_epoch=False, max_iters=length)
    checkpoint = dict(type='histomm.AtomicCheckpointHook', by_epoch=by_epoch, interval=1) | (checkpoint or {})
    return Config(
        dict(
            default_scope='mmengine',
            experiment_name=f'toy{next(RUN_NUMBER)}',  # mmengine keeps one message hub a name
            work_dir=str(work_dir),
            model=dict(type='ToyModel'),
            train_dataloader=dict(
                dataset=dict(type='ToyImages') | dataset,
                sampler=dict(type='histomm.SeededSampler', infinite=not by_epoch),
                batch_size=3,
                num_workers=workers,
            ),
            train_cfg=loop,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            param_scheduler=dict(type='CosineAnnealingLR', T_max=20, by_epoch=False),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=checkpoint),
            custom_hooks=[dict(type='histomm.SeedHook'), *hooks],
            log_processor=dict(by_epoch=by_epoch),
            randomness=dict(seed=seed),
            log_level='WARNING',
        )
    )
