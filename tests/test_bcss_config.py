"""The shipped U-Net on BCSS: its settings, training and testing by the scripts, and the verified hand-over."""

import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models.backbones import ResNet
from PIL import Image
from small_runs import REPO, command_options, draw_bcss, segmentation_options, small_config
from tool_modules import load_tool

from histomm.engine.launch import build_runner, load_config
from histomm.models.transfer import TransferError

pytest.importorskip('mmcv.ops', exc_type=ImportError)

CONFIG = REPO / 'configs/bcss/unet_r18_bcss.py'
REPO_CONFIG = REPO / 'configs/bcss/unet_r18_bcss_repo.py'


@pytest.fixture(scope='module')
def bcss(tmp_path_factory):
    return draw_bcss(tmp_path_factory.mktemp('drawn'))


def small(bcss, work_dir, path=CONFIG, **options):
    return small_config(path, work_dir, segmentation_options(bcss) | options)


def test_settings_are_those_of_the_literature():
    config = Config.fromfile(CONFIG)
    assert (config.model.backbone.depth, config.model.backbone.frozen_stages, config.model.backbone.norm_eval) == (
        18, -1, False,
    )  # fmt: skip
    assert 'init_cfg' not in config.model.backbone
    assert config.model.decode_head.num_classes == 21
    mean, std = config.model.data_preprocessor.mean, config.model.data_preprocessor['std']
    np.testing.assert_allclose(np.array(mean) / 255, [0.7175, 0.4949, 0.6784], rtol=1e-12)
    np.testing.assert_allclose(np.array(std) / 255, [0.1996, 0.2345, 0.1772], rtol=1e-12)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 5e-4, 0.02)
    assert (config.train_cfg.max_epochs, config.train_dataloader.batch_size) == (20, 32)
    (cosine,) = config.param_scheduler
    assert (cosine.type, cosine.T_max, cosine.eta_min, cosine.by_epoch) == ('CosineAnnealingLR', 20, 0, True)
    _, _, resize, crop, flip, jitter, _ = config.train_dataloader.dataset.pipeline
    assert (resize.scale, crop.size, crop.scale, flip.prob_h) == (256, 256, (0.4, 1.0), 0.5)
    assert [jitter[name] for name in ('brightness', 'contrast', 'saturation', 'hue', 'prob')] == [
        0.4,
        0.4,
        0.4,
        0.1,
        0.8,
    ]
    assert 'batch_mean' not in config.val_evaluator


def test_the_variant_of_the_authors_code_differs_in_freezing_and_scores_alone():
    config, variant = Config.fromfile(CONFIG), Config.fromfile(REPO_CONFIG)
    assert variant.model.backbone.frozen_stages == 4
    assert variant.val_evaluator.batch_mean
    assert variant.test_evaluator.batch_mean
    variant.model.backbone.frozen_stages = -1
    del variant.val_evaluator['batch_mean'], variant.test_evaluator['batch_mean']
    assert variant._cfg_dict.to_dict() == config._cfg_dict.to_dict()


def test_scripts_train_and_test(bcss, tmp_path):
    options = command_options(segmentation_options(bcss))
    load_tool('tools/train.py').main([str(REPO_CONFIG), '--work-dir', str(tmp_path), '--cfg-options', *options])
    checkpoint = tmp_path / 'epoch_1.pth'
    arguments = [str(REPO_CONFIG), str(checkpoint), '--work-dir', str(tmp_path / 'test'), '--cfg-options', *options]
    scores = load_tool('tools/test.py').main(arguments)
    names = {f'{score}_{kind}' for score in ('jaccard', 'dice') for kind in ('micro', 'macro', 'batch_mean')}
    assert set(scores) == names
    micro = scores['dice_micro']
    # With N pixels of which T are right, T / (2N - T).
    assert scores['jaccard_micro'] == pytest.approx(micro / (2 - micro))


class _RememberEncoder(Hook):
    def before_train(self, runner):
        self.state = {name: value.clone() for name, value in runner.model.backbone.state_dict().items()}


def test_a_frozen_encoder_keeps_weights_and_statistics_through_training(bcss, tmp_path):
    runner = build_runner(small(bcss, tmp_path, REPO_CONFIG))
    remembered = _RememberEncoder()
    runner.register_hook(remembered)
    runner.train()
    after = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    assert len(remembered.state) == 120
    assert all(torch.equal(after[f'backbone.{name}'], value) for name, value in remembered.state.items())


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_tumour_is_in_the_loss_and_in_the_scores(tmp_path):
    """Patches of tumour alone: they have a loss, and all of their pixels are in the scores."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val', 'test'):
        for number in range(4):
            mask = np.zeros((64, 64), np.uint8)
            mask[:, 16:] = 1
            save(tmp_path / split / 'mask' / f'{number}.png', mask)
            save(tmp_path / split / 'img' / f'{number}.png', rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    runner = build_runner(small(tmp_path, tmp_path / 'run'))
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert min(losses) > 0.1, 'a loss of nothing but ignored pixels is 0'
    evaluator = runner.val_evaluator.metrics[0]
    runner.model.eval()
    for batch in runner.val_dataloader:
        evaluator.process(batch, [sample.to_dict() for sample in runner.model.val_step(batch)])
    areas = sum(areas for _, areas in evaluator.results)
    assert areas[2].tolist() == [4 * 64 * 48] + [0] * 20


def test_number_of_workers_changes_no_batch(bcss, tmp_path):
    seen = []
    for workers in (0, 2):
        config = small(bcss, tmp_path, **{'train_dataloader.num_workers': workers})
        with DefaultScope.overwrite_default_scope(config.default_scope):
            loader = Runner.build_dataloader(config.train_dataloader, seed=3)
        loader.sampler.seed = 3
        sums = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                labels = torch.stack([sample.gt_sem_seg.data for sample in batch['data_samples']])
                sums.append((torch.stack(batch['inputs']).sum().item(), labels.sum().item()))
        seen.append(sums)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 4, 'crops differ from epoch to epoch'


@pytest.fixture
def backbone_file(tmp_path):
    model = ResNet(18)
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape).abs() * 0.05) if value.is_floating_point() else value.fill_(77)
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in model.state_dict().items()}}, tmp_path / 'pre.pth')
    return tmp_path / 'pre.pth', model.state_dict()


def with_backbone(bcss, work_dir, checkpoint, **more):
    options = {
        'model.backbone.init_cfg.type': 'histomm.VerifiedPretrained',
        'model.backbone.init_cfg.checkpoint': str(checkpoint),
    }
    return build_runner(load_config(str(CONFIG), str(work_dir), segmentation_options(bcss) | options | more, 'none'))


def test_backbone_from_the_command_line_is_in_the_segmentor_tensor_by_tensor(bcss, backbone_file, tmp_path):
    path, expected = backbone_file
    runner = with_backbone(bcss, tmp_path, path)
    runner._init_model_weights()
    found = runner.model.backbone.state_dict()
    assert found.keys() == expected.keys()
    assert len(expected) == 120
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert runner.model.decode_head.conv_seg.weight.std().item() == pytest.approx(math.sqrt(2 / 21), rel=0.1)


def test_backbone_of_another_depth_stops_the_run(bcss, backbone_file, tmp_path):
    runner = with_backbone(bcss, tmp_path, backbone_file[0], **{'model.backbone.depth': 34})
    with pytest.raises(TransferError, match=r'holds ResNet-18 .* is ResNet-34'):
        runner.train()
