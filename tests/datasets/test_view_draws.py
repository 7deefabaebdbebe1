"""What is drawn without an image is what the transforms do to it."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate

from histomm.datasets import pad_collate
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import (
    DrawViews,
    MultiView,
    PackDraws,
    PackViews,
    RandomTransform,
    UnsupportedViewError,
)
from histomm.registry import FUNCTIONS, TRANSFORMS

CROP = dict(type='histomm.RandomResizedCrop', size=24)
TURN = dict(type='histomm.RandomRotate90', prob=0.75)
FLIP = dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5)
VIEW = [
    dict(CROP, scale=(0.2, 1.0)),
    dict(type='histomm.ColorJitter', saturation=0, prob=0.6),
    FLIP,
    dict(type='histomm.GaussianBlur', prob=0.5),
    dict(type='histomm.RandomGrayscale', prob=0.4),
    dict(type='histomm.RandomSolarize', prob=0.4),
    TURN,
    TURN,
]
FIXED = [dict(type='histomm.RandomCrop', size=24), FLIP, dict(type='histomm.ColorJitter', prob=1.0)]


def samples(count=12, with_box=False):
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = rng.integers(30, 60, 2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        box = dict(crop_box=(10.0, 20.0, 10.0 + 2 * width, 20.0 + 3 * height)) if with_box else {}
        path = f'{number}.png'
        yield dict(img=image, img_path=path, ori_shape=image.shape[:2], sample_idx=SampleIndex(number, 7, 2), **box)


@pytest.mark.parametrize('with_box', [False, True])
def test_record_is_that_of_multi_view(with_box):
    views = [dict(pipeline=VIEW, num=2), dict(pipeline=FIXED)]
    make, draw = MultiView(views), DrawViews(views)
    for sample, twin in zip(samples(with_box=with_box), samples(with_box=with_box), strict=True):
        packed, drawn = PackViews()(make(sample)), PackDraws()(draw(twin))
        np.testing.assert_array_equal(drawn['inputs'].permute(1, 2, 0), twin['img'])
        assert drawn['data_samples'].metainfo == packed['data_samples'].metainfo
        if not with_box:
            for row, (x1, y1, x2, y2) in zip(drawn['draws'], drawn['data_samples'].crop_box, strict=True):
                assert row[:4].tolist() == [y1, x1, y2 - y1, x2 - x1]


def test_numbers_are_what_the_transforms_draw(monkeypatch):
    """Each transform of the pipeline hands over what it draws; the rows hold the same, in their order."""
    drawn = []
    for name in ('ColorJitter', 'GaussianBlur', 'RandomGrayscale', 'RandomSolarize'):
        kind = TRANSFORMS.get(f'histomm.{name}')
        monkeypatch.setattr(kind, 'draw', lambda self, rng, own=kind.draw: drawn.append(own(self, rng)) or drawn[-1])
    views = [dict(pipeline=VIEW)]
    make, draw, rows = MultiView(views), DrawViews(views), []
    for sample in samples(40):
        drawn.clear()
        make(dict(sample))
        jitter, blur, grey, solarized = drawn
        steps = [step for step, _ in jitter] or [-1] * 3
        expected = [*steps, *([factor for _, factor in jitter] or [0] * 3), blur, grey, solarized]
        row = draw(sample)['views'][0]['draws']
        assert row[7:].tolist() == expected
        rows.append(row)
    jittered = np.array(rows)[:, 7:10]
    assert {tuple(sorted(row)) for row in jittered} == {(0, 1, 3), (-1, -1, -1)}


def test_draws_depend_on_seed_epoch_sample_and_view_alone():
    draw = DrawViews([dict(pipeline=VIEW, num=2)])
    image = np.zeros((40, 40, 3), np.uint8)
    seen = set()
    for key in np.ndindex(2, 2, 2):
        index = SampleIndex(key[0], key[1], key[2])
        rows = [view['draws'].tobytes() for view in draw(dict(img=image, sample_idx=index))['views']]
        np.random.rand(3)
        assert rows == [view['draws'].tobytes() for view in draw(dict(img=image, sample_idx=index))['views']]
        seen.update(rows)
    assert len(seen) == 16


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([], 'expected RandomResizedCrop or RandomCrop as its first'),
        ([FLIP, CROP], 'expected RandomResizedCrop or RandomCrop as its first'),
        ([CROP, CROP], 'the transform RandomResizedCrop, expected after the crop only'),
        ([CROP, dict(type='histomm.HEDJitter')], 'the transform HEDJitter, expected after the crop only RandomFlip'),
        ([CROP, TURN, FLIP], 'RandomFlip after RandomRotate90'),
        ([dict(CROP, size=(20, 30)), TURN], '30×20 pixels is turned'),
    ],
)
def test_other_transforms_are_refused(pipeline, message):
    with pytest.raises(UnsupportedViewError, match=message):
        DrawViews([dict(pipeline=pipeline)])


def test_images_turned_before_are_refused_as_by_multi_view():
    for kind in (MultiView, DrawViews):
        with pytest.raises(ValueError, match=r'RandomResizedCrop: .*already flipped or turned'):
            kind([dict(pipeline=VIEW)])(next(samples(1)) | dict(hflip=True))


def test_a_transform_that_only_looks_like_a_known_one_is_refused():
    class RandomGrayscale(RandomTransform):
        def transform(self, results):
            return results

    with pytest.raises(UnsupportedViewError, match='the transform RandomGrayscale'):
        DrawViews([dict(pipeline=[TRANSFORMS.build(CROP), RandomGrayscale()])])


def test_bad_lists_are_refused_as_by_multi_view():
    with pytest.raises(ValueError, match='views is empty'):
        DrawViews([])


@pytest.mark.parametrize(
    'name', ['nct_two_views', 'nct_vicreg_views', 'patches_simclr_views', 'patches_dino_views', 'patches_one_view']
)
def test_shipped_views_can_be_drawn(repo, name):
    views = Config.fromfile(repo / f'configs/_base_/datasets/{name}.py').train_dataloader.dataset.pipeline[1]['views']
    image = np.zeros((300, 300, 3), np.uint8)
    sample = DrawViews(views)(dict(img=image, sample_idx=SampleIndex(1, 0, 0)))
    assert len(sample['views']) == sum(view.get('num', 1) for view in views)


def test_images_are_padded_to_the_largest():
    draw, pack = DrawViews([dict(pipeline=VIEW, num=2)]), PackDraws(meta_keys=['img_path'])
    packed = [pack(draw(sample)) for sample in samples(4)]
    batch = FUNCTIONS.get('histomm.pad_collate')(packed)
    heights, widths = zip(*(sample['inputs'].shape[1:] for sample in packed), strict=True)
    assert batch['inputs'].shape == (4, 3, max(heights), max(widths))
    for image, sample in zip(batch['inputs'], packed, strict=True):
        height, width = sample['inputs'].shape[1:]
        assert torch.equal(image[:, :height, :width], sample['inputs'])
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()
    rows = [torch.stack(list(column)) for column in pseudo_collate(packed)['draws']]
    assert all(torch.equal(a, b) for a, b in zip(batch['draws'], rows, strict=True))
    assert [sample.img_path for sample in batch['data_samples']] == [f'{number}.png' for number in range(4)]


def test_images_of_one_size_are_collated_as_ever():
    draw, pack = DrawViews([dict(pipeline=VIEW)]), PackDraws()
    sample = next(samples(1))
    packed = [pack(draw(dict(sample))) for _ in range(2)]
    padded, plain = pad_collate(packed), default_collate(packed)
    assert torch.equal(padded['inputs'], plain['inputs'])


def test_missing_meta_keys_name_the_transform():
    sample = DrawViews([dict(pipeline=VIEW)])(next(samples(1)))
    with pytest.raises(KeyError, match=r"PackDraws: meta_keys \['patient'\]"):
        PackDraws(meta_keys=['patient'])(sample)
