"""Growth is drawn as it was measured, and exponents are those of power laws. Nothing here asserts a time."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool


@pytest.fixture
def tool(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    monkeypatch.setattr(sys, 'argv', ['growth.py'])
    threads = torch.get_num_threads()
    yield load_tool('tools/benchmarks/growth.py')
    torch.set_num_threads(threads)


def test_exponents_are_those_of_the_last_places(tool):
    places, middle = [1, 2, 4, 8, 16], np.array([50, 50, 3 * 4**2.5, 3 * 8**2.5, 3 * 16**2.5])
    assert tool.exponent(tool.Curve(places, middle, middle, middle)) == pytest.approx(2.5)
    assert np.isnan(tool.exponent(tool.Curve([7], [1], [1], [1])))


def test_places_give_rows_figures_and_ratios(tool):
    """Times of 1 and 4 s become 2 and 16 s; at the last place the loops are missing."""
    subject = tool.SUBJECTS['slides']
    places = [
        tool.Place(10, {'loops': [4.0, 8.0], 'histomm': [1.0, 1.0]}, {'loops': 0, 'histomm': 2**20}),
        tool.Place(20, {'loops': [16.0, 16.0], 'histomm': [2.0, 2.0]}, {'loops': 0, 'histomm': 2**21}),
        tool.Place(40, {'histomm': [4.0, 4.0]}, {'histomm': 2**22}),
    ]
    panels = tool.curves(places)
    lines = tool.rows(subject, places, panels).splitlines()[4:]
    assert lines == [
        '| 10 | 6,000.0 (4,000.0 to 8,000.0) | 1,000.0 (1,000.0 to 1,000.0) | 6.00 (4.00 to 8.00) | 1.0 |',
        '| 20 | 16,000.0 (16,000.0 to 16,000.0) | 2,000.0 (2,000.0 to 2,000.0) | 8.00 (8.00 to 8.00) | 2.0 |',
        '| 40 | – | 4,000.0 (4,000.0 to 4,000.0) | – | 4.0 |',
        '| exponent | 1.42 | 1.00 | – | 1.00 |',
    ]
    found = tool.figures('slides', subject, places, panels)
    assert found['slides at the largest, ratio'] == found['slides of 20, ratio'] == (8, 8, 8)
    assert found['slides at the largest by loops, ms'].median == 16000
    assert found['slides of 40 by histomm, MiB'].median == 4
    assert found['slides memory by histomm, exponent'].median == pytest.approx(1)
    step = tool.SUBJECTS['batch']
    assert tool.ratio_at(step, places[1]) == (1 / 8, 1 / 8, 1 / 8)


def test_it_runs_and_draws(tool, tmp_path, capsys):
    names = ['cells', 'queue', 'batch', 'slides']
    words = ['--out', str(tmp_path), '--quick', '--repeats', '1', '--json', str(tmp_path / 'out.json')]
    tool.main([*words, '--only', *names])
    printed = capsys.readouterr().out
    assert printed.count('| exponent |') == len(names)
    for name in names:
        picture = cv2.imread(str(tmp_path / f'growth_{name}.png'))
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(f'growth_{name}.png' for name in names), 'out.json']
    )
    require_claims('growth', tmp_path / 'out.json')
    figures = json.loads((tmp_path / 'out.json').read_text())['results']
    assert figures['cells memory by matrix of overlaps, exponent']['median'] > 0


def test_the_forms_of_a_place_compute_the_same(tool):
    for name in ('queue', 'anchors'):
        plain, own = (run() for run in tool.SUBJECTS[name].prepare(2, torch.device('cpu')).values())
        torch.testing.assert_close(plain, own)
