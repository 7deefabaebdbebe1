"""Stores give back what they were given, and are whole or absent."""

import json
import os
import tarfile

import h5py
import numpy as np
import pytest
import webdataset

from histomm.datasets import PatchDataset
from histomm.wsi.stores import KINDS, decode, encode, open_store, read_store, store_path

SETTINGS = dict(size=16, mpp=0.5)


def tiles(count=5):
    """Tiles of one colour each that get brighter from left to right."""
    colours = np.random.default_rng(0).integers(60, 150, (count, 3))
    ramp = np.arange(0, 64, 4).reshape(1, 16, 1)
    pixels = [np.broadcast_to(colour + ramp, (16, 16, 3)).astype(np.uint8) for colour in colours]
    return [(100 * number, number, number / 8, pixels[number]) for number in range(count)]


def fill(folder, kind, slide='sub/a.b.svs', **options):
    with open_store(folder, slide, kind, SETTINGS, **options) as add:
        for tile in tiles():
            add(*tile)
    return store_path(folder, slide, kind)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.mark.parametrize('kind', KINDS)
def test_gives_back_its_tiles(tmp_path, kind):
    path = fill(tmp_path, kind, quality=95)
    found = {(x, y): tile for x, y, tile in read_store(path)}
    assert set(found) == {(x, y) for x, y, *_ in tiles()}
    for x, y, _, tile in tiles():
        largest = np.abs(found[x, y].astype(int) - tile).max()
        assert largest <= (6 if kind in ('jpg', 'webdataset') else 0)


@pytest.mark.parametrize('kind', KINDS)
def test_equal_tiles_give_equal_bytes(tmp_path, kind):
    fill(tmp_path / 'a', kind)
    fill(tmp_path / 'b', kind)
    assert files(tmp_path / 'a') == files(tmp_path / 'b')


@pytest.mark.parametrize('kind', KINDS)
def test_failed_store_leaves_the_old_one(tmp_path, kind):
    fill(tmp_path, kind)
    before = files(tmp_path)
    with pytest.raises(ZeroDivisionError), open_store(tmp_path, 'sub/a.b.svs', kind, SETTINGS) as add:
        [add(*tile, *[1 / 0] * (tile[1] == 3)) for tile in tiles()]  # three tiles are written
    assert files(tmp_path) == before


@pytest.mark.parametrize('kind', KINDS)
def test_new_store_replaces_the_old_one_and_its_ruins(tmp_path, kind):
    path = store_path(tmp_path, 'a.svs', kind)
    ruin, other = (path.with_name(f'.{name}.77.partial') for name in (path.name, f'{path.name}.svs'))
    for left in (ruin, other):
        left.mkdir() if kind != 'hdf5' else left.write_bytes(b'x')
    fill(tmp_path, kind, slide='a.svs')
    with open_store(tmp_path, 'a.svs', kind, SETTINGS) as add:
        add(*tiles()[1])
    assert [(x, y) for x, y, _ in read_store(path)] == [(100, 1)]
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, other.name])


def test_folder_is_read_by_the_patch_dataset(tmp_path):
    fill(tmp_path, 'jpg')
    fill(tmp_path, 'jpg', slide='c.svs')
    found = PatchDataset(data_root=str(tmp_path), with_labels=False, pipeline=[dict(type='histomm.LoadPatch')])
    assert len(found) == 10
    assert found[0]['img_path'] == str(tmp_path / 'c.svs' / '0_0.jpg')
    assert np.abs(found[0]['img'].astype(int) - tiles()[0][3]).max() <= 6


def test_hdf5_says_what_it_holds(tmp_path):
    with h5py.File(fill(tmp_path, 'hdf5')) as file:
        assert file['coords'][()].tolist() == [[x, y] for x, y, *_ in tiles()]
        assert file['tiles'].shape == (5, 16, 16, 3)
        assert file.attrs['slide'] == 'sub/a.b.svs'
        assert json.loads(file.attrs['settings']) == SETTINGS


def test_shards_are_read_by_webdataset(tmp_path):
    path = fill(tmp_path, 'webdataset', shard_size=2)
    shards = sorted(map(str, path.glob('*.tar')))
    assert [os.path.basename(shard) for shard in shards] == ['000000.tar', '000001.tar', '000002.tar']
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [sample['__key__'] for sample in samples] == [f'sub/a.b.svs/{x}_{y}' for x, y, *_ in tiles()]
    assert samples[3]['json'] == dict(slide='sub/a.b.svs', x=300, y=3, size=16, mpp=0.5, foreground=0.375)
    with tarfile.open(shards[0]) as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, '')}


def test_bytes_of_an_image():
    tile = tiles()[0][3]
    assert np.array_equal(decode(encode(tile, 'png', 90)), tile)
    assert encode(tile, 'jpg', 90)[:2] == b'\xff\xd8'
    with pytest.raises(ValueError, match='no image that can be decoded'):
        decode(b'text')


def test_says_what_is_wrong(tmp_path):
    with (
        pytest.raises(ValueError, match="cannot be stored as 'bmp', expected one of jpg, png, hdf5, webdataset"),
        open_store(tmp_path, 'a', 'bmp', SETTINGS),
    ):
        pass
    with pytest.raises(FileNotFoundError, match='no tiles of a slide there'):
        list(read_store(tmp_path / 'none'))
    with pytest.raises(ValueError, match='holds no tiles'):
        list(read_store(tmp_path))
