"""Pictures around one point of a slide: whether they show the same place, and points that have none."""

import pickle

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_runs import REPO
from small_slides import write_slide

from histomm.datasets import NeighbourhoodSampler, SampleIndex, SlideMagnificationDataset
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.doctor.data_check import check_dataset
from histomm.doctor.findings import Report
from histomm.registry import DATASETS
from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles

SIDE, MPP = 640, 0.25
VIEW = [dict(type='histomm.LoadPatch'), dict(type='histomm.ResizeWhole', size=48)]
PIPELINE = [
    dict(type='histomm.MagnificationPairSampler', strategy='random'),
    dict(type='histomm.MagnificationViews', pipeline=VIEW),
    dict(type='histomm.PackViews', meta_keys=['pair', 'patient', 'tile']),
]


def texture(seed):
    """Blobs of many sizes, whose place can be told at any magnification."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, n, 3), np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
              for n in (9, 30, 110, 640)]  # fmt: skip
    return np.clip(255 * (np.mean(layers, axis=0) - 0.25) * 2, 0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Two slides of 0.25 µm, and tiles of 32 pixels at 0.5 µm on a grid of 64 level-0 pixels."""
    root = tmp_path_factory.mktemp('places')
    pixels = {}
    tables = []
    corners = np.array([(x, y) for y in range(0, SIDE, 64) for x in range(0, SIDE, 64)])
    for number, name in enumerate(('TCGA-A7-A0D9-01Z-00.tif', 'own.tif')):
        pixels[name] = texture(number)
        write_slide(root / 'slides' / name, pixels[name], MPP)
        tables.append(tiles_of_slide(name, corners, 32, 0.5, np.ones(len(corners))))
    write_tiles(root / 'tiles.parquet', concat_tiles(tables, {}))
    return root, pixels


def build(slides, **options):
    root, _ = slides
    init_default_scope('histomm')
    places = dict(data_root=str(root / 'slides'), tiles=str(root / 'tiles.parquet'))
    return DATASETS.build(dict(type='histomm.SlideMagnificationDataset', **(places | dict(size=48) | options)))


def pictures(dataset, index):
    info = {}
    dataset.pipeline = lambda results: info.update(results) or results
    dataset[index]
    return info, {number: info['read_picture'](number) for number in info['img_paths']}


