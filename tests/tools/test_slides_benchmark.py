"""The benchmark of slides runs, compares the same tiles, and tells when the process grows. Nothing asserts a time."""

import sys

import cv2
import numpy as np
import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool

from histomm.wsi.reader import open_slide

SMALL = ['--side', '700', '--copies', '2', '--tiles', '8', '--batch', '4', '--reads', '40', '--repeats', '1']


@pytest.fixture
def tool(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    monkeypatch.setattr(sys, 'argv', ['slides.py'])
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield load_tool('tools/benchmarks/slides.py')
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def test_it_runs(tool, capsys, tmp_path):
    tool.main([*SMALL, '--json', str(tmp_path / 'out.json')])
    require_claims('slides', tmp_path / 'out.json')
    printed = capsys.readouterr().out
    assert printed.count('| ratio |') == 2
    assert 'MB after 4 reads' in printed
    assert 'Commit: ' in printed


def test_growth_is_an_error(tool, monkeypatch):
    monkeypatch.setattr(tool, 'growth', lambda *args: (100.0, 190.0))
    with pytest.raises(SystemExit, match='the process grew by 90 MB, expected at most 64'):
        tool.main(SMALL)


def test_both_sides_read_the_same_tiles(tool, tmp_path):
    source = tool.draw_slide(tmp_path / 'drawn.tif', 700)
    slides = tool.lay_out(tmp_path, source, 2)
    dataset = tool.slide_tiles(tmp_path, [])
    assert len(dataset) == 2 * 4
    assert len(list((tmp_path / 'files').iterdir())) == len(dataset) // 2
    x, y = dataset[1]['tile']
    stored = cv2.imread(str(tmp_path / 'files' / f'{x}_{y}.jpg'))[..., ::-1]
    assert np.abs(stored.astype(int) - open_slide(slides[0]).read(x, y, 256, 256)).mean() < 4


def test_random_reads_do_not_keep_what_they_read(tool, tmp_path):
    source = tool.draw_slide(tmp_path / 'drawn.tif', 700)
    tool.lay_out(tmp_path, source, 6)
    dataset = tool.slide_tiles_few_open(tmp_path)
    before, after = tool.growth(dataset, tool.SeededSampler(dataset, seed=0, infinite=True), 600)
    assert after - before < 16
    assert len(dataset._cache) <= 4
