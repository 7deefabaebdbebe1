"""Tiles of slides are the same however many work on them, are interrupted, or meet a bad slide or a full disk."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from small_slides import break_tile, draw_slide
from tile_runs import PLAN, draw_slides, failures, files, run
from tool_modules import load_tool

from histomm.wsi.locks import file_lock
from histomm.wsi.tile_table import read_tiles


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/wsi/tile_slides.py')


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    """Not to be changed."""
    return draw_slides(tmp_path_factory.mktemp('slides'))


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
    # a shell starts what runs in its background deaf to SIGINT, and that is inherited
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=heard) as process:
        while not [*out.glob('tiles/.*.partial/*')]:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        os.killpg(process.pid, how)
        said = process.stderr.read()
    assert process.returncode != 0
    assert len([*out.glob('slides/*.parquet')]) < 2
    if how == signal.SIGINT:
        assert 'tile_slides: interrupted; the same command goes on from here' in said
        assert workers > 1 or 'Traceback' not in said  # a process that is still starting may print one
    assert run(tool, slides, out, *options) == 0
    assert files(out) == files(tmp_path / 'whole')


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
    (root / 'empty.tif').touch()
    draw_slide(root / 'broken.tif', 3)
    break_tile(root / 'broken.tif', 12)
    good = ['a.tif', 'b.tif', 'deep/c.tif']
    assert run(tool, root, out, '--store', 'jpg') == 1
    reasons = failures(out)
    assert sorted(reasons) == ['broken.tif', 'empty.tif', 'no_mpp.tif', 'text.svs']
    assert 'no_mpp.tif: the file has no pixel size; give mpp' in reasons['no_mpp.tif']
    assert 'text.svs: cannot be opened as a slide' in reasons['text.svs']
    assert 'copy it anew if it is not whole, or convert it' in reasons['text.svs']
    assert 'empty.tif: is empty, expected a slide; copy it anew or remove it' in reasons['empty.tif']
    assert 'broken.tif: region x' in reasons['broken.tif']
    said = capsys.readouterr()
    assert f'7 slides: 3 done (1 without tissue), 4 failed (see {out}/failures.csv); ' in said.out
    assert all(f'failed: {name}: {reason}' in said.err for name, reason in reasons.items())
    assert sorted(path.name for path in (out / 'tiles').iterdir()) == good[:2]
    # mended one by one
    for name in ('text.svs', 'empty.tif'):
        (root / name).unlink()
        (out / f'slides/{name}.json').unlink()
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


def test_mask_and_picture_of_a_slide_with_broken_tiles(tool, tmp_path):
    """They look at all of the slide, which has one level only."""
    path = draw_slide(tmp_path / 'slides' / 'a.tif', width=1024, height=512)
    assert run(tool, tmp_path / 'slides', tmp_path / 'whole') == 0
    break_tile(path, 2 * 8 + 3)  # x 384 to 512, y 256 to 384, in the midst of the tissue
    assert run(tool, tmp_path / 'slides', tmp_path / 'strict') == 1
    assert run(tool, tmp_path / 'slides', tmp_path / 'out', '--skip-broken', '--store', 'png') == 0
    found, whole = (read_tiles(tmp_path / name / 'tiles.parquet') for name in ('out', 'whole'))
    found, whole = (set(zip(table.x, table.y, strict=True)) for table in (found, whole))
    lost = {(x, y) for x in (384, 448) for y in (256, 320)}
    near = {(x, y) for x, y in whole if 256 <= x < 640 and 128 <= y < 512}
    assert lost <= near
    assert whole - near <= found <= whole - lost
    assert (tmp_path / 'out/pictures/a.tif.jpg').is_file()


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
