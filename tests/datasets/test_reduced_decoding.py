"""JPEG files decoded at reduced scale: the same boxes, pixels near those of the whole image, nothing enlarged."""

import cv2
import numpy as np
import pytest
from PIL import Image

from histomm.datasets import PatchDataset
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import (
    LoadPatch,
    MultiView,
    PackViews,
    RandomCrop,
    UnreadableImageError,
    read_image,
    reduced,
)
from histomm.datasets.transforms.resizing import resize

VIEW = [
    dict(type='histomm.RandomResizedCrop', size=64, scale=(0.3, 1.0)),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
    dict(type='histomm.RandomRotate90', prob=0.75),
]
RECORD = ('crop_box', 'hflip', 'vflip', 'rot90', 'ori_shape')


def write_jpeg(path, pixels, **options):
    Image.fromarray(pixels).save(path, quality=95, **options)
    return str(path)


def smooth(height, width):
    """A picture whose red is the column and whose green the row, as far as 8 bits go."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 0 * x + 128], axis=-1).astype(np.uint8)


def views_of(path, reduce, index=0, views=(dict(pipeline=VIEW, num=2),)):
    sample = LoadPatch(reduce=reduce)(dict(img_path=path, sample_idx=SampleIndex(index, 5, 2)))
    return MultiView(list(views))(sample)['views']


@pytest.fixture(scope='module')
def files(tmp_path_factory, real_data):
    """Images much larger than the views, of odd sizes, drawn and real."""
    folder = tmp_path_factory.mktemp('large')
    real = cv2.imread(str(sorted(real_data.glob('tcga_luadlusc/**/*.jpg'))[0]))[..., ::-1]
    large = cv2.resize(np.ascontiguousarray(real), (519, 401), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, which readers of pixels leave alone
    return [
        write_jpeg(folder / 'smooth.jpg', smooth(333, 517), subsampling=0),
        write_jpeg(folder / 'real.jpg', large, progressive=True, exif=exif),
    ]


def test_records_are_equal(files):
    for path in files:
        for index in range(8):
            for whole, less in zip(views_of(path, False, index), views_of(path, True, index), strict=True):
                assert {key: whole[key] for key in RECORD} == {key: less[key] for key in RECORD}
                assert less['img'].shape == (64, 64, 3)


def test_pixels_are_near_those_of_the_whole_image(files):
    """Of its nearest rectangle that begins and ends between decoded pixels, within a few grey levels."""
    views = [dict(pipeline=VIEW[:1])]
    for path in files:
        whole = read_image(path)
        for index in range(8):
            (view,) = views_of(path, True, index, views)
            x1, y1, x2, y2 = view['crop_box']
            reduction = reduced.largest_reduction([((y2 - y1, x2 - x1), (64, 64))])
            left, top, right, bottom = (reduction * int(edge / reduction + 0.5) for edge in (x1, y1, x2, y2))
            difference = np.abs(view['img'].astype(int) - resize(whole[top:bottom, left:right], (64, 64)))
            assert reduction > 1
            assert difference.mean() < 3
            assert np.quantile(difference, 0.99) <= 12


def test_the_geometry_holds_to_half_a_pixel_of_the_view(tmp_path):
    """In a ramp the mean of a view is the middle of its box."""
    path = write_jpeg(tmp_path / 'ramp.jpg', smooth(333, 517), subsampling=0)
    for index in range(10):
        for view in views_of(path, True, index, [dict(pipeline=VIEW[:1], num=2)]):
            x1, y1, x2, y2 = view['crop_box']
            found = view['img'][..., :2].mean(axis=(0, 1)) + 0.5
            middle = found * (517, 333) / 255
            pixel = np.array([x2 - x1, y2 - y1]) / 64
            assert (np.abs(middle - [(x1 + x2) / 2, (y1 + y2) / 2]) <= 0.5 * pixel + 0.8).all()


def test_the_reduction_is_the_largest_that_enlarges_nothing():
    cases = {
        (((64, 64), (64, 64)),): 1,
        (((127, 500), (64, 64)),): 1,
        (((128, 500), (64, 64)),): 2,
        (((256, 255), (64, 64)),): 2,
        (((600, 512), (64, 64)),): 8,
        (((600, 512), (64, 64)), ((130, 130), (32, 32))): 4,
        (((600, 512), (64, 64)), ((20, 20), (32, 32))): 1,
    }
    assert {crops: reduced.largest_reduction(crops) for crops in cases} == cases


def test_no_crop_falls_below_its_view(files, monkeypatch):
    seen = []
    whole = reduced.PendingJpeg.__init__

    def watch(self, name, size, decode):
        whole(self, name, size, lambda reduction: seen.append(reduction) or decode(reduction))

    monkeypatch.setattr(reduced.PendingJpeg, '__init__', watch)
    for index in range(30):
        boxes = np.array([view['crop_box'] for view in views_of(files[0], True, index)])
        smallest = (boxes[:, 2:] - boxes[:, :2]).min()
        assert seen[-1] == next(divisor for divisor in (8, 4, 2, 1) if smallest >= 64 * divisor)
    assert set(seen) == {2, 4}


@pytest.mark.parametrize('case', ['small crops', 'PNG', 'no crop first'])
def test_what_cannot_be_reduced_is_as_it_was(case, files, tmp_path):
    path, views = files[1], [dict(pipeline=VIEW, num=2)]
    if case == 'small crops':
        views = [dict(pipeline=[dict(type='histomm.RandomResizedCrop', size=224, scale=(0.3, 1.0))], num=2)]
    if case == 'PNG':
        Image.fromarray(smooth(300, 300)).save(tmp_path / 'a.png')
        path = str(tmp_path / 'a.png')
    if case == 'no crop first':
        views.append(dict(pipeline=[dict(type='histomm.ResizeWhole', size=64)]))
    for whole, reduced_ in zip(views_of(path, False, 1, views), views_of(path, True, 1, views), strict=True):
        np.testing.assert_array_equal(whole['img'], reduced_['img'])
        assert whole.get('crop_box') == reduced_.get('crop_box')


def test_size_in_the_headers(files):
    for path in files:
        with open(path, 'rb') as file:
            data = file.read()
        assert reduced.jpeg_size(data) == Image.open(path).size[::-1]
        assert reduced.jpeg_size(data[:12]) is None
    assert reduced.jpeg_size(b'\xff\xd8' + b'\0' * 40) is None


@pytest.mark.parametrize('kept', [0.0, 0.01, 0.5])
def test_truncated_files_are_named(kept, files, tmp_path):
    with open(files[0], 'rb') as file:
        data = file.read()
    path = tmp_path / 'cut.jpg'
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UnreadableImageError, match=r'cut\.jpg'):
        views_of(str(path), True)


def test_other_transforms_in_between_are_refused(files):
    pending = LoadPatch(reduce=True)(dict(img_path=files[0]))
    assert pending['ori_shape'] == (333, 517)
    with pytest.raises(TypeError, match='put MultiView directly after LoadPatch, or leave out reduce'):
        RandomCrop(20)(pending)
    with pytest.raises(TypeError, match='put MultiView directly'):
        np.asarray(pending['img'])
    with pytest.raises(UnreadableImageError, match='image of 517×333 pixels, expected at least min_size=400'):
        LoadPatch(min_size=400, reduce=True)(dict(img_path=files[0]))


def test_a_data_set_of_reduced_images(files):
    """Through the data set to the packed sample, whose geometry is that of whole images."""
    samples = []
    for reduce in (False, True):
        steps = [LoadPatch(reduce=reduce), MultiView([dict(pipeline=VIEW, num=2)]), PackViews()]
        dataset = PatchDataset(files[0].rpartition('/')[0], pipeline=steps)
        samples.append(dataset[SampleIndex(0, 3, 1)]['data_samples'])
    assert samples[0].crop_box == samples[1].crop_box
    assert samples[0].ori_shape == samples[1].ori_shape
