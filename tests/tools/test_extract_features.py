"""Extraction from the command line, what it leaves, and what it says when it cannot."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import timm
import torch
from feature_files import draw_slides, tool
from small_runs import REPO, draw_patches

from histomm.evaluation.feature_store import read_features
from histomm.wsi.locks import file_lock

CONFIG = str(REPO / 'configs/mocov2/mocov2_r18_nct.py')
SMALL = [
    '--cfg-options',
    'default_hooks.knn.dataset.pipeline.1.scale=32',
    'default_hooks.knn.dataset.pipeline.2.crop_size=32',
]


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=18, size=32)


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    return draw_slides(tmp_path_factory.mktemp('slides'))


def test_a_folder_with_labels_and_a_list_of_it(patches, tmp_path):
    tool('extract_features', CONFIG, patches, '--labels', '--out', tmp_path / 'a.h5', '--workers', 0, *SMALL)
    tool('extract_features', CONFIG, patches / 'train_80k.txt', '--out', tmp_path / 'b.h5', '--workers', 0, *SMALL)
    a, b = read_features(tmp_path / 'a.h5'), read_features(tmp_path / 'b.h5')
    assert a.features.shape == (18, 512)
    assert [a.classes[label] for label in a.labels] == [name.partition('/')[0] for name in a.names]
    assert b.labels is None
    order = {name: row for row, name in enumerate(a.names)}
    rows = [order[name] for name in b.names]
    np.testing.assert_allclose(b.features, a.features[rows], rtol=1e-4, atol=1e-5)


def test_the_checkpoint_is_in_the_provenance(patches, tmp_path):
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'w.pth')
    tool(
        'extract_features', '--timm', 'resnet18', '--weights', tmp_path / 'w.pth', patches, '--out', tmp_path / 'a.h5',
        '--workers', 0, '--exclude', '*-0[1-9]*',
    )  # fmt: skip
    made = read_features(tmp_path / 'a.h5').provenance
    assert made['checkpoint_sha256'] == hashlib.sha256((tmp_path / 'w.pth').read_bytes()).hexdigest()
    assert {'commit', 'versions', 'machine'} <= set(made)


def test_slides_go_into_one_file_or_one_each(slides, tmp_path):
    words = ['--timm', 'resnet18', '--random', '--slides', slides, '--tiles', slides / 'tiles.parquet', '--workers', 0]
    tool('extract_features', *words, '--out', tmp_path / 'all.h5')
    tool('extract_features', *words, '--out', tmp_path / 'each')
    whole = read_features(tmp_path / 'all.h5')
    assert sorted(path.name for path in (tmp_path / 'each').iterdir()) == ['one.h5', 'two.h5']
    for number, name in enumerate(('one', 'two')):
        part = read_features(tmp_path / f'each/{name}.h5')
        rows = slice(24 * number, 24 * number + 24)
        np.testing.assert_array_equal(part.coords, whole.coords[rows])
        np.testing.assert_allclose(part.features, whole.features[rows], rtol=1e-4, atol=1e-5)
        assert set(part.names) == {f'{name}.tif'}


@pytest.mark.parametrize('workers', [0, 1])
def test_a_bad_slide_does_not_stop_the_others(slides, tmp_path, capsys, workers):
    folder = tmp_path / 'slides'
    shutil.copytree(slides, folder)
    (folder / 'one.tif').write_bytes((slides / 'one.tif').read_bytes()[:40])
    words = ['--timm', 'test_vit', '--random', '--slides', folder, '--tiles', folder / 'tiles.parquet']
    words += ['--workers', workers, '--out', tmp_path / 'each']
    with pytest.raises(SystemExit, match='extract_features: 1 slides failed; mend them and give the same command'):
        tool('extract_features', *words)
    assert re.search(
        r'^\S*one\.h5: failed, \S*one\.tif: cannot be opened as a slide: .*$', capsys.readouterr().err, re.M
    )
    assert [path.name for path in (tmp_path / 'each').glob('*.h5')] == ['two.h5']
    shutil.copy(slides / 'one.tif', folder)
    tool('extract_features', *words)
    assert sorted(path.name for path in (tmp_path / 'each').iterdir()) == ['one.h5', 'two.h5']


def test_a_file_is_written_by_one_process_only(slides, tmp_path, capsys):
    words = ['--timm', 'test_vit', '--random', '--slides', slides, '--tiles', slides / 'tiles.parquet', '--workers', 0]
    with file_lock(tmp_path / 'each/.one.h5.lock'):
        tool('extract_features', *words, '--out', tmp_path / 'each')
        assert re.search(r'one\.h5: left out, .*is held by process \d+', capsys.readouterr().out)
        assert [path.name for path in (tmp_path / 'each').glob('*.h5')] == ['two.h5']
    tool('extract_features', *words, '--out', tmp_path / 'each')
    assert 'two.h5: 24 features, 0 of them new' in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / 'each').iterdir()) == ['one.h5', 'two.h5']
    with file_lock(tmp_path / '.all.h5.lock'), pytest.raises(SystemExit, match='is held by process'):
        tool('extract_features', *words, '--out', tmp_path / 'all.h5')


def test_a_killed_process_goes_on_where_it_was(patches, tmp_path):
    """SIGKILL between two parts; the second run keeps what is there and ends with the bytes of an undisturbed one."""
    words = [CONFIG, patches, '--workers', '0', '--batch-size', '2', '--rows', '2', *SMALL]
    slow = (
        'import sys, time, runpy\n'
        'from histomm.evaluation.feature_store import FeatureWriter\n'
        'write = FeatureWriter.write\n'
        'FeatureWriter.write = lambda *args: (write(*args), time.sleep(0.3))\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    command = [sys.executable, '-c', f'import sys; sys.argv[:] = sys.argv[1:]\n{slow}']
    script = str(REPO / 'tools/extract_features.py')
    child = subprocess.Popen(
        [*command, script, *map(str, words), '--out', str(tmp_path / 'a.h5')],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    parts = tmp_path / '.a.h5.parts'
    try:
        for _ in range(1200):
            if len(list(parts.glob('*.npy'))) >= 3 or child.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob('*.npy')}
    assert 3 <= len(kept) < 9
    assert not (tmp_path / 'a.h5').exists()
    tool('extract_features', *words, '--out', tmp_path / 'a.h5')
    tool('extract_features', *words, '--out', tmp_path / 'b.h5')
    a, b = read_features(tmp_path / 'a.h5'), read_features(tmp_path / 'b.h5')
    np.testing.assert_array_equal(a.features, b.features)
    assert not parts.exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([CONFIG, 'none', '--out', 'a.h5'], 'none: no such folder or list of images'),
        (['none.py', '.', '--out', 'a.h5'], r'config none\.py: no such file'),
        ([CONFIG, REPO / 'configs', '--out', 'a.h5'], 'no images below'),
        (['--timm', 'resnet18', '.', '--out', 'a.h5'], 'resnet18: not on this disk'),
        ([CONFIG, '{patches}', '--out', 'a.npy'], r"--out a\.npy has the suffix '\.npy', expected one of \.h5"),
        (
            [CONFIG, '--slides', '.', '--tiles', 'none.parquet', '--out', 'a.h5'],
            r'tile table none\.parquet does not exist',
        ),
    ],
)
def test_extraction_says_what_is_wrong(words, message, patches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [patches if word == '{patches}' else word for word in words]
    with pytest.raises(SystemExit, match=f'extract_features: .*{message}'):
        tool('extract_features', *words)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([CONFIG, '--out', 'a.h5'], 'found 0 words before the data'),
        ([CONFIG, 'a', 'b', 'c', '--out', 'a.h5'], 'found 3 words before the data'),
        (['--timm', 'resnet18', 'x', 'data', '--out', 'a.h5'], 'expected nothing but DATA'),
        ([CONFIG, 'data', '--random', '--out', 'a.h5'], 'are for --timm'),
        ([CONFIG, '--slides', '.', '--out', 'a.h5'], '--slides and --tiles go together'),
        ([CONFIG, 'data', '--batch-size', 0, '--out', 'a.h5'], 'have to be 1 or more'),
        ([CONFIG, 'data', '--projection', '--out', 'a.h5'], '--projection needs CONFIG and CHECKPOINT'),
    ],
)
def test_extraction_refuses_arguments_that_do_not_fit(words, message, capsys):
    with pytest.raises(SystemExit):
        tool('extract_features', *words)
    assert message in capsys.readouterr().err
