import gc
import io
import os

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from histomm.datasets.synthetic import pyramid
from histomm.datasets.synthetic.pyramid import write_pyramid
from histomm.wsi.backends import jpeg_tiles
from histomm.wsi.backends.jpeg_tiles import jpeg_levels
from histomm.wsi.reader import open_slide


@pytest.fixture(scope='module')
def image():
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 256, (90, 140, 3), dtype=np.uint8), 8, 0), 8, 1)[:719, :1117]


@pytest.fixture
def path(tmp_path, image):
    path = tmp_path / 'slide.tif'
    size = image.shape[1], image.shape[0]
    write_pyramid(path, size, lambda x, y, width, height: image[y : y + height, x : x + width], 0.5, 'blocks')
    return path


def openslide_pixels(path, x, y, width, height, level=0):
    slide = openslide.OpenSlide(str(path))
    return np.asarray(slide.read_region((x, y), level, (width, height)).convert('RGB'))


def test_level_zero_is_what_openslide_reads(path):
    slide = open_slide(path)
    assert len(jpeg_levels(path, slide.level_sizes)) == 3
    for region in [(0, 0, 1117, 719), (255, 255, 2, 2), (300, 1, 700, 600), (1100, 700, 17, 19)]:
        np.testing.assert_array_equal(slide.read(*region), openslide_pixels(path, *region))


def test_other_levels_are_the_stored_pixels(path):
    """Their sizes are rounded, so OpenSlide interpolates; at the origin it does not."""
    slide = open_slide(path)
    assert slide.level_downsamples[1] != 2
    assert not slide.interpolates
    whole = slide.read_level(1, (0, 0, *slide.level_sizes[1]))
    np.testing.assert_array_equal(whole, openslide_pixels(path, 0, 0, *slide.level_sizes[1], level=1))
    np.testing.assert_array_equal(slide.read_level(1, (301, 77, 402, 300)), whole[77:300, 301:402])


def as_jpeg(pixels, **options):
    """A tile of 256 pixels as Pillow writes it."""
    full = np.pad(pixels, [(0, 256 - pixels.shape[0]), (0, 256 - pixels.shape[1]), (0, 0)], 'edge')
    data = io.BytesIO()
    Image.fromarray(full).save(data, 'JPEG', quality=90, **options)
    return data.getvalue()


@pytest.mark.parametrize('sampling', [(1, 1), (2, 1), (2, 2), None], ids=['444', '422', '420', 'rgb'])
def test_colours_of_other_jpeg(tmp_path, image, monkeypatch, sampling):
    """The TIFF says how colours are stored, and whether they are those of RGB."""
    plain = pyramid._tags

    def tags(*args):
        changed = [entry for entry in plain(*args) if entry[0] not in (262, 530)]
        extra = [(262, 3, (6,)), (530, 3, sampling)] if sampling else [(262, 3, (2,))]
        return sorted(changed + extra, key=lambda entry: entry[0])

    options = dict(subsampling=[(1, 1), (2, 1), (2, 2)].index(sampling)) if sampling else dict(keep_rgb=True)
    monkeypatch.setattr(pyramid, '_tags', tags)
    monkeypatch.setattr(pyramid, '_jpeg', lambda pixels: as_jpeg(pixels, **options))
    path = tmp_path / 'slide.tif'
    write_pyramid(path, (1117, 719), lambda x, y, width, height: image[y : y + height, x : x + width], 0.5, 'blocks')
    slide = open_slide(path)
    assert jpeg_levels(path, slide.level_sizes)
    np.testing.assert_array_equal(slide.read(0, 0, 1117, 719), openslide_pixels(path, 0, 0, 1117, 719))
    assert np.abs(slide.read(0, 0, 1117, 719).mean((0, 1)) - image.mean((0, 1))).max() < 1


@pytest.mark.parametrize('name', ['CMU-1-Small-Region.svs', 'CMU-1-Small-Region-pyramid.tiff'])
def test_real_slides(real_data, name):
    path = real_data / 'wsi' / name
    slide = open_slide(path)
    assert len(jpeg_levels(path, slide.level_sizes)) == len(slide.level_sizes)
    region = 333, 1212, 1500, 700
    np.testing.assert_array_equal(slide.read(*region), openslide_pixels(path, *region))


def tile_place(path, index):
    with tifffile.TiffFile(path) as file:
        return file.pages[0].dataoffsets[index], file.pages[0].databytecounts[index]


@pytest.mark.parametrize('damage', ['cut', 'erased'])
def test_broken_tile_names_file_and_region(path, image, damage):
    start, count = tile_place(path, 6)
    data = bytearray(path.read_bytes())
    first = count // 2 if damage == 'cut' else 2
    data[start + first : start + count] = bytes(count - first)
    path.write_bytes(data)
    slide = open_slide(path)
    message = (
        r'slide.tif: region x 300 to 340, y 300 to 340 of level 0 cannot be read \(tile 6 of 1117×719 pixels is dam'
    )
    with pytest.raises(ValueError, match=message):
        slide.read(300, 300, 40, 40)
    assert slide.read(600, 300, 40, 40).shape == (40, 40, 3)


def test_slides_with_tiles_that_were_not_scanned_are_left_to_openslide(path):
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[325]
        place = entry.valueoffset + 8 * 6
    data = bytearray(path.read_bytes())
    data[place : place + 8] = bytes(8)
    path.write_bytes(data)
    slide = open_slide(path)
    assert jpeg_levels(path, slide.level_sizes) == []
    np.testing.assert_array_equal(slide.read(600, 0, 300, 300), openslide_pixels(path, 600, 0, 300, 300))


def test_other_compressions_are_left_to_openslide(tmp_path, image):
    path = tmp_path / 'deflate.tif'
    tifffile.imwrite(path, image, photometric='rgb', tile=(256, 256), compression='deflate', metadata=None)
    assert jpeg_levels(path, ((1117, 719),)) == []


def test_files_are_released_with_or_without_close(path):
    gc.collect()
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(5):
        open_slide(path).read(0, 0, 9, 9)
        with open_slide(path) as slide:
            slide.read(0, 0, 9, 9)
    gc.collect()
    assert len(os.listdir('/proc/self/fd')) == before


def test_decoded_tiles_are_kept_within_bounds(path, monkeypatch):
    monkeypatch.setattr(jpeg_tiles, '_CACHE_BYTES', 3 * 256 * 256 * 3)
    cache = jpeg_tiles._TileCache()
    monkeypatch.setattr(jpeg_tiles, '_cache', cache)
    slide = open_slide(path)
    first = slide.read(0, 0, 1117, 719)
    assert len(cache._tiles) == 3
    np.testing.assert_array_equal(slide.read(0, 0, 1117, 719), first)
