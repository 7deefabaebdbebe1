"""The reference view holds the other views, and says where it came from."""

import numpy as np
import pytest
from PIL import Image

from histomm.datasets import SampleIndex
from histomm.datasets.transforms import BoundingCrop, MultiView, PackViews, RandomFlip, RandomResizedCrop

VIEW = [
    dict(type='histomm.RandomResizedCrop', size=24, scale=(0.1, 0.6)),
    dict(type='histomm.ColorJitter'),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90'),
]
REFERENCE = dict(pipeline=[dict(type='histomm.BoundingCrop', size=(20, 28))])


def make(image, index=0, views=({'pipeline': VIEW, 'num': 2}, REFERENCE)):
    return MultiView(views)(dict(img=image, ori_shape=image.shape[:2], sample_idx=SampleIndex(index, 0, 0)))['views']


def test_is_the_bounding_rectangle_resized_by_pillow(tissue):
    for index in range(20):
        first, second, reference = make(tissue, index)
        boxes = np.array([first['crop_box'], second['crop_box']])
        x1, y1, x2, y2 = expected = (*boxes[:, :2].min(0).astype(int), *boxes[:, 2:].max(0).astype(int))
        assert reference['crop_box'] == tuple(map(float, expected))
        assert not any(reference.get(key) for key in ('hflip', 'vflip', 'rot90'))
        cut = Image.fromarray(tissue[y1:y2, x1:x2]).resize((28, 20), Image.Resampling.BICUBIC)
        assert np.abs(reference['img'].astype(int) - np.asarray(cut)).max() <= 1
        assert reference['img_shape'] == (20, 28)


def test_of_one_whole_view_is_the_image(tissue):
    _, reference = make(tissue, views=[dict(pipeline=[]), dict(pipeline=[BoundingCrop(224)])])
    np.testing.assert_array_equal(reference['img'], tissue)
    assert reference['crop_box'] == (0, 0, 224, 224)


def test_other_views_are_those_without_it(tissue):
    plain = make(tissue, views=[dict(pipeline=VIEW, num=2)])
    for view, other in zip(plain, make(tissue), strict=False):
        np.testing.assert_array_equal(view['img'], other['img'])
        assert set(view) == set(other)
        assert 'earlier_views' not in view


def test_packs_with_its_geometry(tissue):
    results = MultiView([dict(pipeline=VIEW, num=2), REFERENCE])(
        dict(img=tissue, img_path='a.png', ori_shape=(224, 224), sample_idx=SampleIndex(3, 0, 0))
    )
    packed = PackViews()(results)
    assert [tuple(view.shape) for view in packed['inputs']] == [(3, 24, 24), (3, 24, 24), (3, 20, 28)]
    sample = packed['data_samples']
    assert sample.crop_box[2] == results['views'][2]['crop_box']
    assert (sample.hflip[2], sample.vflip[2], sample.rot90[2]) == (False, False, 0)


def test_after_another_crop_it_is_told_in_source_pixels(coordinates):
    """Pixels hold their own place in the source, so the view itself says which rectangle it shows."""
    for index in range(20):
        results = dict(img=coordinates, sample_idx=SampleIndex(index, 0, 0))
        results = RandomFlip(0.0)(RandomResizedCrop((120, 90), scale=(0.3, 0.9))(results))
        results.pop('rng')
        views = MultiView([dict(pipeline=[RandomResizedCrop(30)], num=2), dict(pipeline=[BoundingCrop(48)])])(results)
        first, second, reference = views['views']
        boxes = np.array([first['crop_box'], second['crop_box']])
        union = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        np.testing.assert_allclose(reference['crop_box'], union, atol=1e-4)
        centre = np.array([union[0] + union[2], union[1] + union[3]]) / 2
        shown = reference['img'][23:25, 23:25, :2].mean((0, 1))
        np.testing.assert_allclose(shown, centre, atol=2.5)


@pytest.fixture(scope='module')
def coordinates():
    """(200, 240, 3) image whose red is x and whose green is y."""
    y, x = np.mgrid[:200, :240]
    return np.stack([x, y, 0 * x], 2).astype(np.uint8)


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(size=0), 'size is 0'), (dict(size=(4, 0)), 'size is'), (dict(size=4, interpolation='box'), "is 'box'")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=f'BoundingCrop: .*{message}'):
        BoundingCrop(**options)


def test_needs_views_before_it_and_an_unturned_image(tissue):
    with pytest.raises(ValueError, match='there is no view before this one'):
        make(tissue, views=[REFERENCE])
    with pytest.raises(ValueError, match='already flipped or turned'):
        make(tissue, views=[dict(pipeline=VIEW), dict(pipeline=[RandomFlip(1.0), BoundingCrop(8)])])
