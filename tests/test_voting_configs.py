"""The classifiers of patches that vote: their settings, what linear evaluation trains, and scores of images."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from small_runs import REPO, draw_patches, small_config, vote_options
from torch import nn

from histomm.engine.launch import build_runner
from histomm.registry import DATASETS

BACH, REINHARD = (REPO / f'configs/bach/resnet50_finetune_bach_patches{name}.py' for name in ('', '_reinhard'))
UCSB, LINEAR = (REPO / f'configs/ucsb/resnet50_{name}_ucsb.py' for name in ('finetune', 'linear'))


def test_settings_are_those_of_the_authors():
    for path, classes, patch, overlap, batch in (
        (BACH, ('Benign', 'Invasive', 'InSitu', 'Normal'), 512, 0.5, 32),
        (UCSB, ('benign', 'malignant'), 224, 0.0, 8),
    ):
        cfg = Config.fromfile(path)
        optimizer = cfg.optim_wrapper.optimizer
        assert optimizer.to_dict() == dict(type='SGD', lr=1e-4, momentum=0.9, nesterov=True)
        assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size, cfg.param_scheduler) == (200, batch, [])
        assert cfg.model.head.num_classes == len(classes)
        assert (cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std) == (
            [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        )  # fmt: skip
        lists = set()
        for part in ('train', 'val', 'test'):
            dataset = cfg[f'{part}_dataloader'].dataset
            assert (tuple(dataset.classes), dataset.patch, dataset.overlap) == (classes, patch, overlap)
            assert [step.size for step in dataset.pipeline if step.type == 'histomm.ResizeWhole'] == [224]
            lists.add(dataset.list_file)
        assert len(lists) == 3, 'the authors choose the epoch of the cells on the images that they test'


def test_the_reinhard_config_differs_in_the_photographs_alone():
    base, variant = Config.fromfile(BACH), Config.fromfile(REINHARD)
    for part in ('train', 'val', 'test'):
        assert variant[f'{part}_dataloader'].dataset.data_root == 'data/BACH_reinhard'
        variant[f'{part}_dataloader'].dataset.data_root = 'data/BACH'
    found, expected = variant._cfg_dict.to_dict(), base._cfg_dict.to_dict()
    assert found == expected


def test_linear_evaluation_differs_in_freezing_alone():
    config, variant = Config.fromfile(UCSB), Config.fromfile(LINEAR)
    assert variant.model.backbone.frozen_stages == 4
    variant.model.backbone.frozen_stages = -1
    assert variant._cfg_dict.to_dict() == config._cfg_dict.to_dict()


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=9, size=64)


class _Watch(Hook):
    """Weights and batch norm statistics before training, and the modes of batch norm in training."""

    def before_train(self, runner):
        self.state = {name: value.clone() for name, value in runner.model.state_dict().items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        norms = [part for part in runner.model.modules() if isinstance(part, nn.BatchNorm2d)]
        self.modes = {part.training for part in norms}


def test_linear_evaluation_trains_the_last_layer_and_images_are_scored_by_votes(images, tmp_path):
    """Batch norm included, the backbone stays; the authors leave batch norm in training mode."""
    options = vote_options(images) | {
        'model.backbone.depth': 18,
        'model.head.in_channels': 512,
        'val_dataloader.dataset.indices': 36,
        'optim_wrapper.optimizer.lr': 0.1,
    }
    runner, watch = build_runner(small_config(LINEAR, tmp_path, options)), _Watch()
    runner.register_hook(watch)
    runner.train()
    assert watch.modes == {False}
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, watch.state[name]) == (not name.startswith('head.')), name
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    scores = [line for line in map(json.loads, log.read_text().splitlines()) if 'vote/accuracy' in line]
    assert {'vote/macro_f1', 'vote/macro_precision', 'vote/balanced_accuracy', 'classification/accuracy'} <= set(
        scores[-1]
    )
    votes = by_hand(runner, images)
    assert scores[-1]['vote/accuracy'] == pytest.approx(sum(map(right, votes.values())) / 9)


def by_hand(runner, images):
    """True class and predicted classes of the 2 × 2 patches of each image of 64 pixels."""
    cfg = Config.fromfile(LINEAR).val_dataloader.dataset
    cfg.update(data_root=str(images), list_file='labels.csv', patch=32)
    cfg.pipeline[1].size = 32
    dataset, found = DATASETS.build(cfg), {}
    runner.model.eval()
    for index in range(len(dataset)):
        sample = dataset[index]
        data = runner.model.data_preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
        with torch.no_grad():
            (predicted,) = runner.model.predict(data['inputs'], data['data_samples'])
        _, votes = found.setdefault(predicted.img_path, (int(predicted.gt_label), []))
        votes.append(int(predicted.pred_score.argmax()))
    assert all(len(votes) == 4 for _, votes in found.values())
    return found


def right(image):
    truth, votes = image
    return max(sorted(set(votes)), key=votes.count) == truth
