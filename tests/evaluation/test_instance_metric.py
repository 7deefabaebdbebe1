"""The scores as metrics: what they take from data samples, and that the number of processes does not matter."""

import json

import numpy as np
import pytest
import torch
from distributed import run_two_processes
from drawn_labels import ellipses, masks_of, squares
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, DefaultScope
from small_runs import draw_coco

from histomm.datasets.coco import annotation
from histomm.evaluation import (
    GlandMetric,
    InstanceOverlapMetric,
    gland_scores,
    gland_terms,
    overlap_scores,
    overlap_terms,
)

SHAPE = (61, 87)
MAPS = [(ellipses(seed), ellipses(seed + 50)) for seed in range(4)] + [(ellipses(9), np.zeros(SHAPE, int))]


def stacked(labels):
    return np.array(masks_of(labels), bool).reshape(-1, *labels.shape)


def sample(gt, pred, encode=False, **more):
    """A data sample as an evaluator hands it on, with predictions of falling score."""
    masks = stacked(pred)
    scores = torch.linspace(1, 0.6, len(masks))
    masks = [annotation(mask)['segmentation'] for mask in masks] if encode else torch.from_numpy(masks)
    return {
        'img_id': 1,
        'ori_shape': gt.shape,
        'pred_instances': {'scores': scores, 'masks': masks},
        'gt_instances': {'masks': stacked(gt)},
        'ignored_instances': {},
        **more,
    }


def measured(metric, samples):
    for one in samples:
        metric.process(None, [one])
    return metric.evaluate(len(samples))


def test_names_and_values():
    evaluator = Evaluator([dict(type='histomm.GlandMetric'), dict(type='histomm.InstanceOverlapMetric')])
    evaluator.process([sample(*maps) for maps in MAPS])
    found = evaluator.evaluate(len(MAPS))
    glands = gland_scores([gland_terms(*maps) for maps in MAPS], 'pooled')
    overlaps = overlap_scores([overlap_terms(*maps) for maps in MAPS], 'images')
    expected = {f'gland/{name}': value for name, value in glands._asdict().items()}
    expected |= {f'instance/{name}': value for name, value in overlaps._asdict().items()}
    assert found == pytest.approx(expected)
    assert set(found) == {
        'gland/object_f1', 'gland/precision', 'gland/recall', 'gland/object_dice', 'gland/object_hausdorff',
        'instance/aji', 'instance/pq', 'instance/dq', 'instance/sq',
    }  # fmt: skip
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize('kind', [GlandMetric, InstanceOverlapMetric])
@pytest.mark.parametrize('average', ['images', 'pooled'])
def test_run_lengths_equal_arrays(kind, average):
    found = [measured(kind(average=average), [sample(*maps, encode=e) for maps in MAPS]) for e in (False, True)]
    assert found[0] == found[1]
    terms = [type(kind.nothing)(*kind.terms(*maps)) for maps in MAPS]
    assert list(found[0].values()) == pytest.approx(list(kind.scores(terms, average)))


def test_threshold_and_scores_of_masks():
    gt = squares((0, 0, 10, 10))
    pred = squares((0, 0, 10, 10), (20, 20, 9, 9))
    one = sample(gt, pred)
    one['pred_instances']['scores'] = torch.tensor([0.5, 0.49])
    assert measured(GlandMetric(), [one])['gland/object_f1'] == 1
    assert measured(GlandMetric(score_thr=0.4), [one])['gland/object_f1'] == pytest.approx(2 / 3)
    assert measured(GlandMetric(score_thr=0.51), [one])['gland/object_f1'] == 0
    one['pred_instances']['mask_scores'] = torch.tensor([0.9, 0.9])
    assert measured(GlandMetric(), [one])['gland/object_f1'] == pytest.approx(2 / 3)


@pytest.fixture
def told(monkeypatch):
    """What the metric logs."""
    lines = []
    monkeypatch.setattr('histomm.evaluation.instance_metric.print_log', lambda text, **_: lines.append(text))
    return lines


def test_empty_images(told):
    nothing = np.zeros(SHAPE, int)
    samples = [sample(*MAPS[0]), sample(nothing, nothing)]
    only = measured(InstanceOverlapMetric(), samples[:1])['instance/aji']
    assert 0 < only < 1
    assert told == []
    assert measured(InstanceOverlapMetric(), samples)['instance/aji'] == only
    assert ['1 of 2 images have no objects' in line for line in told] == [True]
    assert measured(InstanceOverlapMetric(empty='perfect'), samples)['instance/aji'] == pytest.approx((only + 1) / 2)


def test_regions_that_are_not_judged():
    gt, pred = squares((0, 0, 10, 10)), squares((0, 0, 10, 10), (20, 20, 9, 9))
    crowd = (squares((18, 18, 15, 15)) > 0)[None]
    one = sample(gt, pred, ignored_instances={'masks': crowd})
    assert measured(GlandMetric(), [one])['gland/object_f1'] == 1
    assert measured(GlandMetric(), [sample(gt, pred)])['gland/object_f1'] == pytest.approx(2 / 3)


