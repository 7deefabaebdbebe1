"""Crops, flips and turns: pixels beside torchvision's, records beside the pixels."""

import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import RandomCrop, RandomFlip, RandomResizedCrop, RandomRotate90
from histomm.datasets.transforms.geometric import resize, resize_labels


def sample(image, index=0, **more):
    return dict(img=image, sample_idx=SampleIndex(index, 3, 1), **more)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(224, 224), (64, 96), (300, 200)])
def test_resize_equals_pillow_rows_first_almost_everywhere_within_one_level(tissues, interpolation, size):
    rng = np.random.default_rng(0)
    filter_ = Image.Resampling[interpolation.upper()]
    for image in tissues:
        for _ in range(3):
            h, w = rng.integers(30, 225, 2).tolist()
            ours = resize(image[:h, :w], size, interpolation)
            assert ours.flags.c_contiguous
            theirs = Image.fromarray(image[:h, :w]).resize((size[1], h), filter_).resize(size[::-1], filter_)
            difference = np.abs(ours.astype(int) - np.asarray(theirs))
            assert difference.max() <= 2
            assert (difference > 1).mean() < 1e-4


@pytest.mark.parametrize('size', [(224, 224), (64, 96)])
def test_bilinear_resize_equals_torchvision_within_two_levels(tissues, size):
    for image in tissues:
        theirs = TF.resized_crop(Image.fromarray(image), 5, 9, 180, 130, size, InterpolationMode.BILINEAR)
        assert np.abs(resize(image[5:185, 9:139], size).astype(int) - np.asarray(theirs)).max() <= 2


