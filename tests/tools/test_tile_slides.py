"""Tiles of slides: which, where, with which pixels."""

import json
import shutil

import cv2
import numpy as np
import pytest
from small_slides import slide_pixels, write_slide
from tile_runs import draw_slides, run
from tool_modules import load_tool

from histomm.wsi.reader import open_slide
from histomm.wsi.stores import read_store
from histomm.wsi.tile_table import read_tiles


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/wsi/tile_slides.py')


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Not to be changed."""
    return draw_slides(tmp_path_factory.mktemp('slides'))


# ---- which tiles


def test_table_of_all_that_is_tissue(tool, slides, tmp_path, capsys):
    assert run(tool, slides, tmp_path, '--min-foreground', 0.4) == 0
    tiles = read_tiles(tmp_path / 'tiles.parquet')
    assert tiles.slides == ['a.tif', 'b.tif']
    assert tiles.settings == json.loads((tmp_path / 'settings.json').read_text())
    for name, part in tiles.by_slide():
        with open_slide(slides / name) as slide:
            width, height = slide.size
        mask = cv2.imread(str(tmp_path / 'masks' / f'{name}.png'), cv2.IMREAD_GRAYSCALE) > 0
        mask = mask.repeat(8, 0).repeat(8, 1)  # 4 um of 0.5 um
        places = [(x, y) for y in range(0, height - 63, 64) for x in range(0, width - 63, 64)]
        shares = {(x, y): mask[y : y + 64, x : x + 64].mean() for x, y in places}
        expected = {place: share for place, share in shares.items() if share >= 0.4}
        found = dict(zip(zip(part.x.tolist(), part.y.tolist(), strict=True), part.foreground.tolist(), strict=True))
        assert list(found) == list(expected)
        assert found == pytest.approx(expected)
        assert set(part.size) == {64}
        assert set(part.mpp) == {0.5}
        assert 0 < len(expected) < len(places)
        pictured = cv2.imread(str(tmp_path / 'pictures' / f'{name}.jpg'))
        assert pictured.shape == (height, width, 3)
    assert not (tmp_path / 'tiles').exists()
    assert not (tmp_path / 'failures.csv').exists()
    said = capsys.readouterr().out.splitlines()[-1]
    assert (
        said == f'3 slides: 3 done (1 without tissue), 0 failed; {len(tiles)} tiles, listed in {tmp_path}/tiles.parquet'
    )


@pytest.mark.parametrize('store', ['png', 'hdf5'])
def test_pixels_are_those_of_the_slide(tool, slides, tmp_path, store):
    assert run(tool, slides, tmp_path, '--store', store, '--tile-mpp', 0.7, '--overlap', 16, '--no-pictures') == 0
    for name, part in read_tiles(tmp_path / 'tiles.parquet').by_slide():
        stored = {(x, y): tile for x, y, tile in read_store(tmp_path / 'tiles' / (name + '.h5' * (store == 'hdf5')))}
        assert set(stored) == set(zip(part.x.tolist(), part.y.tolist(), strict=True))
        with open_slide(slides / name) as slide:
            for (x, y), tile in list(stored.items())[::7]:
                np.testing.assert_array_equal(tile, slide.read(x, y, 64, 64, 0.7))
    assert not (tmp_path / 'pictures').exists()


def test_beyond_the_border_is_white(tool, slides, tmp_path):
    assert run(tool, slides, tmp_path, '--store', 'png', '--partial', '--tissue', 'none', '--min-foreground', 0) == 0
    stored = {(x, y): tile for x, y, tile in read_store(tmp_path / 'tiles' / 'b.tif')}
    assert set(stored) == {(x, y) for x in range(0, 500, 64) for y in range(0, 520, 64)}
    corner = stored[448, 512]  # the slide ends at 500, 520
    assert (corner[8:] == 255).all()
    assert (corner[:, 52:] == 255).all()
    assert (corner[:8, :52] == 242).all()


def test_limit_is_drawn_by_name_and_seed(tool, slides, tmp_path):
    assert run(tool, slides, tmp_path / 'all') == 0
    assert run(tool, slides, tmp_path / 'some', '--max-tiles', 5) == 0
    assert run(tool, slides / 'b.tif', tmp_path / 'alone', '--max-tiles', 5) == 0
    assert run(tool, slides, tmp_path / 'other', '--max-tiles', 5, '--seed', 1) == 0
    every, some, alone, other = (
        {name: set(zip(part.x, part.y, strict=True)) for name, part in read_tiles(out / 'tiles.parquet').by_slide()}
        for out in (tmp_path / name for name in ('all', 'some', 'alone', 'other'))
    )
    assert {name: len(tiles) for name, tiles in some.items()} == {'a.tif': 5, 'b.tif': 5}
    assert all(some[name] < every[name] for name in some)
    assert alone == {'b.tif': some['b.tif']}
    assert other != some


def test_filters_drop_and_count(tool, tmp_path, capsys):
    pixels = slide_pixels(0, 512, 512)
    pixels[:, :, :] = pixels[200:201, 200:201]  # one colour: out of focus everywhere
    pixels[:, 256:] = slide_pixels(0, 900, 900)[200:712, 300:556]  # tissue
    pixels[:128, 256:] = (20, 130, 90)  # green ink
    write_slide(tmp_path / 'slides' / 'a.tif', pixels)
    options = ['--tissue', 'none', '--filter', 'pen', 'blur=10', 'fat']
    assert run(tool, tmp_path / 'slides', tmp_path / 'out', *options) == 0
    record = json.loads((tmp_path / 'out/slides/a.tif.json').read_text())
    assert record['dropped'] == {'pen': 8, 'blur': 32}
    assert (record['grid'], record['foreground'], record['tiles']) == (64, 64, 24)
    assert 'dropped: 32 blur, 8 pen' in capsys.readouterr().out
    tiles = read_tiles(tmp_path / 'out/tiles.parquet')
    assert set(zip(tiles.x, tiles.y, strict=True)) == {(x, y) for x in range(256, 512, 64) for y in range(128, 512, 64)}
    # a limit counts what the filters leave
    assert run(tool, tmp_path / 'slides', tmp_path / 'ten', *options, '--max-tiles', 10) == 0
    some = read_tiles(tmp_path / 'ten/tiles.parquet')
    assert len(some) == 10
    assert set(zip(some.x, some.y, strict=True)) < set(zip(tiles.x, tiles.y, strict=True))


def test_leaves_out_participants(tool, slides, tmp_path, capsys):
    for name in ('TCGA-A1-A0SK-01Z.tif', 'TCGA-A2-A0T2-01Z.tif'):
        (tmp_path / 'slides').mkdir(exist_ok=True)
        shutil.copy(slides / 'a.tif', tmp_path / 'slides' / name)
    (tmp_path / 'test.txt').write_text('TCGA-A2-A0T2\n')
    assert run(tool, tmp_path / 'slides', tmp_path / 'out', '--exclude-patients', tmp_path / 'test.txt') == 0
    assert read_tiles(tmp_path / 'out/tiles.parquet').slides == ['TCGA-A1-A0SK-01Z.tif']
    assert '1 of 2 slides are left out' in capsys.readouterr().out
    refused = run(tool, tmp_path / 'slides', tmp_path / 'out')
    assert "excluded ['TCGA-A2-A0T2'] there and [] now" in refused
    (tmp_path / 'test.txt').write_text('TCGA-A2-A0T2\nTCGA-A1-A0SK\n')
    refused = run(tool, tmp_path / 'slides', tmp_path / 'none', '--exclude-patients', tmp_path / 'test.txt')
    assert 'nothing is left to tile' in refused


# ---- the command line


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--size', '0'], 'size is 0, expected at least 1 px'),
        (['--overlap', '64'], 'overlap is 64, expected 0 to 63 px'),
        (['--filter', 'pens'], '--filter pens: expected one of fat, pen, blur'),
        (['--filter', 'blur=much'], '--filter blur=much: expected one of fat, pen, blur, alone or as name=number'),
        (['--filter', 'pen=2'], 'limit of the filter pen is 2.0, expected 0 to 1'),
        (['--invert'], '--hue-unit and --invert belong to --tissue hsv, found --tissue otsu'),
        (['--min-foreground', '2'], 'min_foreground is 2.0, expected 0 to 1'),
        (['--max-tiles', '0'], 'max_tiles is 0, expected at least 1'),
        (['--workers', '0'], '--workers is 0, expected at least 1'),
        (['--jpeg-quality', '0'], 'jpeg_quality are 0, 10000 and 0, expected'),
        (['--tissue-mpp', '0'], 'tissue_mpp, min_piece and min_hole are 0.0'),
        (['--mpp-table', '/none.csv'], 'No such file or directory'),
    ],
)
def test_bad_options(tool, slides, tmp_path, options, message):
    assert message in run(tool, slides, tmp_path / 'out', *options)
    assert not (tmp_path / 'out').exists()


def test_no_slides(tool, tmp_path):
    assert 'folder of slides not found' in run(tool, tmp_path / 'none', tmp_path / 'out')
    assert 'no slide in it or below' in run(tool, tmp_path, tmp_path / 'out')


@pytest.mark.parametrize('tissue', [['clam'], ['hsv'], ['hsv', '--hue-unit', 'unit', '--invert']])
def test_other_finders_of_tissue(tool, slides, tmp_path, tissue):
    assert run(tool, slides / 'a.tif', tmp_path / 'out', '--tissue', *tissue) == 0
    mask = cv2.imread(str(tmp_path / 'out/masks/a.tif.png'), cv2.IMREAD_GRAYSCALE)
    inverted = '--invert' in tissue  # glass is no part of the box of unit hue either, so that all is tissue
    assert mask.mean() / 255 == pytest.approx(1 if inverted else np.pi * 0.16, abs=0.04)
