"""The published settings of SimCLR on many data sets, number by number."""

import pytest
from mmengine.config import Config


def test_views_are_those_of_the_paper(repo):
    config = Config.fromfile(str(repo / 'configs/simclr/simclr_r18_patches.py'))
    crop, flip, turn, jitter, blur = config.train_dataloader.dataset.pipeline[1].views[0].pipeline
    assert (crop.size, tuple(crop.scale)) == (224, (0.01, 1.0))
    assert (flip.prob_h, flip.prob_v, turn.prob) == (0.5, 0.5, 0.75)
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue, jitter.prob) == (0.8, 0.8, 0.8, 0.2, 0.8)
    assert (tuple(blur.sigma), blur.prob) == ((0.1, 2.0), 0.5)


@pytest.mark.parametrize(('suffix', 'batch', 'rate'), [('', 512, 0.6), ('_lamb', 512, 0.005), ('_adam', 128, 1e-4)])
def test_rates_and_decay_are_those_of_the_paper(repo, suffix, batch, rate):
    config = Config.fromfile(str(repo / f'configs/simclr/simclr_r18_patches{suffix}.py'))
    optimizer = config.optim_wrapper.optimizer
    assert (config.train_dataloader.batch_size, optimizer.lr, optimizer.weight_decay) == (batch, rate, 1e-6)


@pytest.mark.parametrize(('depth', 'decay'), [(18, 1e-5), (50, 1e-4)])
def test_decay_downstream_depends_on_the_depth(repo, depth, decay):
    config = Config.fromfile(str(repo / f'configs/nct/resnet{depth}_finetune_nct.py'))
    assert config.optim_wrapper.optimizer.weight_decay == decay