@pytest.fixture
def ann_file(tmp_path):
    """The ground truth of all maps, with their numbers as ids, and a lumen that is no gland."""
    annotations = [
        {'id': 100 * i + k, 'image_id': i, 'category_id': 3, **annotation(mask)}
        for i, (gt, _) in enumerate(MAPS)
        for k, mask in enumerate(masks_of(gt))
    ]
    lumen = np.zeros(SHAPE, bool)
    lumen[40:50, 40:50] = True
    annotations.append({'id': 9999, 'image_id': 0, 'category_id': 5, **annotation(lumen)})
    images = [{'id': i, 'height': SHAPE[0], 'width': SHAPE[1]} for i in range(len(MAPS))]
    categories = [{'id': 3, 'name': 'gland'}, {'id': 5, 'name': 'lumen'}]
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path)


def test_annotation_file_equals_masks_of_the_samples(ann_file):
    samples = [sample(*maps, img_id=i) for i, maps in enumerate(MAPS)]
    bare = [{**one, 'gt_instances': {}} for one in samples]
    metric = METRICS.build(dict(type='histomm.GlandMetric', ann_file=ann_file))
    metric.dataset_meta = {'classes': ('gland',)}
    assert measured(metric, bare) == measured(GlandMetric(), samples)
    metric.dataset_meta = {}
    assert measured(metric, bare) != measured(GlandMetric(), samples), 'the lumen counts where no classes are named'


def test_hidden_annotations_are_told(told):
    one = sample(*MAPS[0], img_path='a/b.png')
    one['gt_instances']['masks'] = np.repeat(stacked(MAPS[0][0])[:1], 2, axis=0)
    GlandMetric().process(None, [one])
    assert told == ['a/b.png: 1 of 2 annotated objects lie wholly under smaller ones, and do not count']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pred_instances': {'scores': torch.ones(1)}}, 'a.png: the prediction has no masks'),
        ({'gt_instances': {}}, 'a.png: the data sample has no masks of the ground truth; give ann_file'),
        ({'gt_instances': {'masks': np.zeros((1, 30, 40), bool)}}, r'are \(30, 40\), expected .* \(61, 87\); put Load'),
        ({'ori_shape': (87, 61)}, r'a mask is \(61, 87\), expected the original size of its image, \(87, 61\)'),
    ],
)
def test_samples_that_cannot_be_scored(change, message):
    with pytest.raises(ValueError, match=message):
        GlandMetric().process(None, [{**sample(*MAPS[0], img_path='a.png'), **change}])


def test_options_are_checked_early():
    with pytest.raises(ValueError, match="average is 'mean'"):
        GlandMetric(average='mean')
    with pytest.raises(ValueError, match="empty is 'zero'"):
        InstanceOverlapMetric(empty='zero')


# ---- processes


def _rank(rank, folder):
    found = {}
    for kind in (GlandMetric, InstanceOverlapMetric):
        for average in ('images', 'pooled'):
            metric = kind(average=average, collect_dir=f'{folder}/{kind.__name__}_{average}')
            for index in DefaultSampler(MAPS, shuffle=False):
                metric.process(None, [sample(*MAPS[index])])
            found[f'{kind.__name__} {average}'] = (len(metric.results), metric.evaluate(len(MAPS)))
    torch.save(found, f'{folder}/rank{rank}.pt')


def test_two_processes_equal_one(tmp_path):
    """Five images on two processes: the sixth sample, that the sampler adds, does not count."""
    run_two_processes(_rank, str(tmp_path))
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)]
    for kind in (GlandMetric, InstanceOverlapMetric):
        for average in ('images', 'pooled'):
            expected = measured(kind(average=average), [sample(*maps) for maps in MAPS])
            for found in ranks:
                assert found[f'{kind.__name__} {average}'] == (3, expected)


# ---- mmdet


@pytest.fixture(scope='module')
def glas(tmp_path_factory):
    return draw_coco(tmp_path_factory.mktemp('drawn'))


def packed(repo, glas, order):
    """Data samples of the shipped test pipeline, with its steps in another order."""
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    data = Config.fromfile(repo / 'configs/_base_/datasets/glas_instance.py').test_dataloader.dataset
    data.data_root, data.pipeline = f'{glas}/', [data.pipeline[i] for i in order]
    with DefaultScope.overwrite_default_scope('mmdet'):
        return [results['data_samples'].to_dict() for results in DATASETS.build(data)]


def test_shipped_test_pipeline_gives_the_ground_truth_at_original_size(repo, glas):
    samples = packed(repo, glas, [0, 1, 2, 3])
    assert samples[0]['img_shape'] != samples[0]['ori_shape']
    for one in samples:
        masks = torch.from_numpy(one['gt_instances']['masks'].to_ndarray()).bool()
        one['pred_instances'] = {'masks': masks, 'scores': torch.ones(len(masks))}
    for ann_file in (None, f'{glas}/annotations/test.json'):
        found = measured(GlandMetric(ann_file=ann_file), samples)
        assert list(found.values()) == [1, 1, 1, 1, 0]


def test_resized_ground_truth_is_refused(repo, glas):
    one = packed(repo, glas, [0, 2, 1, 3])[0]
    one['pred_instances'] = {'masks': torch.zeros(0, *one['ori_shape']), 'scores': torch.zeros(0)}
    with pytest.raises(ValueError, match=r'testA_1.bmp: .* put LoadAnnotations after Resize in the test pipeline'):
        GlandMetric().process(None, [one])