@pytest.mark.parametrize('shape', [(224, 224), (522, 775), (60, 400), (400, 60)])
def test_crops_are_distributed_as_torchvisions(shape):
    height, width = shape
    crop = RandomResizedCrop(224, scale=(0.2, 1.0))
    rng = np.random.default_rng(0)
    ours = np.array([crop.draw(height, width, rng) for _ in range(4000)], float)
    image = torch.empty(3, height, width)
    theirs = np.array([TorchvisionCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)], float)
    for box in (ours, theirs):
        box[:] = np.stack(
            [
                box[:, 0] / np.maximum(height - box[:, 2], 1),  # share of the free room above
                box[:, 1] / np.maximum(width - box[:, 3], 1),
                box[:, 2] * box[:, 3] / (height * width),
                np.log(box[:, 3] / box[:, 2]),
            ],
            axis=1,
        )
    for moment in (1, 2, 3):
        difference = (ours**moment).mean(0) - (theirs**moment).mean(0)
        error = np.sqrt(((ours**moment).var(0) + (theirs**moment).var(0)) / len(ours))
        assert (np.abs(difference) <= 4.5 * error + 1e-9).all(), (moment, difference, error)


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (50, 80), (3, 2)])
def test_images_smaller_than_the_view_are_enlarged(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for index in range(20):
        results = RandomResizedCrop(32)(sample(image, index))
        x1, y1, x2, y2 = results['crop_box']
        assert results['img'].shape == (32, 32, 3)
        assert 0 <= x1 < x2 <= shape[1]
        assert 0 <= y1 < y2 <= shape[0]
    if shape == (1, 1):
        assert (results['img'] == image).all()


def position_image(height, width):
    """Channel 0 holds x, channel 1 holds y, both as pixel centres times four."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x + 2, 4 * y + 2, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(('hflip', 'vflip', 'turns'), itertools.product((0, 1), (0, 1), range(4)))
def test_record_locates_every_pixel(hflip, vflip, turns):
    steps = [RandomResizedCrop(48, scale=(0.3, 0.9)), RandomFlip(hflip, vflip)]
    if turns:
        steps.append(RandomRotate90(1.0))
    found = 0
    for index in range(12):
        results = sample(position_image(50, 60), index)
        for step in steps:
            results = step(results)
        if results.get('rot90', 0) != turns:
            continue
        found += 1
        assert (results['hflip'], results['vflip']) == (bool(hflip), bool(vflip))
        x1, y1, x2, y2 = results['crop_box']
        centres = (torch.arange(48) + 0.5) / 48
        y, x = torch.meshgrid(y1 + centres * (y2 - y1), x1 + centres * (x2 - x1), indexing='ij')
        expected = torch.stack([x, y])
        if hflip:
            expected = expected.flip(2)
        if vflip:
            expected = expected.flip(1)
        expected = torch.rot90(expected, results.get('rot90', 0), (1, 2))
        seen = torch.from_numpy(results['img'][..., :2].astype(np.float32)).permute(2, 0, 1) / 4
        # Enlarging repeats the border pixels, so the outermost half pixel of the source is flat.
        assert (seen - expected).abs().max() <= 0.5 + 0.25
        assert (seen - expected)[:, 3:-3, 3:-3].abs().max() <= 0.26
    assert found


@pytest.mark.parametrize('size', [(20, 30), (31, 17), (7, 9), (80, 50)])
def test_labels_are_those_under_the_centres_of_the_pixels(size):
    labels = np.random.default_rng(0).integers(0, 22, (41, 33)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_labels(labels, size), expected)


@pytest.mark.parametrize('size', [(48, 48), (20, 31)])
def test_label_maps_go_where_the_image_goes(size):
    numbers = np.arange(60 * 50, dtype=np.int32).reshape(60, 50)
    for index in range(20):
        results = sample(position_image(60, 50), index, gt_seg_map=numbers, other=numbers, seg_fields=['gt_seg_map'])
        steps = [RandomResizedCrop(size, scale=(0.3, 0.9)), RandomFlip(0.5, 0.5)]
        for step in steps + [RandomRotate90()] * (size[0] == size[1]):
            results = step(results)
        y, x = np.divmod(results['gt_seg_map'], 50)
        assert x.shape == results['img'].shape[:2]
        seen = results['img'] / 4
        # The label is that of a pixel whose centre is at most half a pixel away; grey levels are rounded to a quarter.
        assert np.abs(seen[..., 0] - (x + 0.5)).max() <= 0.75
        assert np.abs(seen[..., 1] - (y + 0.5)).max() <= 0.75
        assert results['other'] is numbers, 'not named in seg_fields'


@pytest.mark.parametrize('transform', [RandomResizedCrop(32), RandomFlip(prob_h=1.0), RandomRotate90(prob=1.0)])
def test_a_label_map_of_another_size_is_refused(transform):
    labels = np.zeros((50, 49), np.uint8)
    results = sample(position_image(50, 50), gt_seg_map=labels, seg_fields=['gt_seg_map'], img_path='roi.png')
    with pytest.raises(ValueError, match=r'roi.png is \(50, 50\), its label map gt_seg_map \(50, 49\)'):
        transform(results)


def test_two_crops_compose():
    results = sample(position_image(60, 60))
    for step in (RandomResizedCrop(60, scale=(0.5, 0.6)), RandomResizedCrop(60, scale=(0.5, 0.6))):
        results = step(results)
    x1, y1, x2, y2 = results['crop_box']
    centre = results['img'][29:31, 29:31, :2].mean((0, 1)) / 4
    np.testing.assert_allclose(centre, [(x1 + x2) / 2, (y1 + y2) / 2], atol=0.5)


def test_flips_and_turns_compose(tissue):
    results = sample(tissue)
    for step in (RandomFlip(1, 1), RandomFlip(1, 0), RandomRotate90(1.0), RandomRotate90(1.0)):
        results = step(results)
    assert (results['hflip'], results['vflip']) == (False, True)
    np.testing.assert_array_equal(results['img'], np.rot90(tissue[::-1], results['rot90']))


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        ([RandomFlip(1), RandomResizedCrop(16)], 'put crops first'),
        ([RandomRotate90(1), RandomResizedCrop(16)], 'put crops first'),
        ([RandomRotate90(1), RandomFlip(0.5)], 'before RandomRotate90'),
    ],
)
def test_wrong_order_is_refused(tissue, steps, message):
    first, second = steps
    results = first(sample(tissue))
    with pytest.raises(ValueError, match=message):
        second(results)


def test_turning_a_rectangle_is_refused():
    with pytest.raises(ValueError, match='20×10 pixels, expected a square'):
        RandomRotate90()(sample(np.zeros((10, 20, 3), np.uint8)))


def test_flips_and_turns_are_independent_and_fair():
    image = np.zeros((2, 2, 3), np.uint8)
    records = []
    for index in range(4000):
        results = RandomRotate90(0.75)(RandomFlip(0.5, 0.3)(sample(image, index)))
        records.append((results['hflip'], results['vflip'], results['rot90']))
    h, v, k = np.array(records, float).T
    assert h.mean() == pytest.approx(0.5, abs=0.03)
    assert v.mean() == pytest.approx(0.3, abs=0.03)
    assert (h * v).mean() == pytest.approx(0.15, abs=0.03)
    np.testing.assert_allclose([(k == turn).mean() for turn in range(4)], 0.25, atol=0.03)


@pytest.mark.parametrize(
    ('build', 'word'),
    [
        (lambda: RandomResizedCrop(0), 'size'),
        (lambda: RandomResizedCrop(8, scale=(0.5, 1.5)), 'scale'),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), 'ratio'),
        (lambda: RandomResizedCrop(8, interpolation='lanczos'), 'interpolation'),
        (lambda: RandomFlip(2), 'prob_h'),
        (lambda: RandomFlip(0.5, -1), 'prob_v'),
        (lambda: RandomRotate90(5), 'prob'),
    ],
)
def test_bad_arguments_name_the_field(build, word):
    with pytest.raises(ValueError, match=word):
        build()


# ---- crops of a fixed size


def test_a_fixed_crop_cuts_the_box_it_records_from_image_and_labels():
    ys, xs = np.mgrid[0:50, 0:70].astype(np.uint8)
    image, labels = np.stack([ys, xs, ys], -1), xs + 100
    for index in range(20):
        results = RandomCrop((31, 20))(sample(image, index, seg_fields=['gt_seg_map'], gt_seg_map=labels))
        x1, y1, x2, y2 = (int(v) for v in results['crop_box'])
        assert (x2 - x1, y2 - y1) == (20, 31)
        assert np.array_equal(results['img'], image[y1:y2, x1:x2])
        assert np.array_equal(results['gt_seg_map'], labels[y1:y2, x1:x2])
        assert results['img_shape'] == (31, 20)


def test_a_fixed_crop_reaches_every_place_as_often():
    places = [RandomCrop(3)(sample(np.zeros((5, 4, 3), np.uint8), index))['crop_box'][:2] for index in range(1200)]
    counts = [places.count(place) for place in itertools.product((0.0, 1.0), (0.0, 1.0, 2.0))]
    assert sum(counts) == 1200
    assert max(abs(count - 200) for count in counts) < 5 * np.sqrt(200)


def test_a_crop_of_a_resized_crop_is_in_source_pixels():
    first = RandomResizedCrop(40, scale=(0.25, 0.25), ratio=(1.0, 1.0))(sample(np.zeros((80, 80, 3), np.uint8)))
    box = first['crop_box']
    second = RandomCrop(10)(first)['crop_box']
    assert second[2] - second[0] == pytest.approx((box[2] - box[0]) / 4)
    assert box[0] <= second[0]
    assert second[3] <= box[3]


@pytest.mark.parametrize(
    ('size', 'more', 'message'),
    [
        (0, {}, 'size is 0, expected'),
        (61, dict(img_path='a.png'), r'a\.png has 80×60 pixels, expected at least 61×61'),
        (8, dict(hflip=True), 'already flipped or turned'),
    ],
)
def test_wrong_fixed_crops_are_named(size, more, message):
    with pytest.raises(ValueError, match=message):
        RandomCrop(size)(sample(np.zeros((60, 80, 3), np.uint8), **more))
