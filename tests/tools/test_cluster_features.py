"""Clusters, layouts and retrieval from the command line, and the files that they leave."""

import json
import sys

import cv2
import numpy as np
import pytest
from feature_files import draw_slides, tool, write_features
from small_runs import draw_patches

RNG = np.random.default_rng(0)
LABELS = np.arange(80) % 2
FEATURES = (RNG.normal(0, 1, (80, 4)) + 2 * np.eye(2, 4)[LABELS]).astype(np.float32)
NAMES = [f'p{row // 4}/{row}.png' for row in range(80)]


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=18, size=32)


@pytest.fixture(scope='module')
def slides(tmp_path_factory):
    return draw_slides(tmp_path_factory.mktemp('slides'))


@pytest.fixture
def slide_features(slides, tmp_path):
    """Features that tell the dark from the light half."""
    places = [(x, y) for y in range(0, 128, 32) for x in range(0, 192, 32)] * 2
    coords = np.array(places)
    features = np.stack((coords[:, 0] >= 96, np.arange(48) / 1000), axis=1).astype(np.float32)
    return write_features(tmp_path / 's.h5', features, ['one.tif'] * 24 + ['two.tif'] * 24, coords)


def test_clusters_are_painted_where_they_lie(slides, slide_features, tmp_path):
    words = [
        slide_features,
        '--ks',
        2,
        '--slides',
        slides,
        '--tiles',
        slides / 'tiles.parquet',
        '--out',
        tmp_path / 'out',
    ]
    tool('cluster_features', *words)
    out = tmp_path / 'out'
    record = json.loads((out / 'clusters.json').read_text())
    assert (record['k'], record['elbow'], sorted(record['sizes'])) == (2, None, [24, 24])
    assert record['explained_variance'][0] > 0.99
    labels = np.load(out / 'clusters.npz')['labels']
    for name, side in (('one', 32), ('two', 32)):  # 16 px at twice the size of a pixel are 32 of level 0
        collection = json.loads((out / f'{name}.tif.geojson').read_text())
        assert collection['type'] == 'FeatureCollection'
        assert len(collection['features']) == 24
        for feature in collection['features']:
            ring = np.array(feature['geometry']['coordinates'][0])
            assert np.ptp(ring, axis=0).tolist() == [side, side]
            dark = labels[0] if ring[:, 0].max() <= 96 else 1 - labels[0]
            assert feature['properties']['classification']['name'] == f'cluster {dark}'
            assert feature['properties']['objectType'] == 'detection'
        assert cv2.imread(str(out / f'{name}.tif.png')) is not None
    assert cv2.imread(str(out / 'nearest.png')).shape[1] > 300
    assert not (out / 'curve.png').exists(), 'one number makes no curve'


def test_clustering_again_gives_the_same(slides, slide_features, tmp_path):
    for name in ('a', 'b'):
        tool('cluster_features', slide_features, '--ks', 2, 3, 4, '--seed', 5, '--out', tmp_path / name)
    a, b = (np.load(tmp_path / f'{name}/clusters.npz') for name in 'ab')
    assert sorted(a) == ['centres', 'coords', 'distances', 'labels', 'names']
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert cv2.imread(str(tmp_path / 'a/curve.png')) is not None
    tool('cluster_features', slide_features, '--ks', 2, 3, 4, '--k', 4, '--out', tmp_path / 'c')
    assert len(np.load(tmp_path / 'c/clusters.npz')['centres']) == 4


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--ks', 3, 2], 'expected numbers above 0, increasing'),
        (['--ks', 2, 3, 4, '--k', 5], 'expected one of --ks'),
        (['--ks', 2, 3], 'none is an elbow'),
        (['--ks', 2, '--slides', '.'], '--slides and --tiles go together'),
    ],
)
def test_clustering_refuses_arguments_that_do_not_fit(words, message, capsys):
    with pytest.raises(SystemExit):
        tool('cluster_features', 'f.h5', *words, '--out', 'x')
    assert message in capsys.readouterr().err


def test_tiles_that_the_table_lacks_are_refused(slides, tmp_path):
    path = write_features(
        tmp_path / 's.h5', np.eye(3, dtype=np.float32), ['one.tif'] * 3, np.array([[0, 0], [1, 0], [32, 0]])
    )
    words = ['--ks', 2, '--slides', slides, '--tiles', slides / 'tiles.parquet', '--out', tmp_path / 'out']
    with pytest.raises(SystemExit, match=r"lacks 1 of 3 tiles of the features, such as \('one.tif', 1, 0\)"):
        tool('cluster_features', path, *words)


@pytest.mark.parametrize('method', ['tsne', 'pca'])
def test_features_are_laid_out_in_the_plane(method, tmp_path, capsys):
    path = write_features(tmp_path / 'f.h5', FEATURES, NAMES, labels=LABELS, classes=('a', 'b'))
    tool('analysis/embed_features', path, '--method', method, '--max', 60, '--out', tmp_path / 'e.png')
    assert '60 of 80 rows' in capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / 'e.png'))
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert len(colours) > 10
    with pytest.raises(SystemExit, match=r'expected one of \.png'):
        tool('analysis/embed_features', path, '--out', tmp_path / 'e.txt')


def test_without_umap_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'umap', None)
    path = write_features(tmp_path / 'f.h5', FEATURES, NAMES)
    with pytest.raises(SystemExit, match='run `pip install umap-learn`, or take tsne'):
        tool('analysis/embed_features', path, '--method', 'umap', '--out', tmp_path / 'e.png')


def test_the_most_alike_are_shown(patches, tmp_path, capsys):
    names = sorted(str(path.relative_to(patches)) for path in patches.rglob('*.tif'))
    classes = sorted({name.partition('/')[0] for name in names})
    labels = np.array([classes.index(name.partition('/')[0]) for name in names])
    features = np.eye(len(classes), dtype=np.float32)[labels]
    path = write_features(tmp_path / 'f.h5', features, names, labels=labels, classes=classes)
    tool('analysis/retrieve', path, '--images', patches, '--num', 3, '--k', 1, '--out', tmp_path / 'r.png')
    assert '3 queries; of 18 images, 100.0 % of the 1 most alike are of their class' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'r.png')) is not None
    with pytest.raises(SystemExit, match='--query none: no such name'):
        tool('analysis/retrieve', path, '--images', patches, '--query', 'none', '--out', tmp_path / 'r.png')
