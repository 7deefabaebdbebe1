"""The shipped Mask R-CNN on GlaS: its settings, a few steps on drawn glands, and the verified hand-over."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from histomm.datasets.coco import Sample, build_coco, write_coco
from histomm.models.transfer import TransferError

pytest.importorskip('mmcv.ops', exc_type=ImportError)


@pytest.fixture(scope='module')
def config(repo):
    return Config.fromfile(repo / 'configs' / 'glas' / 'mask-rcnn_r18_fpn_glas.py')


@pytest.fixture(scope='module')
def glas(tmp_path_factory):
    """Six pictures of 160x128 with two dark discs each, and one without."""
    root = tmp_path_factory.mktemp('glas')
    rng = np.random.default_rng(0)
    samples = []
    for i in range(7):
        labels, image = np.zeros((128, 160), np.uint8), rng.integers(200, 255, (128, 160, 3), dtype=np.uint8)
        for k in range(2 if i else 0):
            cv2.circle(labels, (40 + 70 * k, int(rng.integers(40, 90))), int(rng.integers(18, 30)), k + 1, -1)
        image[labels > 0] //= 2
        Image.fromarray(image).save(root / f'{i}.png')
        Image.fromarray(labels).save(root / f'{i}_anno.png')
        samples.append(Sample(root / f'{i}.png', root / f'{i}_anno.png', f'{i}.png'))
    for name in ('train', 'test'):
        write_coco(build_coco(samples, 'gland')[0], root / 'annotations' / f'{name}.json')
    return root


@pytest.fixture
def small(config, glas, tmp_path):
    """The config on the drawn pictures, with little of everything."""
    cfg = copy.deepcopy(config)
    root = str(glas) + '/'
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path),
            'train_dataloader': {'batch_size': 2, 'num_workers': 0, 'persistent_workers': False},
            'val_dataloader': {'num_workers': 0, 'persistent_workers': False},
            'val_evaluator.ann_file': root + 'annotations/test.json',
            'train_cfg': {'max_iters': 2, 'val_interval': 2},
            'model.train_cfg.rpn_proposal': {'nms_pre': 50, 'max_per_img': 20},
            'model.train_cfg.rcnn.sampler.num': 8,
            'model.test_cfg.rpn': {'nms_pre': 50, 'max_per_img': 20},
            'default_hooks.checkpoint.interval': 2,
            'default_hooks.precise_bn': {'interval': 2, 'num_iters': 2},
            'visualizer.vis_backends': [{'type': 'LocalVisBackend'}],
        }
    )
    for name in ('train_dataloader', 'val_dataloader'):
        cfg[name].dataset.data_root = root
    cfg.val_dataloader.dataset.pipeline[1].scale = (160, 128)
    cfg.val_dataloader.dataset.indices = 2
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.train_dataloader.dataset.pipeline[2].transforms[0].scale = [(160, 96), (160, 128)]
    return cfg


def test_settings_are_those_of_the_literature(config):
    # Table 2.9: one row after the other.
    model = config.model
    assert (model.backbone.depth, model.backbone.frozen_stages, model.backbone.norm_eval) == (18, -1, False)
    assert 'init_cfg' not in model.backbone
    assert model.backbone.norm_cfg == model.neck.norm_cfg == {'type': 'SyncBN', 'requires_grad': True}
    assert model.neck.in_channels == [64, 128, 256, 512]
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.data_preprocessor.bgr_to_rgb
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 1
    anchors, rpn, rcnn = model.rpn_head.anchor_generator, model.train_cfg.rpn, model.train_cfg.rcnn
    assert [anchors.scales[0] * stride for stride in anchors.strides] == [32, 64, 128, 256, 512]
    assert anchors.ratios == [0.5, 1.0, 2.0]
    assert (rpn.sampler.num, rpn.sampler.pos_fraction) == (256, 0.5)
    assert (rpn.assigner.pos_iou_thr, rpn.assigner.neg_iou_thr) == (0.7, 0.3)
    assert (model.train_cfg.rpn_proposal.nms_pre, model.train_cfg.rpn_proposal.max_per_img) == (2000, 1000)
    assert (model.test_cfg.rpn.nms_pre, model.test_cfg.rpn.max_per_img) == (1000, 1000)
    assert (rcnn.sampler.num, rcnn.sampler.pos_fraction, rcnn.sampler.add_gt_as_proposals) == (512, 0.25, True)
    assert rcnn.assigner.pos_iou_thr == 0.5
    assert not rcnn.assigner.match_low_quality
    test = model.test_cfg.rcnn
    assert (test.score_thr, test.nms.iou_threshold, test.max_per_img) == (0.05, 0.5, 100)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.02, 0.9, 1e-4)
    assert config.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    warmup, steps = config.param_scheduler
    assert (warmup.start_factor, warmup.begin, warmup.end) == (0.001, 0, 1000)
    assert (steps.milestones, steps.gamma) == ([4000], 0.1)
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size) == (5000, 16)
    resize = config.train_dataloader.dataset.pipeline[2].transforms[0]
    assert resize.scale == [(1333, 400), (1333, 522)]
    assert config.test_dataloader.dataset.pipeline[1].scale == (1333, 522)
    assert config.default_hooks.precise_bn.num_iters == 200


def test_yaml_is_the_same_config(config, tmp_path):
    config.dump(str(tmp_path / 'c.yaml'))
    assert Config.fromfile(tmp_path / 'c.yaml').to_dict() == config.to_dict()


def test_short_side_is_uniform_and_images_stay_rgb(config, small):
    small.train_dataloader.dataset.pipeline[2].transforms[0].scale = [(1333, 400), (1333, 522)]
    small.merge_from_dict({'train_dataloader.batch_size': 1, 'randomness.seed': 3})
    runner = Runner.from_cfg(small)
    loader = runner.build_dataloader(small.train_dataloader, seed=3)
    assert len(loader.dataset) == 6, 'the picture without glands is left out of training'
    batches = [batch for batch, _ in zip(loader, range(60), strict=False)]
    sides = [min(batch['data_samples'][0].img_shape) for batch in batches]
    assert min(sides) >= 400
    assert max(sides) <= 522
    assert len(set(sides)) > 25
    flips = np.mean([batch['data_samples'][0].flip for batch in batches])
    assert 0.3 < flips < 0.7


def test_a_few_steps_reach_every_parameter_and_end_in_figures(small):
    # At the first steps of the warm-up a norm's weight of 1 would move by less than float32 resolves.
    small.param_scheduler = []
    runner = Runner.from_cfg(small)
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    still = [name for name, value in runner.model.named_parameters() if torch.equal(value, before[name])]
    assert still == [], 'frozen'
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in runner.model.modules()), (
        'one process needs plain norms'
    )
    written = next(Path(runner.work_dir).glob('*/vis_data/scalars.json')).read_text()
    rows = [json.loads(line) for line in written.splitlines()]
    measured = [row for row in rows if {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(row)]
    assert [row['step'] for row in measured] == [2]


def test_number_of_workers_changes_no_batch(small):
    small.merge_from_dict({'train_dataloader.batch_size': 2, 'randomness.seed': 3})
    seen = []
    for workers in (0, 2):
        small.merge_from_dict({'train_dataloader.num_workers': workers})
        loader = Runner.build_dataloader(small.train_dataloader, seed=3)
        loader.sampler.seed = 3
        seen.append(
            [torch.stack([x.sum() for x in b['inputs']]).tolist() for b, _ in zip(loader, range(6), strict=False)]
        )
    assert seen[0] == seen[1]


@pytest.fixture
def backbone_file(tmp_path):
    from mmdet.models import ResNet

    model = ResNet(18)
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape).abs() * 0.05) if value.is_floating_point() else value.fill_(77)
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in model.state_dict().items()}}, tmp_path / 'pre.pth')
    return tmp_path / 'pre.pth', model.state_dict()


def test_backbone_from_the_command_line_is_in_the_detector_tensor_by_tensor(small, backbone_file):
    path, expected = backbone_file
    small.merge_from_dict(
        {
            'model.backbone.init_cfg.type': 'histomm.VerifiedPretrained',
            'model.backbone.init_cfg.checkpoint': str(path),
            'train_cfg': {'max_iters': 1, 'val_interval': 5},
        }
    )
    small.default_hooks.pop('precise_bn')
    runner = Runner.from_cfg(small)
    runner.train_loop.max_iters  # noqa: B018, builds the loop
    runner._init_model_weights()
    found = runner.model.backbone.state_dict()
    assert len(expected) == 120
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert runner.model.neck.lateral_convs[0].conv.weight.std() > 0
    runner.train()


def test_backbone_of_another_depth_stops_the_run(small, backbone_file):
    path, _ = backbone_file
    small.merge_from_dict(
        {
            'model.backbone.depth': 34,
            'model.backbone.init_cfg.type': 'histomm.VerifiedPretrained',
            'model.backbone.init_cfg.checkpoint': str(path),
        }
    )
    runner = Runner.from_cfg(small)
    with pytest.raises(TransferError, match=r'holds ResNet-18 .* is ResNet-34'):
        runner.train()
