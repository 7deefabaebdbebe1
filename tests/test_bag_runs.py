"""Bags in real runs: a killed and resumed run, batches of bags, and what is measured of patients."""

import pytest
import torch
from bag_files import draw_bags
from mmengine.config import Config
from mmengine.hooks import Hook
from small_runs import REPO, bag_options, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner

CONFIG = REPO / 'configs/nsclc/vit-wsi_region_nsclc.py'


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    return draw_bags(tmp_path_factory.mktemp('bags'), 12)


class _StopAt(Hook):
    """Stands for a kill: raises before the given iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def run(folder, bags, *hooks, **options):
    cfg = small_config(CONFIG, folder, bag_options(bags, epochs=2) | {'train_cfg.val_interval': 2})
    cfg.merge_from_dict(
        {'train_dataloader.dataset.max_instances': 4, 'default_hooks.checkpoint.interval': 1, **options}
    )
    cfg.experiment_name = f'{folder.name}{len(options)}'  # runs of the same second are told apart by it
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner.model.state_dict()


def test_killed_and_resumed_equals_uninterrupted(bags, tmp_path):
    """With dropout, classes drawn with replacement, and instances drawn of larger bags."""
    expected = run(tmp_path / 'whole', bags)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'killed', bags, _StopAt(6))
    checkpoint = str(latest_good_checkpoint(tmp_path / 'killed'))
    assert checkpoint.endswith('epoch_1.pth')
    found = run(tmp_path / 'killed', bags, resume=True, load_from=checkpoint)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_settings_are_those_of_hipt():
    cfg = Config.fromfile(CONFIG)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay, cfg.param_scheduler) == ('Adam', 2e-4, 1e-5, [])
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size, cfg.randomness.seed) == (20, 1, 1)
    assert cfg.train_dataloader.sampler.type == 'histomm.BalancedSampler'
    assert cfg.model.criterion == 'ce'
    for family, classes in (('nsclc', ['LUAD', 'LUSC']), ('brca', ['IDC', 'ILC'])):
        for path in (REPO / 'configs' / family).glob('*_region_*.py'):
            variant = Config.fromfile(path)
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
                dataset = variant[loader].dataset
                assert dataset.split_file == 'splits/splits_0.csv'
                assert (list(dataset.classes), dataset.part) == (classes, loader.partition('_')[0])
                assert dataset.data_root == f'data/TCGA-{family.upper()}'
            assert variant.model.aggregator.in_channels == 192
            assert not {'data_root', 'classes', 'bags'} & set(variant), 'nobody would read them'
        for path in (REPO / 'configs' / family).glob('vit-wsi_[cd]*.py'):
            variant = Config.fromfile(path)
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
                assert variant[loader].dataset.split_file == 'survival_splits/splits_0.csv'
                assert variant[loader].dataset.data_root == f'data/TCGA-{family.upper()}'
