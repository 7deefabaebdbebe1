"""The shipped Mask R-CNN on GlaS and CRAG: settings, schedules, a few steps on drawn glands, the verified hand-over."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from small_runs import detection_options, draw_coco, shipped_configs, small_config

from histomm.datasets.coco import Sample, build_coco, write_coco
from histomm.engine.launch import build_runner
from histomm.models.transfer import TransferError

pytest.importorskip('mmcv.ops', exc_type=ImportError)


@dataclass(frozen=True)
class Published:
    """What the two data sets differ in."""

    folder: str
    short_sides: tuple[int, int]
    test_side: int
    iterations: int
    steps: list[int]


PUBLISHED = {
    'glas': Published('data/glas/', (400, 522), 522, 5000, [4000]),
    'crag': Published('data/CRAG/', (768, 1024), 768, 15000, [10000, 13000]),
}
FIGURES = {
    'coco/bbox_mAP',
    'coco/segm_mAP',
    'gland/object_f1',
    'gland/object_dice',
    'gland/object_hausdorff',
    'instance/aji',
    'instance/pq',
}
both = pytest.mark.parametrize('name', PUBLISHED)


def shipped(repo, name, variant=''):
    return Config.fromfile(repo / 'configs' / name / f'mask-rcnn_r18_fpn_{name}{variant}.py')


@pytest.fixture(scope='module')
def config(repo):
    return shipped(repo, 'glas')


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
            'val_evaluator.0.ann_file': root + 'annotations/test.json',
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


@both
def test_settings_are_those_of_the_literature(name, repo):
    config, published = shipped(repo, name), PUBLISHED[name]
    model = config.model
    assert (model.backbone.depth, model.backbone.frozen_stages, model.backbone.norm_eval) == (18, -1, False)
    assert 'init_cfg' not in model.backbone
    assert model.backbone.norm_cfg == model.neck.norm_cfg == {'type': 'SyncBN', 'requires_grad': True}
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.data_preprocessor.bgr_to_rgb
    rpn, rcnn = model.train_cfg.rpn, model.train_cfg.rcnn
    assert (rpn.sampler.num, rpn.sampler.pos_fraction) == (256, 0.5)
    assert (rpn.assigner.pos_iou_thr, rpn.assigner.neg_iou_thr) == (0.7, 0.3)
    assert (model.train_cfg.rpn_proposal.nms_pre, model.train_cfg.rpn_proposal.max_per_img) == (2000, 1000)
    assert (model.test_cfg.rpn.nms_pre, model.test_cfg.rpn.max_per_img) == (1000, 1000)
    assert model.train_cfg.rpn_proposal.nms.iou_threshold == model.test_cfg.rpn.nms.iou_threshold == 0.7
    assert (rcnn.sampler.num, rcnn.sampler.pos_fraction, rcnn.sampler.add_gt_as_proposals) == (512, 0.25, True)
    assert (rcnn.assigner.pos_iou_thr, rcnn.assigner.neg_iou_thr, rcnn.assigner.match_low_quality) == (0.5, 0.5, False)
    test = model.test_cfg.rcnn
    assert (test.score_thr, test.nms.iou_threshold, test.max_per_img) == (0.05, 0.5, 100)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.02, 0.9, 1e-4)
    assert config.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    warmup, steps = config.param_scheduler
    assert (warmup.type, warmup.start_factor, warmup.begin, warmup.end) == ('LinearLR', 0.001, 0, 1000)
    assert (steps.type, steps.milestones, steps.gamma) == ('MultiStepLR', published.steps, 0.1)
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size) == (published.iterations, 16)
    assert config.default_hooks.precise_bn.num_iters == 200
    train, test = config.train_dataloader.dataset, config.test_dataloader.dataset
    resize, flip = train.pipeline[2].transforms
    assert (resize.type, resize.keep_ratio) == ('RandomResize', True)
    assert resize.scale == [(1333, side) for side in published.short_sides]
    assert flip == {'type': 'RandomFlip', 'prob': 0.5}
    assert (test.pipeline[1].type, test.pipeline[1].keep_ratio) == ('Resize', True)
    assert test.pipeline[1].scale == (1333, published.test_side)
    assert train.filter_cfg == {'filter_empty_gt': True}
    assert 'filter_cfg' not in test
    for part, file in ((train, 'train'), (test, 'test'), (config.val_dataloader.dataset, 'test')):
        assert (part.data_root, part.ann_file) == (published.folder, f'annotations/{file}.json')
    for evaluators in (config.val_evaluator, config.test_evaluator):
        assert [metric.type for metric in evaluators] == [
            'CocoMetric', 'histomm.GlandMetric', 'histomm.InstanceOverlapMetric'
        ]  # fmt: skip
        assert evaluators[0].ann_file == f'{published.folder}annotations/test.json'


def test_built_network_is_that_of_the_literature(config):
    from mmdet.models.losses import L1Loss
    from mmdet.registry import MODELS

    model = MODELS.build(config.model)
    anchors = model.rpn_head.prior_generator
    assert [(base[:, 2:] - base[:, :2]).prod(1).sqrt().mean().round() for base in anchors.base_anchors] == [
        32, 64, 128, 256, 512
    ]  # fmt: skip
    sides = anchors.base_anchors[0][:, 2:] - anchors.base_anchors[0][:, :2]
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0]))
    assert anchors.strides == [(stride, stride) for stride in (4, 8, 16, 32, 64)]
    assert isinstance(model.rpn_head.loss_bbox, L1Loss)
    roi = model.roi_head
    for extractor, side in ((roi.bbox_roi_extractor, 7), (roi.mask_roi_extractor, 14)):
        assert [layer.output_size for layer in extractor.roi_layers] == [(side, side)] * 4
        assert all(layer.aligned and layer.sampling_ratio == 0 for layer in extractor.roi_layers)
    assert [(fc.in_features, fc.out_features) for fc in roi.bbox_head.shared_fcs] == [(256 * 49, 1024), (1024, 1024)]
    assert (roi.bbox_head.fc_cls.out_features, roi.bbox_head.fc_reg.out_features) == (2, 4)
    assert isinstance(roi.bbox_head.loss_bbox, L1Loss)
    # Detectron2 multiplies the differences by 10, 10, 5, 5; mmdet divides them by these.
    assert [1 / std for std in roi.bbox_head.bbox_coder.stds] == [10, 10, 5, 5]
    assert [conv.conv.weight.shape[:2] for conv in roi.mask_head.convs] == [(256, 256)] * 4
    assert isinstance(roi.mask_head.upsample, torch.nn.ConvTranspose2d)
    assert roi.mask_head.conv_logits.out_channels == 1
    assert [conv.conv.in_channels for conv in model.neck.lateral_convs] == [64, 128, 256, 512]
    norms = [module for module in model.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    # 20 in ResNet-18, and one after each of the two convolutions of four levels of the FPN.
    assert len(norms) == 28
    assert all(value.requires_grad for value in model.parameters())


@both
@pytest.mark.parametrize('factor', [0.5, 2, 3, 5])
def test_schedule_variants_differ_in_the_schedule_alone(name, factor, repo):
    base, variant = shipped(repo, name), shipped(repo, name, f'_{factor}x')
    steps = variant.param_scheduler[1]
    assert variant.train_cfg.max_iters == steps.end == factor * base.train_cfg.max_iters
    assert steps.milestones == [factor * step for step in base.param_scheduler[1].milestones]
    hooks = variant.default_hooks
    interval = variant.train_cfg.val_interval
    assert interval == hooks.checkpoint.interval == hooks.precise_bn.interval
    assert variant.train_cfg.max_iters % interval == 0
    base.train_cfg.max_iters = variant.train_cfg.max_iters
    base.param_scheduler[1].update(end=steps.end, milestones=steps.milestones)
    base.train_cfg.val_interval = base.default_hooks.checkpoint.interval = interval
    base.default_hooks.precise_bn.interval = interval
    assert variant.to_dict() == base.to_dict()


def test_images_of_crag_are_averaged_when_they_shrink(repo):
    """Stripes of a pixel each become an even grey; without averaging they would become broader stripes."""
    stripes = np.zeros((1512, 1516, 3), np.uint8)
    stripes[:, ::2] = 255
    config = shipped(repo, 'crag')
    for resize in (config.train_dataloader.dataset.pipeline[2], config.test_dataloader.dataset.pipeline[1]):
        with DefaultScope.overwrite_default_scope('mmdet'):
            found = TRANSFORMS.build(resize)({'img': stripes.copy(), 'sample_idx': 0, 'epoch': 0, 'seed': 0})['img']
        assert min(found.shape[:2]) in range(768, 1025)
        assert np.abs(found[:, 5:-5].mean(axis=0) - 127.5).max() < 40


def test_every_variant_is_tested(repo):
    names = [name for name in shipped_configs() if name.startswith(('glas/', 'crag/'))]
    assert len(names) == 2 * (1 + 4)


def test_crag_from_its_layout_to_figures(repo, tmp_path):
    """Drawn, converted, read at its own sizes, and then, smaller, trained for an iteration and evaluated."""
    options = detection_options(draw_coco(tmp_path, 'crag'))
    path = repo / 'configs/crag/mask-rcnn_r18_fpn_crag.py'
    runner = build_runner(small_config(path, tmp_path / 'work', options))
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = {**runner.cfg[loader].dataset, 'pipeline': shipped(repo, 'crag')[loader].dataset.pipeline}
        shapes = [sample['data_samples'].img_shape for sample in DATASETS.build(dataset)]
        assert len(shapes) == (5 if loader == 'train_dataloader' else 1)
        sides = (768, 1024) if loader == 'train_dataloader' else (768, 768)
        assert all(sides[0] <= min(shape) <= sides[1] and max(shape) <= 1333 for shape in shapes)
    runner.train()
    written = next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text()
    rows = [json.loads(line) for line in written.splitlines()]
    assert rows[-1].keys() >= FIGURES


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
    measured = [row for row in rows if set(row) >= FIGURES]
    assert [row['step'] for row in measured] == [2]


def test_number_of_workers_changes_no_batch(small):
    small.merge_from_dict({'train_dataloader.batch_size': 2, 'randomness.seed': 3})
    seen = []
    for workers in (0, 2):
        small.merge_from_dict({'train_dataloader.num_workers': workers})
        with DefaultScope.overwrite_default_scope(small.default_scope):
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
