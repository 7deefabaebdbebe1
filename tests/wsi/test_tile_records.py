"""The table of a folder of tiles has the slides of all runs, in whatever order they end."""

import threading

import numpy as np

from histomm.wsi import tile_records
from histomm.wsi.locks import file_lock
from histomm.wsi.tile_records import SlideReport, gather, slide_table_path, write_record
from histomm.wsi.tile_settings import TileSettings
from histomm.wsi.tile_table import read_tiles, tiles_of_slide, write_tiles


def add_slide(out, name):
    write_tiles(slide_table_path(out, name), tiles_of_slide(name, np.array([[0, 0]]), 224, 0.5, np.ones(1)))
    write_record(out, SlideReport(name, 'done', tiles=1), {})


def test_a_table_is_not_replaced_by_one_that_was_read_before(tmp_path, monkeypatch):
    """A run reads all slides, is slow to write the table, and another one ends with a further slide meanwhile."""
    add_slide(tmp_path, 'a.tif')
    write, slow, waiting = write_tiles, threading.Event(), threading.Event()

    def write_late(path, tiles):
        if threading.current_thread() is first:
            waiting.set()
            slow.wait(10)
        write(path, tiles)

    monkeypatch.setattr(tile_records, 'write_tiles', write_late)
    first, second = (threading.Thread(target=gather, args=(tmp_path, TileSettings(), [])) for _ in range(2))
    first.start()
    assert waiting.wait(10)
    add_slide(tmp_path, 'b.tif')
    second.start()
    second.join(0.2)
    slow.set()
    for thread in (first, second):
        thread.join(10)
    assert read_tiles(tmp_path / 'tiles.parquet').slides == ['a.tif', 'b.tif']
    with file_lock(tmp_path / '.locks/tiles.parquet'):
        pass