def shrunk(image, factor):
    """Mean over squares of ``factor`` pixels."""
    height, width, _ = image.shape
    return image.reshape(height // factor, factor, width // factor, factor, 3).mean(axis=(1, 3))


class TestPlaces:
    def test_pictures_are_what_the_slide_shows_around_the_middle_of_the_tile(self, slides):
        dataset = build(slides)
        for index in (0, 7, len(dataset) - 1):
            info, found = pictures(dataset, index)
            truth = slides[1][info['img_path'].rpartition('/')[2]].astype(float)
            # a tile of 32 pixels at 0.5 µm is 64 of level 0, so its middle is 32 from its corner
            x, y = np.add(info['tile'], 32)
            for magnification, factor in ((40, 1), (20, 2), (10, 4), (5, 8)):
                reach = 24 * factor
                expected = shrunk(truth[y - reach : y + reach, x - reach : x + reach], factor)
                assert found[magnification].shape == (48, 48, 3)
                assert np.abs(found[magnification] - expected).max() <= 0.5 + 1e-9, 'rounded, and nothing else'

    def test_the_middle_of_a_low_picture_is_the_high_one(self, slides):
        dataset = build(slides)
        for index in (0, 11):
            _, found = pictures(dataset, index)
            for high, low in ((40, 20), (20, 10), (10, 5), (40, 10), (40, 5)):
                factor = high // low
                half = 24 // factor
                middle = found[low][24 - half : 24 + half, 24 - half : 24 + half]
                assert np.abs(shrunk(found[high].astype(float), factor) - middle).max() <= 1 + 1e-9

    def test_the_middle_agrees_to_a_pixel_where_sides_and_factors_are_odd(self, slides):
        dataset = build(slides, magnifications=[40, 17.3, 7], size=51)
        _, found = pictures(dataset, 5)
        for high, low in ((40, 17.3), (17.3, 7)):
            side = round(51 * low / high)
            small = cv2.resize(found[high], (side, side), interpolation=cv2.INTER_AREA)
            scores = cv2.matchTemplate(found[low], small, cv2.TM_CCOEFF_NORMED)
            _, best, _, (x, y) = cv2.minMaxLoc(scores)
            assert best > 0.9
            assert abs(x + side / 2 - 25.5) <= 1
            assert abs(y + side / 2 - 25.5) <= 1

    def test_the_middle_agrees_on_a_real_slide(self, real_data, tmp_path):
        name = 'CMU-1-Small-Region-pyramid.tiff'
        corners = np.array([[1000, 1200], [1201, 1403]])
        write_tiles(tmp_path / 't.parquet', tiles_of_slide(name, corners, 64, 0.5, np.ones(2)))
        dataset = SlideMagnificationDataset(str(real_data / 'wsi'), str(tmp_path / 't.parquet'), (5, 10, 20), size=128)
        for index in range(2):
            _, found = pictures(dataset, index)
            for high, low in ((20, 10), (10, 5), (20, 5)):
                small = cv2.resize(found[high], None, fx=low / high, fy=low / high, interpolation=cv2.INTER_AREA)
                scores = cv2.matchTemplate(found[low], small, cv2.TM_CCOEFF_NORMED)
                _, best, _, place = cv2.minMaxLoc(scores)
                assert best > 0.9
                # the level of the one or the other may be read half a pixel aside
                assert np.abs(np.subtract(place, (128 - len(small)) // 2)).max() <= 1


class TestSamples:
    def test_pairs_become_views_of_the_slide(self, slides):
        dataset = build(slides, pipeline=PIPELINE)
        seen = set()
        for index in range(12):
            sample = dataset[SampleIndex(index, 3, 1)]
            again = dataset[SampleIndex(index, 3, 1)]
            info = sample['data_samples']
            seen.add(info.pair)
            assert info.patient == 'TCGA-A7-A0D9'
            assert all((one == other).all() for one, other in zip(sample['inputs'], again['inputs'], strict=True))
            _, found = pictures(build(slides), index)
            for view, magnification in zip(sample['inputs'], info.pair, strict=True):
                np.testing.assert_array_equal(view.permute(1, 2, 0), found[magnification])
        assert len(seen) > 5
        assert dataset[len(dataset) - 1]['data_samples'].patient == 'own.tif'

    def test_batches_subsets_and_neighbours(self, slides):
        dataset = build(slides, pipeline=PIPELINE)
        order = [4, 2, 2, 30]
        batch = dataset.__getitems__([SampleIndex(index, 0, 0) for index in order])
        assert [sample['data_samples'].sample_idx for sample in batch] == order
        subset = build(slides, indices=[3, 30])
        assert pictures(subset, 1)[0]['tile'] == pictures(dataset, 30)[0]['tile']
        np.testing.assert_array_equal(pictures(subset, 1)[1][5], pictures(dataset, 30)[1][5])
        assert sorted(NeighbourhoodSampler(dataset, side=256)) == list(range(len(dataset)))
        again = pickle.loads(pickle.dumps(build(slides)))
        np.testing.assert_array_equal(pictures(again, 30)[1][40], pictures(dataset, 30)[1][40])

    def test_the_doctor_looks_at_it(self, slides):
        root, _ = slides
        cfg = dict(type='histomm.SlideMagnificationDataset', data_root=str(root / 'slides'), size=48)
        report = Report()
        assert check_dataset(report, 'd', cfg | dict(tiles=str(root / 'tiles.parquet'))).samples == 2 * 16
        assert not report.faults

    def test_the_config_differs_from_that_of_breakhis_in_the_data_alone(self):
        slides, breakhis = (
            Config.fromfile(REPO / f'configs/mpcs/mpcs_r50_{name}_ordered.py') for name in ('slides', 'breakhis')
        )
        assert slides.train_dataloader.dataset.type == 'histomm.SlideMagnificationDataset'
        assert slides.train_dataloader.dataset.pipeline == breakhis.train_dataloader.dataset.pipeline
        slides.train_dataloader.dataset = breakhis.train_dataloader.dataset
        assert (slides.train_dataloader.drop_last, breakhis.train_dataloader.drop_last) == (True, False)
        slides.train_dataloader.drop_last = False
        assert slides._cfg_dict.to_dict() == breakhis._cfg_dict.to_dict()


class TestBorders:
    def test_points_near_the_border_are_left_out_and_counted(self, slides, capsys):
        """At 5X 48 pixels are 384 of level 0, 192 to each side of 32, 96 …: of 10 columns 4 are inside."""
        dataset = build(slides)
        assert len(dataset) == 2 * 4 * 4
        told = '168 of 200 points have pictures at 5X that reach beyond the slide, and were left out'
        assert f'WARNING - SlideMagnificationDataset: {told}' in capsys.readouterr().out
        assert {pictures(dataset, index)[0]['tile'][0] for index in range(16)} == {192, 256, 320, 384}
        with pytest.raises(ValueError, match=r"200 of 200 .* none is left; lower size, .*border='white'"):
            len(build(slides, size=96))
        assert len(build(slides, magnifications=[20, 40])) == 2 * 100 - 2 * 36

    def test_or_what_lies_beyond_is_white(self, slides):
        dataset = build(slides, border='white')
        assert len(dataset) == 200
        info, found = pictures(dataset, 0)
        assert info['tile'] == (0, 0)
        truth = slides[1]['TCGA-A7-A0D9-01Z-00.tif'].astype(float)
        # the middle, 32, lies in pixel 20 of 48: four pixels of 8 to its left are the slide, 20 are glass
        assert (found[5][:, :20] == 255).all()
        assert (found[5][:20] == 255).all()
        assert np.abs(found[5][20:, 20:] - shrunk(truth[:224, :224], 8)).max() <= 0.5 + 1e-9


class TestBadInput:
    def test_a_slide_without_pixel_size(self, slides, tmp_path):
        _, pixels = slides
        write_slide(tmp_path / 'slides/bare.tif', pixels['own.tif'], None)
        write_tiles(tmp_path / 't.parquet', tiles_of_slide('bare.tif', np.array([[256, 256]]), 32, 0.5, np.ones(1)))
        options = dict(data_root=str(tmp_path / 'slides'), tiles=str(tmp_path / 't.parquet'), size=16)
        with pytest.raises(ValueError, match=r'bare\.tif: the file has no pixel size; give mpp, or a CSV'):
            len(SlideMagnificationDataset(**options))
        (tmp_path / 'mpp.csv').write_text('slide,mpp\nbare.tif,0.25\n')
        assert len(SlideMagnificationDataset(**options, mpp_table=str(tmp_path / 'mpp.csv'))) == 1
        (tmp_path / 'mpp.csv').write_text('slide,mpp\nbare.tif,0.5\n')
        with pytest.raises(ValueError, match=r'bare\.tif has 0\.5 µm per pixel, expected 0\.25 or less for 40X'):
            len(SlideMagnificationDataset(**options, mpp_table=str(tmp_path / 'mpp.csv')))

    def test_slides_that_cannot_be_used_are_left_out_by_name_where_that_is_wished(self, slides, tmp_path, capsys):
        _, pixels = slides
        write_slide(tmp_path / 'slides/good.tif', pixels['own.tif'], MPP)
        write_slide(tmp_path / 'slides/bare.tif', pixels['own.tif'], None)
        write_slide(tmp_path / 'slides/coarse.tif', pixels['own.tif'], 1.0)
        (tmp_path / 'slides/broken.tif').write_bytes(b'II*')
        names = ('bare.tif', 'broken.tif', 'coarse.tif', 'good.tif')
        tables = [tiles_of_slide(name, np.array([[256, 256]]), 32, 0.5, np.ones(1)) for name in names]
        write_tiles(tmp_path / 't.parquet', concat_tiles(tables, {}))
        options = dict(data_root=str(tmp_path / 'slides'), tiles=str(tmp_path / 't.parquet'), size=16)
        dataset = SlideMagnificationDataset(**options, unreadable='skip')
        assert [pictures(dataset, index)[0]['img_path'] for index in range(len(dataset))] == [
            str(tmp_path / 'slides/good.tif')
        ]
        told = capsys.readouterr().out
        assert 'WARNING - SlideMagnificationDataset: 3 slides cannot be used: ' in told
        assert all(name in told for name in names[:3])
        with pytest.raises(ValueError, match=r'3 slides cannot be used: .*; none is left'):
            SlideMagnificationDataset(**options, unreadable='skip', exclude='good.tif')

    def test_a_slide_that_cannot_be_read(self, slides, tmp_path):
        _, pixels = slides
        path = write_slide(tmp_path / 'slides/cut.tif', pixels['own.tif'], MPP)
        write_tiles(tmp_path / 't.parquet', tiles_of_slide('cut.tif', np.array([[288, 288]]), 32, 0.5, np.ones(1)))
        dataset = SlideMagnificationDataset(str(path.parent), str(tmp_path / 't.parquet'), size=16, pipeline=PIPELINE)
        len(dataset)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 4])
        with pytest.raises(UnreadableImageError, match=r'cut\.tif'):
            dataset[0]
        assert 'is not readable at (288, 288)' in dataset.why_unreadable(0)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (dict(magnifications=[40]), r'magnifications are \(40,\).* expected two or more positive numbers'),
            (dict(magnifications=[40, 40]), 'none twice'),
            (dict(magnifications=[0, 40]), 'expected two or more positive numbers'),
            (dict(magnifications=[20, 40], resolutions=[0.25, 0.5]), 'smaller for higher magnifications'),
            (dict(magnifications=[20, 40], resolutions=[0.5]), 'and for each a positive one'),
            (dict(border='mirror'), "border is 'mirror' and size 48, expected 'exclude' or 'white'"),
            (dict(size=0), 'and at least 1 pixel'),
        ],
    )
    def test_bad_arguments(self, slides, options, message):
        with pytest.raises(ValueError, match=message):
            build(slides, **options)

    def test_resolutions_may_be_other_than_the_custom(self, slides):
        dataset = build(slides, magnifications=[20, 40], resolutions=[0.4, 0.25])
        assert dataset.resolutions == {20: 0.4, 40: 0.25}
        assert build(slides, magnifications=[40, 10]).resolutions == {10: 1.0, 40: 0.25}
