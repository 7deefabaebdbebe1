"""ViewDataPreprocessor, and mmpretrain's own algorithms on packed views."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from torchvision.transforms import functional as TF

from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import MultiView, PackViews, RandomFlip, RandomResizedCrop, RandomRotate90
from histomm.models.data_preprocessors import ViewDataPreprocessor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def samples(count=4, size=32):
    make = MultiView([dict(pipeline=[RandomResizedCrop(size), RandomFlip(0.5, 0.5), RandomRotate90()], num=2)])
    images = np.random.default_rng(0).integers(0, 256, (count, 50, 60, 3), dtype=np.uint8)
    return [
        PackViews()(make(dict(img=image, ori_shape=(50, 60), sample_idx=SampleIndex(number, 0, 0))))
        for number, image in enumerate(images)
    ]


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
@pytest.mark.parametrize('channels_last', [False, True])
def test_normalises_as_torchvision_and_batches_geometry(collate, channels_last):
    packed = samples()
    result = ViewDataPreprocessor(channels_last=channels_last)(collate(packed), training=True)
    assert len(result['inputs']) == len(result['geometry']) == 2
    for view, images in enumerate(result['inputs']):
        expected = torch.stack([TF.normalize(sample['inputs'][view] / 255, MEAN, STD) for sample in packed])
        torch.testing.assert_close(images.contiguous(), expected, atol=1e-5, rtol=1e-5)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert images.is_contiguous(memory_format=layout)
        geometry = result['geometry'][view]
        for row, sample in enumerate(packed):
            meta = sample['data_samples']
            assert geometry.box[row].tolist() == list(meta.crop_box[view])
            assert geometry.hflip[row].item() is meta.hflip[view]
            assert geometry.vflip[row].item() is meta.vflip[view]
            assert geometry.rot90[row].item() == meta.rot90[view]
    assert [sample.sample_idx for sample in result['data_samples']] == [0, 1, 2, 3]


def test_input_is_left_alone():
    images = torch.rand(2, 3, 8, 8) * 255
    before = images.clone()
    for channels_last in (False, True):
        ViewDataPreprocessor(channels_last=channels_last)(dict(inputs=[images]))
    assert torch.equal(images, before)


def test_single_images():
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    preprocess = ViewDataPreprocessor(mean=(1, 2, 3), std=(2, 4, 8))
    whole, listed = preprocess(dict(inputs=images)), preprocess(dict(inputs=list(images), data_samples=None))
    expected = (images.double() - torch.tensor([1, 2, 3]).view(3, 1, 1)) / torch.tensor([2, 4, 8]).view(3, 1, 1)
    for result in (whole, listed):
        torch.testing.assert_close(result['inputs'].double(), expected)
        assert 'geometry' not in result


def test_statistics_are_not_in_the_checkpoint():
    assert not ViewDataPreprocessor().state_dict()


@pytest.mark.parametrize('bad', [dict(mean=(1, 2)), dict(std=(1, 1, 0)), dict(std=(1,))])
def test_bad_statistics(bad):
    with pytest.raises(ValueError, match='expected three grey levels each'):
        ViewDataPreprocessor(**bad)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r'\(2, 1, 8, 8\)'):
        ViewDataPreprocessor()(dict(inputs=[torch.zeros(2, 1, 8, 8)]))
    batch = default_collate(samples())
    with pytest.raises(ValueError, match='record 2 views, expected 1'):
        ViewDataPreprocessor()(dict(batch, inputs=batch['inputs'][:1]))


SIMCLR = dict(
    type='mmpretrain.SimCLR',
    neck=dict(type='mmpretrain.NonLinearNeck', in_channels=512, hid_channels=16, out_channels=8, num_layers=2),
    head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.1),
)
BYOL = dict(
    type='mmpretrain.BYOL',
    neck=dict(
        type='mmpretrain.NonLinearNeck', in_channels=512, hid_channels=16, out_channels=8, num_layers=2, with_bias=True
    ),
    head=dict(
        type='mmpretrain.LatentPredictHead',
        loss=dict(type='mmpretrain.CosineSimilarityLoss'),
        predictor=dict(
            type='mmpretrain.NonLinearNeck', in_channels=8, hid_channels=16, out_channels=8, with_avg_pool=False
        ),
    ),
)


@pytest.mark.parametrize('algorithm', [SIMCLR, BYOL], ids=['simclr', 'byol'])
def test_mmpretrain_trains_on_packed_views(algorithm):
    from mmpretrain.registry import MODELS

    preprocessor = dict(
        type='mmpretrain.SelfSupDataPreprocessor', mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )
    model = MODELS.build(
        dict(algorithm, backbone=dict(type='mmpretrain.ResNet', depth=18), data_preprocessor=preprocessor)
    )
    batch = default_collate(samples())
    theirs, ours = model.data_preprocessor(batch, True), ViewDataPreprocessor()(batch)
    for view, twin in zip(theirs['inputs'], ours['inputs'], strict=True):
        torch.testing.assert_close(view, twin)
    weight = model.backbone.conv1.weight
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = sum(value for value in model(**theirs, mode='loss').values())
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(weight, before)
