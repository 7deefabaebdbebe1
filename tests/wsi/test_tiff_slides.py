import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from histomm.wsi.backends import tiff
from histomm.wsi.reader import open_slide


@pytest.fixture(scope='module')
def image():
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return cv2.resize(coarse, (450, 310), interpolation=cv2.INTER_CUBIC)


GREY = dict(photometric='minisblack')
RGB = dict(photometric='rgb')
TILED = dict(tile=(128, 128))
KINDS = {
    'strips': (RGB, lambda rgb: rgb, lambda rgb: rgb),
    'one strip of many rows': (RGB | dict(rowsperstrip=310), lambda rgb: rgb, lambda rgb: rgb),
    'deflate and predictor': (
        RGB | dict(compression='deflate', predictor=True, rowsperstrip=16),
        lambda rgb: rgb,
        None,
    ),
    'lzma tiles': (RGB | TILED | dict(compression='lzma'), lambda rgb: rgb, None),
    'planes': (RGB | dict(planarconfig='separate'), lambda rgb: rgb.transpose(2, 0, 1), None),
    'planes of tiles': (
        RGB | TILED | dict(planarconfig='separate', compression='lzma'),
        lambda rgb: rgb.transpose(2, 0, 1),
        None,
    ),
    '16 bits': (RGB, lambda rgb: np.minimum(rgb * 257.0 + 100, 65535).astype(np.uint16), None),
    'grey': (GREY, lambda rgb: rgb[..., 0], lambda rgb: np.repeat(rgb[..., :1], 3, 2)),
    'white is zero': (
        dict(photometric='miniswhite'),
        lambda rgb: rgb[..., 0],
        lambda rgb: 255 - np.repeat(rgb[..., :1], 3, 2),
    ),
    'alpha': (
        RGB | dict(extrasamples=['unassalpha']),
        lambda rgb: np.dstack([rgb, rgb[..., 0]]),
        lambda rgb: np.rint(rgb * (rgb[..., :1] / 255) + 255.0 - rgb[..., :1]),
    ),
}


@pytest.mark.parametrize('kind', KINDS)
def test_what_openslide_refuses(tmp_path, image, kind):
    options, store, expected = KINDS[kind]
    path = tmp_path / 'plain.tif'
    tifffile.imwrite(path, store(image), metadata=None, **options)
    slide = open_slide(path)
    truth = image if expected is None else expected(image)
    assert slide.backend == 'tifffile'
    assert slide.size == (450, 310)
    np.testing.assert_array_equal(slide.read(0, 0, 450, 310), truth)
    np.testing.assert_array_equal(slide.read(101, 120, 200, 77), truth[120:197, 101:301])
    beyond = np.full((50, 60, 3), 255)
    beyond[:20, :30] = truth[290:, 420:]
    np.testing.assert_array_equal(slide.read(420, 290, 60, 50), beyond)


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_jpeg_strips_have_the_colours_that_pillow_gives(tmp_path, image, mode):
    path = tmp_path / 'jpeg.tif'
    Image.fromarray(image).convert(mode).save(path, compression='jpeg', quality=90)
    slide = open_slide(path)
    assert slide.backend == 'tifffile'
    np.testing.assert_array_equal(slide.read(0, 0, 450, 310), np.asarray(Image.open(path).convert('RGB')))


def write_ome(path, image, unit='µm', size=0.5):
    axes = {
        'axes': 'YXS',
        'PhysicalSizeX': size,
        'PhysicalSizeY': size,
        'PhysicalSizeXUnit': unit,
        'PhysicalSizeYUnit': unit,
    }
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as writer:
        writer.write(image, subifds=2, metadata=axes, **RGB, **TILED)
        writer.write(image[::2, ::2], subfiletype=1, **RGB, **TILED)
        writer.write(image[::4, ::4], subfiletype=1, **RGB, **TILED)


@pytest.mark.parametrize(('unit', 'size', 'mpp'), [('µm', 0.5, 0.5), ('nm', 250, 0.25), ('mm', 0.001, 1.0)])
def test_ome_has_its_levels_and_its_pixel_size(tmp_path, image, unit, size, mpp):
    path = tmp_path / 'slide.ome.tif'
    write_ome(path, image, unit, size)
    slide = open_slide(path)
    assert slide.level_sizes == ((450, 310), (225, 155), (113, 78))
    assert slide.mpp == pytest.approx(mpp)
    np.testing.assert_array_equal(slide.read(50, 40, 80, 60, 2 * mpp), image[::2, ::2][20:80, 25:105])


def test_pages_marked_as_reduced_are_levels_and_a_label_is_not(tmp_path, image):
    path = tmp_path / 'pages.tif'
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, metadata=None, resolution=(20000, 20000), resolutionunit='CENTIMETER', **RGB)
        writer.write(image[::2, ::2], subfiletype=1, metadata=None, **RGB)
        writer.write(image[:100, :100], subfiletype=1, metadata=None, **RGB)
    slide = open_slide(path)
    assert slide.level_sizes == ((450, 310), (225, 155))
    assert slide.mpp == pytest.approx(0.5)


