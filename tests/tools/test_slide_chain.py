"""Drawn slides, their tiles, features and clusters, and the way back onto the slides, against the drawn truth."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from feature_files import tool, write_features
from sklearn.metrics import adjusted_rand_score

from histomm.datasets.synthetic import write_layout
from histomm.evaluation.feature_store import read_features
from histomm.wsi.reader import open_slide
from histomm.wsi.tile_table import read_tiles

SIDE, LEAST = 96, 0.6
CELL = 16
"""Level-0 px of a pixel of the truth, as its ``scale.txt`` says."""


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Two slides, the table of their tiles, and the features of a small network of random weights."""
    root = tmp_path_factory.mktemp('chain')
    write_layout('slides', str(root / 'drawn'), 2, 1024)
    tile(root, 'tiles', 1)
    extract(root, root / 'tiles/tiles.parquet', root / 'features.h5', 0)
    return root


def tile(root: Path, out: str, workers: int) -> None:
    """Tile the drawn slides into a folder."""
    words = ['--size', SIDE, '--tile-mpp', 0.5, '--min-foreground', LEAST, '--workers', workers]
    tool('wsi/tile_slides', root / 'drawn/slides', '--out', root / out, *words)


def extract(root: Path, tiles: Path, out: Path, workers: int) -> None:
    """Features of all tiles."""
    words = ['--timm', 'test_resnet', '--random', '--batch-size', 16, '--workers', workers, '--device', 'cpu']
    tool('extract_features', *words, '--slides', root / 'drawn/slides', '--tiles', tiles, '--out', out)


def shares(root: Path, name: str, x: int, y: int) -> np.ndarray:
    """Share of each tissue in a tile by the truth; the first is glass."""
    truth = cv2.imread(str(root / 'drawn/truth' / f'{Path(name).stem}.png'), cv2.IMREAD_UNCHANGED)
    pixels = np.kron(truth, np.ones((CELL, CELL), np.uint8))[y : y + SIDE, x : x + SIDE]
    return np.bincount(pixels.ravel(), minlength=9) / SIDE**2


def test_every_tile_has_its_features(drawn):
    tiles, content = read_tiles(drawn / 'tiles/tiles.parquet'), read_features(drawn / 'features.h5')
    counted = sum(json.loads(p.read_text())['tiles'] for p in (drawn / 'tiles/slides').glob('*.json'))
    assert len(tiles) == len(content.features) == counted > 30
    assert np.isfinite(content.features).all()
    listed = {(name, x, y) for name, rows in tiles.by_slide() for x, y in zip(rows.x, rows.y, strict=True)}
    assert {(name, *place) for name, place in zip(content.names, content.coords.tolist(), strict=True)} == listed


def test_tiles_lie_inside_the_slide_and_on_drawn_tissue(drawn):
    for name, rows in read_tiles(drawn / 'tiles/tiles.parquet').by_slide():
        with open_slide(drawn / 'drawn/slides' / name) as slide:
            width, height = slide.size
        assert min(rows.x.min(), rows.y.min()) >= 0
        assert rows.x.max() + SIDE <= width
        assert rows.y.max() + SIDE <= height
        assert rows.foreground.min() >= LEAST
        tissue = [1 - shares(drawn, name, x, y)[0] for x, y in zip(rows.x, rows.y, strict=True)]
        assert min(tissue) >= LEAST


def colours(root: Path) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Mean and deviation of the colour of every tile less its slide's, names, places, and the commonest tissue."""
    features, names, coords, tissues = [], [], [], []
    for name, rows in read_tiles(root / 'tiles/tiles.parquet').by_slide():
        places = list(zip(rows.x.tolist(), rows.y.tolist(), strict=True))
        with open_slide(root / 'drawn/slides' / name) as slide:
            pixels = np.stack([slide.read(x, y, SIDE, SIDE, 0.5).reshape(-1, 3) for x, y in places]).astype(np.float32)
        found = np.hstack((pixels.mean(1), pixels.std(1)))
        features.append((found - found.mean(0)) / found.std(0))
        names += [name] * len(places)
        coords += places
        tissues += [int(shares(root, name, x, y)[1:].argmax()) for x, y in places]
    return np.concatenate(features), names, np.array(coords), np.array(tissues)


def test_clusters_of_colour_agree_with_the_drawn_tissue(drawn, tmp_path):
    features, names, coords, tissues = colours(drawn)
    path = write_features(tmp_path / 'colour.h5', features, names, coords)
    tool('cluster_features', path, '--ks', 6, '--out', tmp_path / 'out')
    clusters = np.load(tmp_path / 'out/clusters.npz')['labels']
    rng = np.random.default_rng(0)
    chance = [adjusted_rand_score(tissues, rng.permutation(clusters)) for _ in range(200)]
    assert adjusted_rand_score(tissues, clusters) > max(0.15, *chance)


def test_polygons_cover_the_tiles_of_their_cluster(drawn, tmp_path):
    words = ['--ks', 3, '--slides', drawn / 'drawn/slides', '--tiles', drawn / 'tiles/tiles.parquet']
    tool('cluster_features', drawn / 'features.h5', *words, '--out', tmp_path)
    found = np.load(tmp_path / 'clusters.npz')
    for name in sorted(set(found['names'])):
        of_slide = found['names'] == name
        polygons = json.loads((tmp_path / f'{name}.geojson').read_text())['features']
        rings = np.array([polygon['geometry']['coordinates'][0] for polygon in polygons])
        boxes = np.hstack((rings.min(1), rings.max(1)))
        said = [polygon['properties']['classification']['name'] for polygon in polygons]
        for number in range(3):
            wanted = found['coords'][of_slide & (found['labels'] == number)]
            covered = boxes[[word == f'cluster {number}' for word in said]]
            assert {tuple(box) for box in covered} == {(x, y, x + SIDE, y + SIDE) for x, y in wanted.tolist()}
            assert len(covered) == len(wanted)
        assert len(boxes) == of_slide.sum()
        assert cv2.imread(str(tmp_path / f'{name}.png')) is not None


def test_workers_change_nothing(drawn):
    tile(drawn, 'tiles_of_two', 2)
    for path in filter(Path.is_file, sorted((drawn / 'tiles').rglob('*'))):
        assert path.read_bytes() == (drawn / 'tiles_of_two' / path.relative_to(drawn / 'tiles')).read_bytes(), path
    extract(drawn, drawn / 'tiles_of_two/tiles.parquet', drawn / 'features_of_two.h5', 2)
    one, two = (read_features(drawn / name) for name in ('features.h5', 'features_of_two.h5'))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.coords, two.coords)
    assert one.names.tolist() == two.names.tolist()
