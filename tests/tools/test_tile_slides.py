"""Tiles of slides: which, where, with which pixels; whatever is wrong with a slide, and however many work on them."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from small_slides import break_tile, draw_slide, slide_pixels, write_slide
from tool_modules import load_tool

from histomm.wsi.locks import file_lock
from histomm.wsi.reader import open_slide
from histomm.wsi.stores import read_store
from histomm.wsi.tile_table import read_tiles

PLAN = ['--size', '64', '--tissue-mpp', '4', '--min-piece', '100', '--min-hole', '100']


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/wsi/tile_slides.py')


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Three slides, one of them in a folder and without tissue; not to be changed."""
    root = tmp_path_factory.mktemp('slides')
    draw_slide(root / 'a.tif', 0)
    draw_slide(root / 'b.tif', 1, width=500)
    draw_slide(root / 'deep' / 'c.tif', 2, tissue=False)
    return root


def run(tool, slides, out, *options):
    """Exit status of the tool."""
    try:
        tool.main([str(slides), '--out', str(out), *PLAN, *map(str, options)])
    except SystemExit as error:
        return error.code
    return 0


def files(folder):
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
    assert not [name for name in found if '.partial' in name or name.endswith('.lock')]
    return found


def failures(out):
    with open(out / 'failures.csv', newline='') as file:
        return {row['slide']: row['reason'] for row in csv.DictReader(file)}


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


# ---- who works on it


@pytest.mark.parametrize('store', ['jpg', 'webdataset', 'hdf5'])
def test_same_bytes_with_two_workers(tool, slides, tmp_path, store):
    options = ['--store', store, '--filter', 'blur', '--max-tiles', 12]
    assert run(tool, slides, tmp_path / 'one', *options) == 0
    assert run(tool, slides, tmp_path / 'two', *options, '--workers', 2, '--start-method', 'fork') == 0
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


def test_same_bytes_with_spawned_workers(tool, slides, tmp_path):
    assert run(tool, slides, tmp_path / 'one', '--store', 'jpg') == 0
    assert run(tool, slides, tmp_path / 'two', '--store', 'jpg', '--workers', 2) == 0
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