def test_broken_strip_names_file_and_region_and_leaves_the_rest(tmp_path, image):
    path = tmp_path / 'broken.tif'
    tifffile.imwrite(path, image, metadata=None, compression='deflate', rowsperstrip=31, **RGB)
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[4]
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    slide = open_slide(path)
    with pytest.raises(
        ValueError, match=r'broken.tif: region x 0 to 9, y 130 to 139 of level 0 cannot be read \(tile 4'
    ):
        slide.read(0, 130, 9, 9)
    np.testing.assert_array_equal(slide.read(0, 0, 450, 124), image[:124])


def test_truncated_file(tmp_path, image):
    path = tmp_path / 'short.tif'
    tifffile.imwrite(path, image, metadata=None, compression='deflate', rowsperstrip=31, **RGB)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].dataoffsets[9]
    path.write_bytes(path.read_bytes()[: place + 5])
    with pytest.raises(ValueError, match='the file is truncated'):
        open_slide(path).read(0, 300, 5, 5)


def test_file_cut_off_before_its_tags(tmp_path, image):
    path = tmp_path / 'cut.tif'
    tifffile.imwrite(path, image, metadata=None, **RGB)
    path.write_bytes(b'II*\0\xff\xff\0\0' + bytes(50))
    with pytest.raises(ValueError, match=r'cut.tif: cannot be opened as a slide: .*it is a TIFF without an image'):
        open_slide(path)


def test_kinds_without_a_conversion(tmp_path, image):
    path = tmp_path / 'kind.tif'
    tifffile.imwrite(path, image.astype(np.float32), metadata=None, **RGB)
    with pytest.raises(ValueError, match=r'kind.tif: cannot be .* its pixels are float32, expected 8- or 16-bit'):
        open_slide(path)
    Image.fromarray(image[..., 0] > 99).save(path, compression='group4')
    with pytest.raises(ValueError, match='its pixels are bool, expected 8- or 16-bit'):
        open_slide(path)
    write_tagged(path, image, 50002)
    with pytest.raises(ValueError, match='its compression JPEGXL is read with imagecodecs; pip install imagecodecs'):
        open_slide(path)


def write_tagged(path, image, compression):
    """An uncompressed file that says otherwise."""
    tifffile.imwrite(path, image, metadata=None, **RGB)
    with tifffile.TiffFile(path, mode='r+') as file:
        file.pages[0].tags['Compression'].overwrite(compression)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA'])
@pytest.mark.parametrize('predictor', [1, 2])
def test_lzw_strips(tmp_path, image, mode, predictor):
    path = tmp_path / 'lzw.tif'
    source = Image.fromarray(image)
    source.putalpha(Image.fromarray(image[..., 1]))
    source = source.convert(mode)
    source.save(path, compression='tiff_lzw', tiffinfo={317: predictor, 278: 40})
    with tifffile.TiffFile(path) as file:
        assert (file.pages[0].predictor, file.pages[0].compression, file.pages[0].is_tiled) == (predictor, 5, False)
    truth = np.asarray(source)
    if mode == 'RGBA':
        truth = np.rint(truth[..., :3] * (truth[..., 3:] / 255) + 255.0 - truth[..., 3:])
    elif mode == 'L':
        truth = np.repeat(truth[..., None], 3, axis=2)
    slide = open_slide(path)
    assert slide.backend == 'tifffile'
    np.testing.assert_array_equal(slide.read(0, 0, 450, 310), truth)


def test_lzw_of_16_bits(tmp_path, image):
    path = tmp_path / 'lzw.tif'
    deep = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    cv2.imwrite(str(path), deep, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    np.testing.assert_array_equal(open_slide(path).read(0, 0, 450, 310), image)
    start = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        place, count = page.dataoffsets[0], page.databytecounts[0]
    path.write_bytes(start[:place] + b'\xff' * count + start[place + count :])
    with pytest.raises(ValueError, match=r'lzw.tif: region x 0 to 9, y 0 to 9 of level 0 cannot be read'):
        open_slide(path).read(0, 0, 9, 9)


def test_decoded_segments_are_kept_within_bounds(tmp_path, image, monkeypatch):
    path = tmp_path / 'plain.tif'
    tifffile.imwrite(path, image, photometric='rgb', rowsperstrip=10, metadata=None)
    monkeypatch.setattr(tiff, '_CACHE_BYTES', 3 * 450 * 10 * 3)
    backend = tiff.TiffBackend(path)
    for _ in range(2):
        np.testing.assert_array_equal(backend.read_level(0, 0, 0, 450, 310), image)
        assert len(backend._segments) == 3
