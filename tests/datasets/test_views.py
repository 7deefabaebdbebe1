"""MultiView, PackViews and the independence of views from everything but seed, epoch, sample and view."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate, pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from histomm.datasets import PatchDataset, SampleIndex, SeededSampler
from histomm.datasets.transforms import MultiView, PackViews, RandomFlip, RandomResizedCrop, RandomRotate90

VIEW = [
    dict(type='histomm.RandomResizedCrop', size=32),
    dict(type='histomm.ColorJitter'),
    dict(type='histomm.RandomGrayscale'),
    dict(type='histomm.GaussianBlur'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90'),
]
PIPELINE = [
    dict(type='histomm.LoadPatch'),
    dict(type='histomm.MultiView', views=[dict(pipeline=VIEW, num=2)]),
    dict(type='histomm.PackViews'),
]
META = ('img_path', 'sample_idx', 'ori_shape', 'crop_box', 'hflip', 'vflip', 'rot90')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('patches')
    for number in range(13):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{number:02d}.png')
    return str(root)


def epoch(folder, workers=0, persistent=False, epochs=(0,), seed=0, start=0):
    """Everything that the loader gives in the last of some epochs."""
    dataset = PatchDataset(folder, pipeline=PIPELINE)
    sampler = SeededSampler(dataset, seed=seed, infinite=start > 0)
    sampler.skip(start)
    loader = DataLoader(
        dataset, 4, sampler=sampler, num_workers=workers, persistent_workers=persistent, collate_fn=default_collate
    )
    for number in epochs:
        sampler.set_epoch(number)
        batches = [batch for batch, _ in zip(loader, range(4), strict=False)]
    return batches


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for view, twin in zip(one['inputs'], other['inputs'], strict=True):
            assert torch.equal(view, twin)
        for sample, twin in zip(one['data_samples'], other['data_samples'], strict=True):
            assert [sample.get(key) for key in META] == [twin.get(key) for key in META]


@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('persistent', [False, True])
def test_workers_change_nothing(folder, workers, persistent):
    reference = epoch(folder, epochs=(3,))
    assert_same(reference, epoch(folder, workers, persistent, epochs=(1, 2, 3)))


def test_threads_change_nothing(folder):
    reference, threads = epoch(folder), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert_same(reference, epoch(folder))
    finally:
        cv2.setNumThreads(threads)


def test_infinite_sampler_resumes_within_an_epoch(folder):
    dataset = PatchDataset(folder, pipeline=PIPELINE)
    sampler = SeededSampler(dataset, seed=0, infinite=True)
    loader = DataLoader(dataset, 4, sampler=sampler, collate_fn=default_collate)
    whole = [batch for batch, _ in zip(loader, range(9), strict=False)]
    assert_same(whole[5:], epoch(folder, workers=1, start=20))


def test_draws_depend_on_seed_epoch_sample_and_view():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    make = MultiView([dict(pipeline=VIEW, num=2)])
    boxes = set()
    for seed in range(3):
        for number in range(3):
            for index in range(3):
                results = make(dict(img=image, sample_idx=SampleIndex(index, seed, number)))
                boxes.update(tuple(view['img'].ravel()[:60]) for view in results['views'])
    assert len(boxes) == 2 * 27


def test_view_does_not_depend_on_the_other_views(tissue):
    one = [dict(type='histomm.GaussianBlur', prob=1.0)]
    plain = dict(img=tissue, sample_idx=SampleIndex(1, 2, 3))
    second = MultiView([dict(pipeline=VIEW), dict(pipeline=VIEW)])(dict(plain))['views'][1]
    other = MultiView([dict(pipeline=one), dict(pipeline=VIEW)])(dict(plain))['views'][1]
    np.testing.assert_array_equal(second['img'], other['img'])


def test_samples_without_an_epoch_follow_numpy(tissue):
    make = MultiView([dict(pipeline=[RandomResizedCrop(32)], num=2)])

    def boxes():
        np.random.seed(4)
        return [[view['crop_box'] for view in make(dict(img=tissue, sample_idx=0))['views']] for _ in range(2)]

    first = boxes()
    assert len({box for pair in first for box in pair}) == 4
    assert boxes() == first


class PaintBlack(BaseTransform):
    def transform(self, results):
        results['img'][:] = 0
        return results


class GiveUp(BaseTransform):
    def transform(self, results):
        return None


def test_source_is_shared_and_protected(tissue):
    before = tissue.copy()
    results = MultiView([dict(pipeline=[], num=2)])(dict(img=tissue))
    assert all(np.shares_memory(view['img'], tissue) for view in results['views'])
    with pytest.raises(ValueError, match='read-only'):
        MultiView([dict(pipeline=[PaintBlack()])])(dict(img=tissue))
    np.testing.assert_array_equal(tissue, before)
    assert tissue.flags.writeable
    assert MultiView([dict(pipeline=[GiveUp()])])(dict(img=tissue)) is None


@pytest.mark.parametrize('views', [[], [dict(num=2)], [dict(pipeline=[], num=0)], [dict(pipeline=[], number=2)]])
def test_bad_views(views):
    with pytest.raises(ValueError, match='MultiView'):
        MultiView(views)


def test_packing(tissue):
    steps = [RandomResizedCrop(32), RandomFlip(0.5, 0.5), RandomRotate90()]
    sample = dict(img=tissue, img_path='a.png', ori_shape=(224, 224), sample_idx=SampleIndex(3, 0, 0), gt_label=5)
    results = MultiView([dict(pipeline=steps, num=2), dict(pipeline=[])])(sample)
    packed = PackViews(meta_keys=['view_kind'])(dict(results, view_kind='x'))
    assert [tuple(view.shape) for view in packed['inputs']] == [(3, 32, 32)] * 2 + [(3, 224, 224)]
    for tensor, view in zip(packed['inputs'], results['views'], strict=True):
        assert tensor.dtype == torch.uint8
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.permute(1, 2, 0), view['img'])
    meta = packed['data_samples']
    assert (meta.img_path, meta.ori_shape, meta.sample_idx, meta.view_kind) == ('a.png', (224, 224), 3, 'x')
    assert meta.crop_box[:2] == tuple(view['crop_box'] for view in results['views'][:2])
    assert (meta.crop_box[2], meta.hflip[2], meta.vflip[2], meta.rot90[2]) == ((0, 0, 224, 224), False, False, 0)
    assert meta.rot90[:2] == tuple(view['rot90'] for view in results['views'][:2])
    assert 'gt_label' not in meta
    with pytest.raises(KeyError, match='patient'):
        PackViews(meta_keys=['patient'])(results)


def test_single_image_packs_as_one_view(tissue):
    packed = PackViews()(dict(img=tissue))
    assert len(packed['inputs']) == 1
    assert packed['data_samples'].crop_box == ((0, 0, 224, 224),)


def test_collated_shapes(folder):
    dataset = PatchDataset(folder, pipeline=PIPELINE)
    samples = [dataset[i] for i in range(3)]
    batch = default_collate(samples)
    assert [tuple(view.shape) for view in batch['inputs']] == [(3, 3, 32, 32)] * 2
    assert [sample.sample_idx for sample in batch['data_samples']] == [0, 1, 2]
    listed = pseudo_collate(samples)
    assert torch.equal(torch.stack(list(listed['inputs'][1])), batch['inputs'][1])
