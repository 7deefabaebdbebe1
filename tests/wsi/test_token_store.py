"""A store of tokens gives back what was written, grows, and says what is wrong with it."""

import json
import multiprocessing
import pickle
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from region_stores import draw_tokens

from histomm.wsi.token_store import TokenStore, TokenStoreWriter

SETTINGS = dict(encoder='one', region=64, patch=16, mpp=0.5)
COUNTS = {'b/x.svs': 3, 'a.tif': 1, 'c.tif': 2}


def write(root, counts=COUNTS, dtype='float32', seed=0, **options):
    """A store of random tokens of 2×3 patches and 5 numbers; its writer, and the tokens by slide."""
    rng = np.random.default_rng(seed)
    writer = TokenStoreWriter(root, 5, (2, 3), dtype, SETTINGS, **options)
    tokens = {name: rng.normal(size=(count, 6, 5)).astype(np.float32) for name, count in counts.items()}
    for name, values in tokens.items():
        corners = np.stack([7 * np.arange(len(values)), np.full(len(values), len(name))], axis=1)
        writer.write(name, corners, values, (64.0, 60.5))
    return writer, tokens


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
@pytest.mark.parametrize('shard_bytes', [1, 2**30])
def test_what_is_read_is_what_was_written(tmp_path, dtype, shard_bytes):
    writer, tokens = write(tmp_path / 's', dtype=dtype, shard_bytes=shard_bytes)
    assert writer.finish() == 6
    assert len(list((tmp_path / 's').glob('shard_*.npy'))) == (3 if shard_bytes == 1 else 1)
    store = TokenStore(tmp_path / 's')
    assert (len(store), store.dim, store.grid, store.dtype) == (6, 5, (2, 3), np.dtype(dtype))
    assert store.slides == ['a.tif', 'b/x.svs', 'c.tif']
    assert store.region_slides.tolist() == [0, 1, 1, 1, 2, 2]
    assert store.region_slides.dtype == np.int64
    assert store.coords.tolist() == [[0, 5], [0, 7], [7, 7], [14, 7], [0, 5], [7, 5]]
    assert store.spans.tolist() == [[64.0, 60.5]] * 6
    order = [4, 0, 2, 2]
    found = store.read(order)
    assert found.dtype == np.dtype(dtype)
    assert found.shape == (4, 5, 2, 3)
    for place, index in enumerate(order):
        name = store.slides[store.region_slides[index]]
        written = tokens[name][store.coords[index, 0] // 7].astype(dtype)
        for row in range(2):
            for column in range(3):  # patches lie row by row
                assert np.array_equal(found[place, :, row, column], written[3 * row + column])
                assert np.array_equal(store.tokens(index)[row, column], written[3 * row + column])
    assert not store.tokens(0).flags.writeable
    assert store.read([]).shape == (0, 5, 2, 3)
    with pytest.raises(IndexError):
        store.read([6])


def _read_first(store):
    return store.read([0])


def test_other_processes_map_the_shards_anew(tmp_path):
    store = TokenStore(draw_tokens(tmp_path, dim=3, grid=2, slides=2))
    copy = pickle.dumps(store)
    assert len(copy) < 4000
    assert np.array_equal(pickle.loads(copy).read([3]), store.read([3]))
    with multiprocessing.get_context('fork').Pool(1) as pool:
        assert np.array_equal(pool.apply(_read_first, [store]), store.read([0]))


def test_a_store_grows_and_a_run_goes_on(tmp_path):
    """A second run adds slides, leaves those there are, and takes in what a killed one had written."""
    root = tmp_path / 's'
    write(root)[0].finish()
    first = (root / 'shard_0000.npy').read_bytes()
    _, tokens = write(root, {'0.tif': 2}, seed=1)  # killed here: a part, and the trace of a shard
    (root / '.shard_0001.npy.999.partial').write_bytes(b'half')
    assert TokenStore(root).slides == ['a.tif', 'b/x.svs', 'c.tif']
    again = TokenStoreWriter(root, 5, (2, 3), 'float32', SETTINGS)
    assert [again.has(name) for name in ('0.tif', 'c.tif', 'new.tif')] == [True, True, False]
    assert again.finish() == 8
    store = TokenStore(root)
    assert store.slides == ['0.tif', 'a.tif', 'b/x.svs', 'c.tif']
    assert np.array_equal(store.read([2]), np.load(root / 'shard_0000.npy')[:1].transpose(0, 2, 1).reshape(1, 5, 2, 3))
    assert np.array_equal(store.tokens(0).reshape(6, 5), tokens['0.tif'][0])
    assert (root / 'shard_0000.npy').read_bytes() == first
    assert not [path for path in root.rglob('*') if path.suffix in ('.npz', '.partial')]
    assert again.finish() == 8


def test_a_writer_sees_what_another_moved_into_shards(tmp_path):
    """Two writers of a new folder, and again of one with an index."""
    for name in ('a.tif', 'b.tif'):
        here = TokenStoreWriter(tmp_path / 's', 5, (2, 3), 'float32', SETTINGS)
        there, _ = write(tmp_path / 's', {name: 1})
        assert here.has(name)  # as a part
        there.finish()
        assert here.has(name)
        assert not here.has('c.tif')


def test_equal_tokens_give_equal_files(tmp_path):
    for name, counts in (('one', COUNTS), ('two', dict(reversed(COUNTS.items())))):
        rng = {slide: seed for seed, slide in enumerate(COUNTS)}
        writer = TokenStoreWriter(tmp_path / name, 5, (2, 3), 'float16', SETTINGS)
        for slide, count in counts.items():
            values = np.random.default_rng(rng[slide]).normal(size=(count, 6, 5))
            writer.write(slide, np.zeros((count, 2)), values, (64, 64))
        writer.finish()
    for file in ('index.parquet', 'shard_0000.npy', 'settings.json'):
        assert (tmp_path / 'one' / file).read_bytes() == (tmp_path / 'two' / file).read_bytes()


def swap_shards(root):
    """Shards of one shape, in the wrong order."""
    (root / 'shard_0000.npy').rename(root / 'x')
    (root / 'shard_0001.npy').rename(root / 'shard_0000.npy')
    (root / 'x').rename(root / 'shard_0001.npy')


def cut_shard(root):
    """A shard that lacks its end."""
    with open(root / 'shard_0000.npy', 'rb+') as file:
        file.truncate(200)


def other_dim(root):
    """A shard of tokens of other numbers."""
    np.save(root / 'shard_0001.npy', np.zeros((2, 6, 4), np.float32))


def other_settings(root):
    """The settings of another encoder beside the index."""
    settings = json.loads((root / 'settings.json').read_text())
    (root / 'settings.json').write_text(json.dumps({**settings, 'encoder': 'two'}))


def fewer_rows(root):
    """An index that lost regions."""
    table = pq.read_table(root / 'index.parquet')
    pq.write_table(table.slice(0, 3), root / 'index.parquet')


def no_metadata(root):
    """Some other table."""
    pq.write_table(pq.read_table(root / 'index.parquet').replace_schema_metadata(None), root / 'index.parquet')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda root: (root / 'shard_0001.npy').unlink(), 'shard_0001.npy does not exist, though index.parquet names'),
        (lambda root: (root / 'index.parquet').unlink(), 'index.parquet does not exist; make it with'),
        (lambda root: (root / 'index.parquet').write_bytes(b'PAR1'), 'is no readable index of tokens'),
        (swap_shards, 'shard_0000.npy holds other tokens than those that index.parquet was written for'),
        (cut_shard, 'shard_0000.npy is no whole shard of tokens'),
        (other_dim, r'holds float32 of shape \(2, 6, 4\), expected float32 of \(2, 6, 5\) as in index.parquet'),
        (other_settings, 'is the index of tokens with other settings than those of .*settings.json'),
        (fewer_rows, 'names 3 regions, expected the 4 of its shards'),
        (no_metadata, 'is no readable index of tokens'),
    ],
)
def test_damage_is_told(tmp_path, damage, message):
    root = tmp_path / 's'
    write(root, {'a.tif': 2, 'b.tif': 2}, shard_bytes=1)[0].finish()
    damage(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        TokenStore(root)


def test_tokens_of_others_are_refused(tmp_path):
    root = tmp_path / 's'
    write(root)[0].finish()
    store = TokenStore(root)
    store.check(5, store.digest)
    with pytest.raises(ValueError, match='tokens have 5 numbers, expected 384; extract them with the encoder'):
        store.check(384)
    with pytest.raises(ValueError, match=f'tokens have the digest {store.digest}, expected abc: another encoder'):
        store.check(digest='abc')
    with pytest.raises(ValueError, match="made with encoder = 'one', this run has 'two'; tokens of both"):
        TokenStoreWriter(root, 5, (2, 3), 'float32', {**SETTINGS, 'encoder': 'two'})
    with pytest.raises(ValueError, match='made with dim = 5, this run has 6'):
        TokenStoreWriter(root, 6, (2, 3), 'float32', SETTINGS)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'file.txt').touch()
    with pytest.raises(ValueError, match='holds other files or is a file; choose a new or empty folder'):
        TokenStoreWriter(tmp_path / 'other', 5)
    with pytest.raises(ValueError, match="cannot be stored as 'int8', expected one of float16, float32"):
        TokenStoreWriter(tmp_path / 'new', 5, dtype='int8')


def test_what_cannot_be_written(tmp_path):
    writer = TokenStoreWriter(tmp_path / 's', 5, (2, 3), 'float16', SETTINGS)
    good, corners = np.zeros((1, 6, 5)), np.zeros((1, 2))
    with pytest.raises(ValueError, match=r'a.tif: tokens of shape \(1, 6, 4\), expected \(1, 6, 5\)'):
        writer.write('a.tif', corners, good[..., :4], (1, 1))
    with pytest.raises(ValueError, match='with at least one region'):
        writer.write('a.tif', corners[:0], good[:0], (1, 1))
    with pytest.raises(ValueError, match=r'a.tif: tokens are not finite as float16'):
        writer.write('a.tif', corners, good + 1e6, (1, 1))
    assert not writer.has('a.tif')
    with pytest.raises(ValueError, match='holds no tokens of any slide; nothing to index'):
        writer.finish()
    writer.write('a.tif', corners, good, (1, 1))
    shutil.rmtree(tmp_path / 's' / '.locks')
    with pytest.raises(FileNotFoundError, match='its extraction has not ended; the same command goes on'):
        TokenStore(tmp_path / 's')
