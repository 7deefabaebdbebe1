"""The table of tiles comes back as it was written."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histomm.wsi.tile_table import TileTable, concat_tiles, read_tiles, tiles_of_slide, write_tiles


def two_slides():
    first = tiles_of_slide('b/s2.svs', np.array([[0, 10], [5, 2**40]]), 224, 0.5, np.array([0.25, 1]))
    second = tiles_of_slide('a é.svs', np.array([[7, 8]]), 256, 0.499, np.array([0]))
    return concat_tiles([first, second], {'size': 224, 'filters': ['blur']})


def columns(tiles):
    return [getattr(tiles, name).tolist() for name in ('slide', 'x', 'y', 'size', 'mpp', 'foreground')]


def test_comes_back_with_its_settings(tmp_path):
    path = tmp_path / 'new' / 'tiles.parquet'
    write_tiles(path, two_slides())
    back = read_tiles(path)
    assert columns(back) == [
        ['b/s2.svs', 'b/s2.svs', 'a é.svs'],
        [0, 5, 7],
        [10, 2**40, 8],
        [224, 224, 256],
        [0.5, 0.5, 0.499],
        [0.25, 1, 0],
    ]
    assert back.settings == {'size': 224, 'filters': ['blur']}
    assert (back.x.dtype, back.size.dtype, back.foreground.dtype) == (np.int64, np.int32, np.float32)
    assert pq.read_schema(path).names == ['slide', 'x', 'y', 'size', 'mpp', 'foreground']


def test_no_tiles_are_a_table_too(tmp_path):
    write_tiles(tmp_path / 'none.parquet', concat_tiles([], {}))
    back = read_tiles(tmp_path / 'none.parquet')
    assert len(back) == 0
    assert back.slides == []
    assert list(back.by_slide()) == []


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in ('a', 'b'):
        write_tiles(tmp_path / name, two_slides())
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_slides_keep_the_order_of_their_rows():
    tiles = two_slides().select(np.array([1, 2, 0]))
    assert tiles.slides == ['a é.svs', 'b/s2.svs']
    assert [(name, part.x.tolist()) for name, part in tiles.by_slide()] == [('a é.svs', [7]), ('b/s2.svs', [5, 0])]


def test_reads_a_table_of_other_software(tmp_path):
    path = tmp_path / 'other.parquet'
    whole = {'slide': ['s'], 'x': [1], 'y': [2], 'size': [3], 'mpp': [1], 'foreground': [0.5], 'more': ['x']}
    pq.write_table(pa.table(whole), path)
    assert columns(read_tiles(path)) == [['s'], [1], [2], [3], [1], [0.5]]
    del whole['mpp']
    pq.write_table(pa.table(whole), path)
    with pytest.raises(ValueError, match='has no column mpp, found slide, x'):
        read_tiles(path)


def test_names_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.parquet does not exist'):
        read_tiles(tmp_path / 'none.parquet')
    (tmp_path / 'text').write_text('x,y')
    with pytest.raises(ValueError, match='text is no readable tile table'):
        read_tiles(tmp_path / 'text')
    one = np.zeros(1)
    with pytest.raises(ValueError, match='different lengths'):
        TileTable(one, one, one, one, one, np.zeros(2))
