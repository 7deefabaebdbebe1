"""Features do not depend on workers, batches of other parts or interruptions, nor on where their pixels are stored."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from histomm.evaluation.encoder import Encoder, centre_crop
from histomm.evaluation.extraction import Loading, extract, images_source, subset, tiles_source
from histomm.evaluation.feature_store import FeatureWriter, read_features
from histomm.wsi.tile_table import tiles_of_slide

SIZE = 32


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    return Encoder(network, centre_crop(SIZE), settings={'model': 'small'})


@pytest.fixture(scope='module')
def slide(tmp_path_factory):
    """A slide of 7 × 5 tiles as TIFF without loss, the same tiles as images, and where they lie."""
    root = tmp_path_factory.mktemp('slide')
    pixels = np.random.default_rng(0).integers(0, 256, (5 * SIZE, 7 * SIZE, 3)).astype(np.uint8)
    (root / 'slides').mkdir()
    tifffile.imwrite(
        root / 'slides/one.tif', pixels, tile=(64, 64), photometric='rgb', resolution=(20000, 20000),
        resolutionunit='CENTIMETER',
    )  # fmt: skip
    places = [(x * SIZE, y * SIZE) for y in range(5) for x in range(7)]
    for number, (x, y) in enumerate(places):
        folder = root / 'images' / 'AB'[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[y : y + SIZE, x : x + SIZE]).save(folder / f'{number:02d}.png')
    tiles = tiles_of_slide('one.tif', np.array(places), SIZE, 0.5, np.ones(35), {'how': 'test'})
    return root, tiles


def run(encoder, source, path, **options):
    extract(encoder, source, path, Loading(**{'batch_size': 4, 'num_workers': 0, 'rows': 8, **options}), {})
    return read_features(path)


def test_tiles_of_a_slide_and_the_same_pixels_as_images_have_the_same_features(encoder, slide, tmp_path):
    root, tiles = slide
    as_images = run(encoder, images_source(root / 'images', encoder.steps, with_labels=True), tmp_path / 'i.h5')
    as_tiles = run(encoder, tiles_source(root / 'slides', tiles, encoder.steps), tmp_path / 't.h5')
    assert as_images.names.tolist()[:2] == ['A/00.png', 'A/02.png']
    order = [int(name[2:4]) for name in as_images.names]
    np.testing.assert_allclose(as_images.features, as_tiles.features[order], rtol=1e-5, atol=1e-6)
    assert as_images.labels.tolist() == [number % 2 for number in order]
    assert as_images.classes == ('A', 'B')
    assert set(as_tiles.names) == {'one.tif'}
    np.testing.assert_array_equal(as_tiles.coords, np.stack((tiles.x, tiles.y), axis=1))
    assert len(np.unique(as_tiles.features, axis=0)) == 35


def test_features_are_those_of_the_network_one_by_one(encoder, slide, tmp_path):
    root, _ = slide
    source = images_source(root / 'images', encoder.steps)
    found = run(encoder, source, tmp_path / 'f.h5').features
    for row, name in enumerate(source.names):
        image = torch.from_numpy(np.array(Image.open(root / 'images' / name))).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = encoder.network((image - encoder.mean) / encoder.std).mean(dim=(2, 3))
        np.testing.assert_allclose(found[row], expected[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', ['images', 'tiles'])
def test_workers_change_no_bit(encoder, slide, tmp_path, kind):
    root, tiles = slide
    files = []
    for workers in (0, 2):
        if kind == 'images':
            source = images_source(root / 'images', encoder.steps)
        else:
            source = tiles_source(root / 'slides', tiles, encoder.steps)
        files.append(run(encoder, source, tmp_path / f'{workers}.h5', num_workers=workers))
    assert np.array_equal(files[0].features, files[1].features)
    assert np.array_equal(files[0].names, files[1].names)


class Killed(Exception):
    pass


def test_an_interrupted_extraction_goes_on_and_ends_with_the_same_bits(encoder, slide, tmp_path, monkeypatch):
    root, _ = slide
    source = images_source(root / 'images', encoder.steps, with_labels=True)
    whole = run(encoder, source, tmp_path / 'whole.h5')
    write, written = FeatureWriter.write, []

    def die_later(self, start, features):
        if len(written) == 2:
            raise Killed
        written.append(start)
        write(self, start, features)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, 'write', die_later)
        with pytest.raises(Killed):
            run(encoder, source, tmp_path / 'f.h5')
    assert written == [0, 8]
    assert not (tmp_path / 'f.h5').exists()
    done = extract(encoder, source, tmp_path / 'f.h5', Loading(4, 0, rows=8), {})
    assert done == {'total': 35, 'new': 19}
    resumed = read_features(tmp_path / 'f.h5')
    assert np.array_equal(resumed.features, whole.features)
    assert resumed.settings == whole.settings
    assert (tmp_path / 'f.h5').read_bytes() == (tmp_path / 'whole.h5').read_bytes()


def test_another_model_or_other_images_are_refused(encoder, slide, tmp_path):
    root, _ = slide
    source = images_source(root / 'images', encoder.steps)
    run(encoder, source, tmp_path / 'f.h5')
    other = Encoder(torch.nn.Conv2d(3, 8, 5), centre_crop(SIZE), settings={'model': 'small'})
    with pytest.raises(ValueError, match=r'was made with weights = .* cannot be mixed'):
        run(other, source, tmp_path / 'f.h5')
    fewer = images_source(root / 'images', encoder.steps, exclude=['A/*'])
    with pytest.raises(ValueError, match='was made with number = 35, this run has 17'):
        run(encoder, fewer, tmp_path / 'f.h5')
    with pytest.raises(ValueError, match="was made with precision = 'float32', this run has 'bfloat16'"):
        run(encoder, source, tmp_path / 'f.h5', dtype=torch.bfloat16)


def test_pixel_size_is_by_path_or_name_and_decides_the_features(encoder, slide, tmp_path):
    root, tiles = slide
    bare = tmp_path / 'slides/deep/bare.tif'
    bare.parent.mkdir(parents=True)
    tifffile.imwrite(bare, tifffile.imread(root / 'slides/one.tif'), tile=(64, 64), photometric='rgb')
    places = np.stack((tiles.x, tiles.y), axis=1)[:4]
    tiles = tiles_of_slide('deep/bare.tif', places, SIZE // 2, 0.5, np.ones(4))

    def features(path, mpp):
        return run(encoder, tiles_source(tmp_path / 'slides', tiles, encoder.steps, mpp), path).features

    by_path, by_name = (features(tmp_path / f'{len(key)}.h5', {key: 0.5}) for key in ('deep/bare.tif', 'bare.tif'))
    assert np.array_equal(by_path, by_name)
    with pytest.raises(ValueError, match=r'8\.h5 was made with names = .* cannot be mixed'):
        features(tmp_path / '8.h5', {'bare.tif': 0.25})


def test_size_of_the_tiles_of_one_slide_is_remembered(encoder, slide, tmp_path):
    root, tiles = slide
    rows = np.arange(4)
    other = tiles_of_slide('one.tif', np.stack((tiles.x, tiles.y), axis=1), SIZE // 2, 0.5, np.ones(35), tiles.settings)
    run(encoder, subset(tiles_source(root / 'slides', tiles, encoder.steps), rows), tmp_path / 'f.h5')
    with pytest.raises(ValueError, match=r'was made with names = .* cannot be mixed'):
        run(encoder, subset(tiles_source(root / 'slides', other, encoder.steps), rows), tmp_path / 'f.h5')


def test_rows_of_one_slide(encoder, slide, tmp_path):
    root, tiles = slide
    source = tiles_source(root / 'slides', tiles, encoder.steps)
    whole = run(encoder, source, tmp_path / 'whole.h5')
    rows = np.array([3, 30, 7])
    part = run(encoder, subset(source, rows), tmp_path / 'part.h5')
    np.testing.assert_allclose(part.features, whole.features[rows], rtol=1e-6)
    np.testing.assert_array_equal(part.coords, whole.coords[rows])
    assert part.settings['names'] != whole.settings['names']


def test_errors_name_the_file(encoder, slide, tmp_path):
    root, tiles = slide
    with pytest.raises(FileNotFoundError, match='none: no such folder or list of images'):
        images_source('none', encoder.steps)
    with pytest.raises(FileNotFoundError, match=r'1 of 1 slides of the tile table are not below .*, such as one\.tif'):
        tiles_source(root / 'images', tiles, encoder.steps)
    with pytest.raises(ValueError, match='the tile table has no tiles'):
        tiles_source(root / 'slides', tiles.select(np.zeros(35, bool)), encoder.steps)
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/broken.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    with pytest.raises(ValueError, match=r'broken\.png: cannot be read'):
        run(encoder, images_source(tmp_path / 'bad', encoder.steps), tmp_path / 'f.h5')
    bare = Encoder(encoder.network, [])
    Image.new('RGB', (20, 20)).save(root / 'images/A/odd.png')
    try:
        with pytest.raises(ValueError, match='expected one; bring them to one size'):
            run(bare, images_source(root / 'images', bare.steps), tmp_path / 'g.h5', batch_size=64)
    finally:
        (root / 'images/A/odd.png').unlink()
