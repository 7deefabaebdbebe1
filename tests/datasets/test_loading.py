"""Reading images of every kind; truth is the array that was written."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from histomm.datasets.transforms import LoadPatch, UnreadableImageError, read_image


@pytest.fixture(scope='module')
def image(tissue):
    return np.ascontiguousarray(tissue[:50, :70])


def write_16bit(path, rgb):
    if path.suffix == '.tif':
        tifffile.imwrite(path, rgb, photometric='rgb' if rgb.ndim == 3 else 'minisblack')
    else:
        cv2.imwrite(str(path), rgb if rgb.ndim == 2 else rgb[..., ::-1])


@pytest.mark.parametrize('name', ['a.tif', 'a.TIFF', 'a.png', 'a.BMP', 'spaced name.png', 'ünïcode.png'])
def test_lossless_kinds_come_back_exactly(tmp_path, image, name):
    Image.fromarray(image).save(tmp_path / name)
    loaded = read_image(str(tmp_path / name))
    np.testing.assert_array_equal(loaded, image)
    assert loaded.flags.c_contiguous


@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'tiff_jpeg'])
def test_compressed_tiff(tmp_path, image, compression):
    Image.fromarray(image).save(tmp_path / 'a.tif', compression=compression)
    expected = np.asarray(Image.open(tmp_path / 'a.tif').convert('RGB'))
    np.testing.assert_array_equal(read_image(str(tmp_path / 'a.tif')), expected)


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'subsampling': 0}])
def test_jpeg_is_as_pillow_decodes_it(tmp_path, image, options):
    Image.fromarray(image).save(tmp_path / 'a.jpg', quality=95, **options)
    expected = np.asarray(Image.open(tmp_path / 'a.jpg')).astype(int)
    assert np.abs(read_image(str(tmp_path / 'a.jpg')) - expected).max() <= 2


def test_kind_is_told_from_the_content_and_exif_is_left_alone(tmp_path, image):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / 'a.jpeg', quality=95, exif=exif)
    (tmp_path / 'a.jpeg').rename(tmp_path / 'a.png')
    assert read_image(str(tmp_path / 'a.png')).shape == image.shape


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('grey', [False, True])
def test_16_bits_are_divided_by_257(tmp_path, suffix, grey):
    values = np.random.default_rng(0).integers(0, 65536, (20, 30) if grey else (20, 30, 3)).astype(np.uint16)
    values.flat[:4] = [0, 65535, 128, 129]
    write_16bit(tmp_path / f'a{suffix}', values)
    expected = np.round(values / 257).astype(np.uint8)
    loaded = read_image(str(tmp_path / f'a{suffix}'))
    np.testing.assert_array_equal(loaded, np.stack([expected] * 3, -1) if grey else expected)


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
def test_alpha_is_composited_over_white(tmp_path, image, name):
    alpha = np.random.default_rng(0).integers(0, 256, image.shape[:2]).astype(np.uint8)
    alpha[:2, :2] = [[0, 255], [255, 0]]
    Image.fromarray(np.dstack([image, alpha])).save(tmp_path / name)
    share = alpha[..., None] / 255
    expected = np.round(image * share + 255 * (1 - share))
    assert np.abs(read_image(str(tmp_path / name)) - expected).max() <= 0.5 + 1e-6
    Image.fromarray(np.dstack([image, np.full_like(alpha, 255)])).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), image)


@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.bmp'])
@pytest.mark.parametrize('mode', ['L', '1', 'P'])
def test_grey_binary_and_palette(tmp_path, image, name, mode):
    source = Image.fromarray(image).convert(mode)
    source.save(tmp_path / name)
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), np.asarray(source.convert('RGB')))


@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.bmp'])
def test_one_pixel(tmp_path, name):
    Image.fromarray(np.array([[[9, 8, 7]]], np.uint8)).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), [[[9, 8, 7]]])
    with pytest.raises(UnreadableImageError, match=f'{name}: image of 1×1 pixels, expected at least min_size=2'):
        LoadPatch(min_size=2)(dict(img_path=str(tmp_path / name)))


@pytest.mark.parametrize('share', [0.0, 0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize('kind', ['a.jpg', 'progressive.jpg', 'a.png', 'a.bmp', 'a.tif', 'lzw.tif', '16.tif', '16.png'])
def test_truncated_files_are_named(tmp_path, image, kind, share):
    path = tmp_path / kind
    if kind.startswith('16'):
        write_16bit(path, image.astype(np.uint16) * 200)
    elif kind == 'lzw.tif':
        Image.fromarray(image).save(path, compression='tiff_lzw')
    else:
        options = {'progressive': True} if kind.startswith('progressive') else {}
        Image.fromarray(image).save(path, **options)
    read_image(str(path))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UnreadableImageError, match=kind):
        read_image(str(path))


def test_end_mark_of_a_thumbnail_does_not_count(tmp_path, image):
    Image.fromarray(image[:8, :8]).save(tmp_path / 'small.jpg')
    Image.fromarray(image).save(tmp_path / 'a.jpg', comment=(tmp_path / 'small.jpg').read_bytes())
    data = (tmp_path / 'a.jpg').read_bytes()
    assert data.count(b'\xff\xd9') == 2
    read_image(str(tmp_path / 'a.jpg'))
    (tmp_path / 'a.jpg').write_bytes(data[:-40])
    with pytest.raises(UnreadableImageError, match='truncated'):
        read_image(str(tmp_path / 'a.jpg'))


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_other_pixels_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', np.full((4, 4), 70000, dtype))
    with pytest.raises(UnreadableImageError, match=r'a\.tif.*pixels'):
        read_image(str(tmp_path / 'a.tif'))


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UnreadableImageError, match=r'gone\.png: cannot be opened'):
        read_image(str(tmp_path / 'gone.png'))
    (tmp_path / 'a.png').write_text('hello')
    with pytest.raises(UnreadableImageError, match='unknown kind of file'):
        read_image(str(tmp_path / 'a.png'))


def test_real_files_are_as_pillow_reads_them(real_data):
    kinds = ('nct_crc/**/*.png', 'tcga_luadlusc/**/*.jpg', 'monuseg/**/*.tif', 'ucsb/**/*.tif', 'glas/**/*[0-9].bmp')
    for path in [next(real_data.glob(kind)) for kind in (*kinds, 'dsb2018_he/**/images/*.png')]:
        expected = np.asarray(Image.open(path).convert('RGB')).astype(int)
        assert np.abs(read_image(str(path)) - expected).max() <= 2, path
