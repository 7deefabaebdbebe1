"""Fine-tuning on the folds of BreakHis: settings, what chooses the epoch, and how pictures come to the network."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from small_runs import REPO

from histomm.datasets import MagnificationSetDataset, SampleIndex
from histomm.datasets.breakhis import CLASSES, find_breakhis
from histomm.evaluation.patient_folds import read_folds
from histomm.registry import METRICS, MODELS, TRANSFORMS

NETWORKS = {'resnet50': ('mpcs_r50', 23_508_032), 'efficientnet-b2': ('mpcs_efficientnet-b2', 9_109_994 - 1_409_000)}

each_network = pytest.mark.parametrize('network', NETWORKS)


def load(network, variant=''):
    return Config.fromfile(str(REPO / f'configs/breakhis/{network}_finetune_breakhis_folds{variant}.py'))


@each_network
def test_settings_are_those_of_the_paper(network):
    cfg = load(network)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('Adam', 2e-5, 0)
    assert (cfg.train_dataloader.batch_size, cfg.param_scheduler, cfg.train_cfg.max_epochs) == (32, [], 100)
    assert (cfg.model.head.type, cfg.model.head.dropout) == ('histomm.DropoutLinearHead', 0.3)
    steps = [step.type.rpartition('.')[2] for step in cfg.train_dataloader.dataset.pipeline]
    assert steps == [
        'LoadPatch', 'ResizeWhole', 'RandomCrop', 'RandomMirror', 'RandomAffine', 'RandomAffine', 'ColorJitter',
        'PackInputs',
    ]  # fmt: skip
    assert cfg.train_dataloader.dataset.pipeline[2]['size'] == 224
    assert cfg.test_dataloader.dataset.pipeline[2].crop_size == 224


@each_network
def test_network_and_its_start_are_those_of_the_pretraining(network):
    cfg = load(network)
    before, parameters = NETWORKS[network]
    before = Config.fromfile(str(REPO / f'configs/mpcs/{before}_breakhis_ordered.py')).model
    assert cfg.model.backbone.init_cfg == before.backbone.init_cfg
    assert cfg.model.backbone.init_cfg[-1].type == 'histomm.PretrainedIfPresent'
    settings = dict(mean=cfg.model.data_preprocessor.mean, std=cfg.model.data_preprocessor.std)
    assert settings == {name: list(before.data_preprocessor[name]) for name in settings}
    cfg.model.backbone.init_cfg = None
    init_default_scope('histomm')
    model = MODELS.build(cfg.model).eval()
    assert sum(value.numel() for value in model.backbone.parameters()) == parameters
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@each_network
def test_nothing_is_chosen_on_the_test_part(network):
    """The authors' code chooses the epoch on the part that it reports."""
    lists = {}
    for variant in ('', '_limited'):
        cfg = load(network, variant)
        assert cfg.val_evaluator.type == cfg.test_evaluator.type == 'histomm.PatientAccuracyMetric'
        assert (cfg.default_hooks.checkpoint.save_best, cfg.default_hooks.checkpoint.rule) == (
            'patients/pla',
            'greater',
        )
        lists[variant] = [cfg[f'{part}_dataloader'].dataset.list_file for part in ('train', 'val', 'test')]
    fold = 'folds_patient/fold0'
    assert lists[''] == [f'{fold}/train_60.csv', f'{fold}/val_20.csv', f'{fold}/test_20.csv']
    assert lists['_limited'] == [f'{fold}/val_20.csv', f'{fold}/train_60.csv', f'{fold}/test_20.csv']


def test_the_class_of_a_probability_above_one_half_is_predicted():
    """The authors' code takes a probability of malignancy of 0.3 for malignant, as its threshold is 0.2."""
    metric = METRICS.build(load('resnet50').test_evaluator)
    name = 'a/SOB_B_A-14-1-40-001.png'
    for score in (0.3, 0.49, 0.51):
        scores = torch.tensor([1 - score, score])
        metric.process(None, [dict(img_path=name, gt_label=torch.tensor([0]), pred_score=scores)])
    assert metric.evaluate(3)['patients/ila'] == pytest.approx(2 / 3)