@pytest.mark.parametrize(('how', 'workers'), [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)])
def test_goes_on_where_it_was_killed(tool, slides, tmp_path, repo, how, workers):
    options = ['--store', 'png', '--overlap', '48']
    assert run(tool, slides, tmp_path / 'whole', *options) == 0
    out = tmp_path / 'killed'
    command = [sys.executable, str(repo / 'tools/wsi/tile_slides.py'), str(slides), '--out', str(out), *PLAN, *options]
    command += ['--workers', str(workers)]
    pipes = dict(stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        while not [*out.glob('tiles/.*.partial/*')]:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        os.killpg(process.pid, how)
        said = process.stderr.read()
    assert process.returncode != 0
    assert len([*out.glob('slides/*.parquet')]) < 2
    if how == signal.SIGINT:
        assert 'tile_slides: interrupted; the same command goes on from here' in said
        assert 'Traceback' not in said
    assert run(tool, slides, out, *options) == 0
    shutil.rmtree(out / '.locks')
    assert files(out) == {name: data for name, data in files(tmp_path / 'whole').items() if '.locks' not in name}


def test_done_slides_are_not_done_again(tool, slides, tmp_path):
    assert run(tool, slides, tmp_path, '--store', 'png') == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.png')}
    assert run(tool, slides, tmp_path, '--store', 'png') == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.png')} == before


def test_slide_of_another_run_is_left_to_it(tool, slides, tmp_path, capsys):
    with file_lock(tmp_path / '.locks/b.tif.lock'):
        assert run(tool, slides, tmp_path) == 1
    said = capsys.readouterr()
    assert '3 slides: 2 done (1 without tissue), 0 failed, 1 under way in another run' in said.out
    assert f'busy: b.tif: {tmp_path}/.locks/b.tif.lock is held by process {os.getpid()}' in said.err
    assert read_tiles(tmp_path / 'tiles.parquet').slides == ['a.tif']
    assert run(tool, slides, tmp_path) == 0
    assert read_tiles(tmp_path / 'tiles.parquet').slides == ['a.tif', 'b.tif']


def test_two_runs_share_a_folder(tool, slides, tmp_path, repo):
    options = ['--store', 'jpg']
    out = tmp_path / 'two'
    command = [sys.executable, str(repo / 'tools/wsi/tile_slides.py'), str(slides), '--out', str(out), *PLAN, *options]
    runs = [subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert {process.wait() for process in runs} <= {0, 1}
    assert (out / 'slides/deep/c.tif.json').exists()
    assert run(tool, slides, tmp_path / 'one', *options) == 0
    assert run(tool, slides, out, *options) == 0
    assert files(out) == files(tmp_path / 'one')


def test_folder_of_other_settings_is_refused(tool, slides, tmp_path):
    assert run(tool, slides, tmp_path / 'out') == 0
    before = files(tmp_path / 'out')
    said = run(tool, slides, tmp_path / 'out', '--overlap', 3, '--filter', 'blur')
    assert 'made with other settings: filters {} there and' in said
    assert 'overlap 0 there and 3 now; repeat them or choose another folder' in said
    assert files(tmp_path / 'out') == before
    assert 'holds other files or is a file' in run(tool, slides, slides)


# ---- what is wrong with a slide


def test_bad_slides_do_not_stop_the_others(tool, slides, tmp_path, capsys):
    root, out = tmp_path / 'slides', tmp_path / 'out'
    shutil.copytree(slides, root)
    draw_slide(root / 'no_mpp.tif', mpp=None)
    (root / 'text.svs').write_text('no slide')
    draw_slide(root / 'broken.tif', 3)
    break_tile(root / 'broken.tif', 12)
    good = ['a.tif', 'b.tif', 'deep/c.tif']
    assert run(tool, root, out, '--store', 'jpg') == 1
    reasons = failures(out)
    assert sorted(reasons) == ['broken.tif', 'no_mpp.tif', 'text.svs']
    assert 'no_mpp.tif: the file has no pixel size; give mpp' in reasons['no_mpp.tif']
    assert 'text.svs: cannot be opened as a slide' in reasons['text.svs']
    assert 'broken.tif: region x' in reasons['broken.tif']
    said = capsys.readouterr()
    assert f'6 slides: 3 done (1 without tissue), 3 failed (see {out}/failures.csv); ' in said.out
    assert all(f'failed: {name}: {reason}' in said.err for name, reason in reasons.items())
    assert sorted(path.name for path in (out / 'tiles').iterdir()) == good[:2]
    # mended one by one
    (root / 'text.svs').unlink()
    (out / 'slides/text.svs.json').unlink()
    draw_slide(root / 'broken.tif', 3)
    (tmp_path / 'mpp.csv').write_text('slide,mpp\nno_mpp.tif,0.5\nnone.tif,0.5\n')
    assert run(tool, root, out, '--store', 'jpg', '--mpp-table', tmp_path / 'mpp.csv') == 0
    assert 'mpp.csv names 1 slides that are not here, such as none.tif' in capsys.readouterr().out
    assert not (out / 'failures.csv').exists()
    tiles = read_tiles(out / 'tiles.parquet')
    assert tiles.slides == ['a.tif', 'b.tif', 'broken.tif', 'no_mpp.tif']
    assert (tiles.slide == 'no_mpp.tif').sum() == (tiles.slide == 'a.tif').sum()


def test_broken_tiles_can_be_skipped(tool, tmp_path):
    path = draw_slide(tmp_path / 'slides' / 'a.tif', width=512, height=512)
    break_tile(path, 5)  # rows and columns 128 to 256, four tiles of 64
    options = ['--tissue', 'none', '--store', 'png', '--skip-broken', '--no-pictures']
    assert run(tool, tmp_path / 'slides', tmp_path / 'out', *options) == 0
    record = json.loads((tmp_path / 'out/slides/a.tif.json').read_text())
    assert record['dropped'] == {'unreadable': 4}
    tiles = read_tiles(tmp_path / 'out/tiles.parquet')
    lost = {(x, y) for x in (128, 192) for y in (128, 192)}
    assert (
        set(zip(tiles.x, tiles.y, strict=True)) == {(x, y) for x in range(0, 512, 64) for y in range(0, 512, 64)} - lost
    )


def test_coarse_slides_are_interpolated_on_request_alone(tool, slides, tmp_path):
    assert run(tool, slides / 'a.tif', tmp_path / 'fine', '--tile-mpp', 0.46) == 0  # 40x is not the same everywhere
    assert run(tool, slides / 'a.tif', tmp_path / 'out', '--tile-mpp', 0.25) == 1
    reason = failures(tmp_path / 'out')['a.tif']
    assert 'its pixels are 0.5 µm, so that tiles of 0.25 µm per px would be interpolated' in reason
    assert run(tool, slides / 'a.tif', tmp_path / 'more', '--tile-mpp', 0.25, '--upsample') == 0


def test_another_slide_of_the_same_name_is_noticed(tool, tmp_path):
    draw_slide(tmp_path / 'slides' / 'a.tif')
    assert run(tool, tmp_path / 'slides', tmp_path / 'out') == 0
    draw_slide(tmp_path / 'slides' / 'a.tif', 1, width=500)
    assert run(tool, tmp_path / 'slides', tmp_path / 'out') == 1
    assert 'its tiles are those of a slide with' in failures(tmp_path / 'out')['a.tif']
    (tmp_path / 'out/slides/a.tif.json').unlink()
    assert run(tool, tmp_path / 'slides', tmp_path / 'out') == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system that can grow."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def resize(size, how='remount,'):
        command = ['mount', '-t', 'tmpfs', '-o', f'{how}size={size}', 'tmpfs', str(folder)]
        return subprocess.run(command, capture_output=True).returncode

    if shutil.which('mount') is None or resize('400k', ''):
        pytest.skip('mounting a file system is not permitted here')
    yield folder, resize
    with contextlib.suppress(OSError):
        subprocess.run(['umount', '-l', str(folder)], check=False)


@pytest.mark.parametrize('store', ['png', 'hdf5', 'webdataset'])
def test_full_disk(tool, slides, tmp_path, small_disk, capsys, store):
    disk, resize = small_disk
    options = ['--store', store, '--overlap', 32, '--jpeg-quality', 100]
    assert run(tool, slides, disk / 'out', *options) == 1
    said = capsys.readouterr()
    assert 'No space left on device' in said.err
    assert '0 done' in said.out
    assert '1 failed' in said.out
    assert '2 not begun' in said.out
    assert not [path for path in (disk / 'out').rglob('*') if path.name.endswith(('.partial', '.tif.h5', '.tar'))]
    assert resize('20m') == 0
    assert run(tool, slides, disk / 'out', *options) == 0
    assert run(tool, slides, tmp_path / 'whole', *options) == 0
    assert files(disk / 'out') == files(tmp_path / 'whole')


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
