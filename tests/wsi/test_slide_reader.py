import itertools
import multiprocessing
import os
import pickle
import warnings

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageCms
from small_slides import break_tile

from histomm.wsi import reader
from histomm.wsi.reader import Slide, SlideCache, find_slides, mpp_of, open_slide, read_mpp_table


def blobs(width=700, height=500, seed=0):
    """Smooth coloured blobs of about 24 pixels: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_slide(path, image, mpp=0.5, factors=(2, 4), **options):
    """A tiled pyramid without compression, so that every pixel is known."""
    options.setdefault('resolution', (1e4 / mpp, 1e4 / mpp))
    options.setdefault('resolutionunit', 'CENTIMETER')
    shared = dict(photometric='rgb', tile=(128, 128), metadata=None)
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, **shared, **options)
        for factor in factors:
            size = image.shape[1] // factor, image.shape[0] // factor
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            writer.write(small, subfiletype=1, **shared)
    return path


@pytest.fixture(scope='module')
def image():
    return blobs()


@pytest.fixture(scope='module')
def path(tmp_path_factory, image):
    return write_slide(tmp_path_factory.mktemp('slides') / 'slide.tif', image)


class TestPixels:
    def test_level_zero_is_what_openslide_reads(self, path):
        slide, other = open_slide(path), openslide.OpenSlide(str(path))
        assert slide.size == other.dimensions == (700, 500)
        assert slide.level_downsamples == other.level_downsamples
        for x, y, width, height in [(0, 0, 700, 500), (37, 211, 130, 99), (699, 499, 1, 1)]:
            region = np.asarray(other.read_region((x, y), 0, (width, height)).convert('RGB'))
            np.testing.assert_array_equal(slide.read(x, y, width, height), region)

    @pytest.mark.parametrize('mpp', [0.5, 0.8, 1.0, 1.3, 2.0, 3.1])
    def test_other_resolutions_lie_on_the_reduced_slide(self, path, image, mpp):
        """Pillow's own resampling of the whole slide has the same mean and no shift."""
        whole = round(700 * 0.5 / mpp), round(500 * 0.5 / mpp)
        truth = np.asarray(Image.fromarray(image).resize(whole, Image.Resampling.BOX))
        x, y, width, height = whole[0] // 7, whole[1] // 6, round(200 * 0.5 / mpp), round(150 * 0.5 / mpp)
        own = open_slide(path).read(x * mpp / 0.5, y * mpp / 0.5, width, height, mpp)
        expected = truth[y : y + height, x : x + width]
        assert own.shape == expected.shape == (height, width, 3)
        np.testing.assert_allclose(own.mean((0, 1)), expected.mean((0, 1)), atol=1.5)
        moved, _ = cv2.phaseCorrelate(own.mean(-1), expected.mean(-1).astype(float))
        assert np.hypot(*moved) < 0.6

    def test_numbers_may_be_those_of_numpy(self, path):
        slide = open_slide(path)
        numbers = np.int64(40), np.int64(20), np.int32(60), np.int32(50), np.float64(0.8)
        np.testing.assert_array_equal(slide.read(*numbers), slide.read(40, 20, 60, 50, 0.8))

    def test_a_finer_resolution_than_there_is_enlarges_level_zero(self, path, image):
        own = open_slide(path).read(100, 100, 200, 120, 0.25)
        np.testing.assert_array_equal(own, cv2.resize(image[100:160, 100:200], (200, 120)))

    @pytest.mark.parametrize(('mpp', 'level'), [(0.3, 0), (0.5, 0), (0.99, 0), (1.0, 1), (1.9, 1), (2.0, 2), (8.0, 2)])
    def test_no_level_coarser_than_asked_for(self, path, mpp, level):
        assert open_slide(path).locate(0, 0, 50, 50, mpp)[0] == level

    def test_pyramids_that_round_their_sizes_keep_their_levels(self, tmp_path):
        slide = open_slide(write_slide(tmp_path / 'odd.tif', blobs(701, 503)))
        assert slide.level_downsamples[1] != 2
        assert slide.locate(11, 13, 100, 100, 1.0) == (1, (5, 6, 105, 106))

    def test_neighbouring_regions_share_their_border(self, path):
        """Read in parts, a region has the pixels of one read: borders are rounded alike."""
        slide = open_slide(path)
        boxes = [slide.locate(100 + 60 * i * 1.26, 0, 60, 60, 0.63)[1] for i in range(4)]
        assert all(left[2] == right[0] for left, right in itertools.pairwise(boxes))

    def test_large_regions_are_read_in_parts(self, path, image, monkeypatch):
        slide = open_slide(path)
        whole = slide.read(0, 0, 350, 250, 1.0), slide.thumbnail(100)
        monkeypatch.setattr(reader, '_MAX_PIXELS', 5000)
        parts = slide.read(0, 0, 350, 250, 1.0), slide.thumbnail(100)
        np.testing.assert_array_equal(whole[0], parts[0])
        assert whole[1].shape == parts[1].shape == (71, 100, 3)
        moved, _ = cv2.phaseCorrelate(whole[1].mean(-1), parts[1].mean(-1))
        assert np.hypot(*moved) < 0.2
        np.testing.assert_allclose(whole[1].mean((0, 1)), parts[1].mean((0, 1)), atol=1.5)

    def test_thumbnail_is_the_whole_slide(self, path, image):
        thumb = open_slide(path).thumbnail(140)
        expected = np.asarray(Image.fromarray(image).resize((140, 100), Image.Resampling.BOX))
        assert thumb.shape == expected.shape
        assert np.abs(thumb.astype(int) - expected).mean() < 3
        assert open_slide(path).thumbnail(5000).shape == (500, 700, 3)

    def test_pixels_that_are_not_square_become_square(self, tmp_path, image):
        options = dict(resolution=(1e4 / 0.5, 1e4 / 0.25), factors=())
        slide = open_slide(write_slide(tmp_path / 'flat.tif', image, **options))
        assert slide.mpp_xy == pytest.approx((0.5, 0.25))
        assert slide.mpp == pytest.approx(np.sqrt(0.5 * 0.25))
        own = slide.read(0, 0, 350, 125, 1.0)
        expected = cv2.resize(image, (350, 125), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(own, expected)

    def test_real_slide(self, real_data):
        path = real_data / 'wsi/CMU-1-Small-Region.svs'
        slide, other = open_slide(path), openslide.OpenSlide(str(path))
        assert slide.mpp == pytest.approx(0.499)
        region = np.asarray(other.read_region((701, 1303), 0, (256, 200)).convert('RGB'))
        np.testing.assert_array_equal(slide.read(701, 1303, 256, 200), region)
        whole = other.read_region((0, 0), 0, other.dimensions).convert('RGB')
        quarter = np.asarray(whole.resize((555, 742), Image.Resampling.BOX))
        own = slide.read(400, 800, 200, 200, 4 * 0.499)
        assert np.abs(own.astype(int) - quarter[200:400, 100:300]).mean() < 2


class TestBorder:
    def test_beyond_it_is_white(self, path, image):
        slide = open_slide(path)
        expected = np.full((60, 80, 3), 255, np.uint8)
        expected[20:, 30:] = image[:40, :50]
        np.testing.assert_array_equal(slide.read(-30, -20, 80, 60), expected)
        expected = np.full((60, 80, 3), 255, np.uint8)
        expected[:10, :5] = image[490:, 695:]
        np.testing.assert_array_equal(slide.read(695, 490, 80, 60), expected)
        assert (slide.read(-500, 0, 80, 60) == 255).all()
        assert (slide.read(0, 900, 80, 60, 2.0) == 255).all()

    def test_it_can_be_an_error(self, path):
        slide = open_slide(path, border='error')
        assert slide.read(620, 440, 80, 60).shape == (60, 80, 3)
        with pytest.raises(ValueError, match=r'slide.tif: region \(621, 440, 701, 500\) of level 0 crosses'):
            slide.read(621, 440, 80, 60)

    def test_bad_arguments(self, path):
        with pytest.raises(ValueError, match="border is 'black', expected 'white' or 'error'"):
            open_slide(path, border='black')
        with pytest.raises(ValueError, match=r'region of 0×5 pixels, expected at least 1×1'):
            open_slide(path).read(0, 0, 0, 5)
        with pytest.raises(ValueError, match='mpp of the region is 0, expected a positive'):
            open_slide(path).read(0, 0, 5, 5, 0)


class TestResolution:
    def test_the_file_comes_first(self, path):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert open_slide(path, mpp=0.51).mpp == pytest.approx(0.5)
        with pytest.warns(UserWarning, match=r'slide.tif: the file says 0.5 µm per pixel, 0.25 is not used'):
            assert open_slide(path, mpp=0.25).mpp == pytest.approx(0.5)

    def test_inches(self, tmp_path, image):
        options = dict(resolution=(25400 / 0.25, 25400 / 0.25), resolutionunit='INCH', factors=())
        assert open_slide(write_slide(tmp_path / 'inch.tif', image, **options)).mpp == pytest.approx(0.25)

    def test_resolution_of_a_print_is_not_believed(self, tmp_path, image):
        path = write_slide(tmp_path / 'print.tif', image, resolution=(72, 72), resolutionunit='INCH', factors=())
        slide = open_slide(path)
        assert slide.read(0, 0, 10, 10).shape == (10, 10, 3)
        with pytest.raises(
            ValueError, match=r'print.tif: the file says 352.8 µm per pixel, expected 0.05 to 20.0; give'
        ):
            slide.read(0, 0, 10, 10, 1.0)
        assert open_slide(path, mpp=0.25).mpp == 0.25

    def test_a_file_without_any(self, tmp_path, image):
        path = write_slide(tmp_path / 'none.tif', image, resolution=(1, 1), resolutionunit='NONE', factors=())
        with pytest.raises(ValueError, match=r'none.tif: the file has no pixel size; give mpp, or a CSV'):
            _ = open_slide(path).mpp
        assert open_slide(path, mpp=0.3).mpp == 0.3
        with pytest.raises(ValueError, match=r'none.tif: mpp is 250, expected 0.05 to 20.0'):
            open_slide(path, mpp=250)

    def test_table(self, tmp_path):
        table = tmp_path / 'mpp.csv'
        table.write_text('\ufeffmpp,slide\n0.25,a.svs\n0.5, b.tif \n')
        assert read_mpp_table(table) == {'a.svs': 0.25, 'b.tif': 0.5}
        for text, message in [
            ('slide,size\na,1\n', r"mpp.csv: columns \['slide', 'size'\], expected slide,mpp; add mpp"),
            ('slide,mpp\na,x\n', "mpp.csv: line 2: mpp is 'x', expected a positive number"),
            ('slide,mpp\na,1\na,2\n', 'mpp.csv: line 3 names a again'),
        ]:
            table.write_text(text)
            with pytest.raises(ValueError, match=message):
                read_mpp_table(table)

    def test_path_in_the_table_comes_before_the_bare_name(self):
        table = {'a.svs': 0.25, 'deep/a.svs': 0.5}
        assert [mpp_of(table, name, 1.0) for name in ('a.svs', 'deep/a.svs', 'other/a.svs', 'b.svs')] == [
            *(0.25, 0.5, 0.25, 1.0)
        ]
        assert mpp_of({'deep/a.svs': 0.5}, 'a.svs') is None


def read_in_child(slide, queue):
    inherited = slide._handle
    pixels = slide.read(100, 100, 64, 64).tobytes()
    queue.put((os.getpid(), pixels, slide._handle is not inherited))


class TestProcesses:
    def test_pickled_slide_reads_the_same(self, path):
        slide = open_slide(path, border='error')
        again = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(again.read(5, 5, 50, 50, 1.0), slide.read(5, 5, 50, 50, 1.0))
        with pytest.raises(ValueError, match='crosses the border'):
            again.read(-1, 0, 5, 5)

    @pytest.mark.parametrize('method', ['fork', 'spawn'])
    def test_child_opens_the_file_itself(self, path, method):
        slide = open_slide(path)
        expected = slide.read(100, 100, 64, 64).tobytes()
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        children = [context.Process(target=read_in_child, args=(slide, queue)) for _ in range(2)]
        for child in children:
            child.start()
        answers = [queue.get(timeout=60) for _ in children]
        for child in children:
            child.join()
        assert len({pid for pid, *_ in answers} | {os.getpid()}) == 3
        assert all(pixels == expected for _, pixels, _ in answers)
        assert all(own_handle for *_, own_handle in answers)
        assert slide.read(100, 100, 64, 64).tobytes() == expected

    def test_closed_slide_opens_again(self, path):
        with open_slide(path) as slide:
            first = slide.read(0, 0, 9, 9)
        np.testing.assert_array_equal(slide.read(0, 0, 9, 9), first)


class TestCache:
    def test_the_slide_not_used_for_longest_is_closed(self, tmp_path, image):
        paths = [write_slide(tmp_path / f'{name}.tif', image, factors=()) for name in 'abc']
        cache = SlideCache(max_open=2)
        a, b = cache.get(paths[0]), cache.get(paths[1])
        assert cache.get(paths[0]) is a
        cache.get(paths[2])
        assert len(cache) == 2
        assert cache.get(paths[0]) is a
        assert cache.get(paths[1]) is not b
        cache.close()
        assert len(cache) == 0

    def test_open_files_stay_bounded(self, tmp_path, image):
        cache = SlideCache(max_open=2)
        before = len(os.listdir('/proc/self/fd'))
        for number in range(8):
            cache.get(write_slide(tmp_path / f'{number}.tif', image[:64, :64], factors=())).read(0, 0, 8, 8)
        assert len(os.listdir('/proc/self/fd')) - before <= 4

    def test_pickled_cache_is_empty_and_works(self, path):
        cache = SlideCache(max_open=3)
        cache.get(path)
        again = pickle.loads(pickle.dumps(cache))
        assert (len(again), again.max_open) == (0, 3)
        assert isinstance(again.get(path), Slide)

    def test_bad_bound(self):
        with pytest.raises(ValueError, match='max_open is 0, expected at least 1'):
            SlideCache(0)


class TestColour:
    def profile(self):
        """sRGB with red and blue light exchanged."""
        data = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
        return data.replace(b'rXYZ', b'????').replace(b'bXYZ', b'rXYZ').replace(b'????', b'bXYZ')

    @pytest.mark.parametrize('tiled', [True, False], ids=['openslide', 'tifffile'])
    def test_profile_is_applied_on_request(self, tmp_path, tiled):
        image = np.zeros((300, 300, 3), np.uint8)
        image[..., 0] = 255
        layout = dict(tile=(128, 128)) if tiled else {}
        path = tmp_path / 'icc.tif'
        tifffile.imwrite(path, image, photometric='rgb', metadata=None, iccprofile=self.profile(), **layout)
        assert open_slide(path).read(0, 0, 5, 5)[0, 0].tolist() == [255, 0, 0]
        red, green, blue = open_slide(path, icc=True).read(0, 0, 5, 5)[0, 0].tolist()
        assert blue > 240
        assert max(red, green) < 40

    def test_slides_without_a_profile_stay(self, path, image):
        np.testing.assert_array_equal(open_slide(path, icc=True).read(0, 0, 9, 9), image[:9, :9])


class TestDamage:
    def test_broken_tile_names_file_and_region_and_leaves_the_rest(self, tmp_path, image):
        path = tmp_path / 'broken.tif'
        tifffile.imwrite(path, image, photometric='rgb', tile=(128, 128), compression='deflate', metadata=None)
        with tifffile.TiffFile(path) as file:
            start, count = file.pages[0].dataoffsets[8], file.pages[0].databytecounts[8]
        data = bytearray(path.read_bytes())
        data[start : start + count] = bytes(count)
        path.write_bytes(data)
        slide = open_slide(path)
        assert slide.backend == 'OpenSlide'
        with pytest.raises(
            ValueError, match=r'broken.tif: region x 260 to 300, y 140 to 180 of level 0 cannot be read'
        ):
            slide.read(260, 140, 40, 40)
        np.testing.assert_array_equal(slide.read(400, 300, 40, 40), image[300:340, 400:440])

    def test_broken_tile_is_white_on_request(self, tmp_path, image):
        path = tmp_path / 'broken.tif'
        tifffile.imwrite(path, image, photometric='rgb', tile=(128, 128), compression='deflate', metadata=None)
        break_tile(path, 0)
        slide = open_slide(path, broken='white')
        found = slide.read(0, 0, image.shape[1], image.shape[0])
        white = (found == 255).all(axis=2) & (image != 255).any(axis=2)
        assert white[:128, :128].all()
        np.testing.assert_array_equal(found[~white], image[~white])
        assert not white[256:].any()
        assert not white[:, 256:].any()
        with pytest.raises(ValueError, match=r"broken.tif: broken is 'grey', expected 'white' or 'error'"):
            open_slide(path, broken='grey')

    @pytest.mark.parametrize('content', [b'no slide', b'II*\0\0\0\0'])
    def test_files_that_are_no_slides(self, tmp_path, content):
        path = tmp_path / 'text.svs'
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'text.svs: cannot be opened as a slide: OpenSlide does not know'):
            open_slide(path)

    def test_empty_file(self, tmp_path):
        (tmp_path / 'none.svs').touch()
        with pytest.raises(ValueError, match=r'none.svs: is empty, expected a slide; copy it anew or remove it'):
            open_slide(tmp_path / 'none.svs')

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'gone.svs: slide not found'):
            open_slide(tmp_path / 'gone.svs')


class TestFinding:
    def test_content_counts_not_the_suffix(self, path, tmp_path, image):
        copy = tmp_path / 'slide.dat'
        copy.write_bytes(path.read_bytes())
        np.testing.assert_array_equal(open_slide(copy).read(0, 0, 9, 9), image[:9, :9])

    def test_slides_of_a_folder(self, tmp_path):
        for name in ['b/x.SVS', 'a.tiff', 'a.txt', '.hidden.tif', '.trash/z.tif', 'b/c/y.mrxs']:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found = [path.relative_to(tmp_path).as_posix() for path in find_slides(tmp_path)]
        assert found == ['a.tiff', 'b/c/y.mrxs', 'b/x.SVS']
        assert find_slides(tmp_path / 'a.tiff') == [tmp_path / 'a.tiff']

    def test_nothing_to_find(self, tmp_path):
        with pytest.raises(ValueError, match='no slide in it or below, expected files with a suffix of bif'):
            find_slides(tmp_path)
        with pytest.raises(FileNotFoundError, match='folder of slides not found'):
            find_slides(tmp_path / 'gone')
