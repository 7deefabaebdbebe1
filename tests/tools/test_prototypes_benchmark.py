"""The benchmark of prototypes compares like with like, and runs. Nothing asserts a time."""

import sys

import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool

SMALL = ['--slides', '7', '--regions', '30', '--channels', '32', '--repeats', '1', '--threads', '1']


@pytest.fixture
def tool(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    monkeypatch.setattr(sys, 'argv', ['prototypes.py'])
    threads = torch.get_num_threads()
    yield load_tool('tools/benchmarks/prototypes.py')
    torch.set_num_threads(threads)


def test_it_compares_and_runs(tool, capsys, tmp_path):
    tool.main([*SMALL, '--json', str(tmp_path / 'out.json')])
    require_claims('prototypes', tmp_path / 'out.json')
    printed = capsys.readouterr().out
    assert 'The same partition on 100.0% of 7 slides; on 0 the better one' in printed
    assert 'All neighbours and permutations are the same.' in printed
    assert printed.count('| together |') == 1
    assert 'Timing: wall time, threads: 1, 1 turns' in printed


def test_the_curve_grows(tool, capsys, tmp_path):
    tool.main([*SMALL, '--curve', '9', '4', '--markdown', str(tmp_path / 'page.md')])
    lines = (tmp_path / 'page.md').read_text().splitlines()
    assert [line.split(' | ')[0] for line in lines[2:4]] == ['| 4', '| 9']
    assert 'held at most, MiB' in capsys.readouterr().out


def test_what_differs_is_refused(tool, monkeypatch):
    x, slide = tool.draw_regions(6, 30, 32)
    original = tool.own_neighbors
    monkeypatch.setattr(tool, 'own_neighbors', lambda protos: tuple(part.roll(1, 0) for part in original(protos)))
    with pytest.raises(AssertionError, match='Arrays are not equal'):
        tool.check(x, slide, 4)