@each_network
def test_limited_labels_are_another_list_alone(network):
    cfg, limited = load(network), load(network, '_limited')
    for part in ('train', 'val'):
        limited[f'{part}_dataloader'].dataset.list_file = cfg[f'{part}_dataloader'].dataset.list_file
    assert limited._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """A set whose pictures are red, and of other sizes than those of BreakHis."""
    root = tmp_path_factory.mktemp('red')
    sizes = {40: (700, 460), 100: (350, 230), 200: (64, 640), 400: (300, 301)}
    for magnification, (width, height) in sizes.items():
        red = np.full((height, width, 3), (10, 20, 200), np.uint8)  # blue first
        path = root / f'SOB_B_A_14-1/{magnification}X/SOB_B_A-14-1-{magnification}-001.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), red)
    return root


def compose(steps):
    init_default_scope('histomm')
    return Compose([TRANSFORMS.build(step) for step in steps])


@each_network
def test_pictures_of_any_size_come_red_first_to_the_fine_tuning(network, pictures):
    """The authors' code writes pictures that it holds red first with a writer that takes blue first."""
    cfg = load(network)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    for part in ('train', 'test'):
        steps = [step for step in cfg[f'{part}_dataloader'].dataset.pipeline if 'Jitter' not in step.type]
        run = compose(steps)
        paths = sorted(pictures.rglob('*.png'))
        samples = [
            run(dict(img_path=str(path), gt_label=0, sample_idx=SampleIndex(number, 0, 0)))
            for number, path in enumerate(paths)
        ]
        found = preprocess(default_collate(samples), training=part == 'train')['inputs']
        assert found.shape == (4, 3, 224, 224)
        assert found.amin(dim=(0, 2, 3)).tolist() == pytest.approx([200 / 255, 20 / 255, 10 / 255], abs=0.01)


@each_network
def test_views_of_any_size_come_red_first_to_the_pretraining(network, pictures):
    cfg = Config.fromfile(str(REPO / f'configs/mpcs/{NETWORKS[network][0]}_breakhis_random.py'))
    sampler, views, pack = cfg.train_dataloader.dataset.pipeline
    views.pipeline = [step for step in views.pipeline if 'Jitter' not in step.type]
    init_default_scope('histomm')
    dataset = MagnificationSetDataset(str(pictures), pipeline=[sampler, views, pack])
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    samples = [dataset[SampleIndex(0, seed, 0)] for seed in range(6)]
    assert len({sample['data_samples'].pair for sample in samples}) > 1
    side = views.pipeline[-1]['size']
    for view in preprocess(default_collate(samples), training=True)['inputs']:
        assert view.shape == (6, 3, side, side)
        assert view.amin(dim=(0, 2, 3)).tolist() == pytest.approx([200 / 255, 20 / 255, 10 / 255], abs=0.01)


def test_real_pictures_are_of_folders_of_the_tables_and_come_through(real_data):
    root = real_data / 'breakhis/BreaKHis_v1'
    images = find_breakhis(root)
    for group_by in ('patient', 'case'):
        rows = read_folds(REPO / f'configs/breakhis/folds_{group_by}.csv', group_by)
        assert {name.folder for name in images.values()} <= {row.folder for row in rows}
    run = compose(load('resnet50').test_dataloader.dataset.pipeline)
    samples = [run(dict(img_path=str(root / path), gt_label=CLASSES.index(images[path].label))) for path in images]
    inputs = torch.stack([sample['inputs'] for sample in samples])
    assert inputs.shape == (len(images), 3, 224, 224)
    red, green, blue = inputs.float().mean(dim=(0, 2, 3)).tolist()
    assert min(red, blue) > green, 'haematoxylin and eosin let the least of green through'
