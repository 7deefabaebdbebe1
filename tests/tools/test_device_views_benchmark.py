"""The benchmark of views on a device runs, and its sides make the same views. Nothing here asserts a time."""

import json
import re
import runpy
import sys

import pytest
import torch
from benchmark_claims import require_claims


def test_benchmark_runs_small(repo, monkeypatch, capsys, tmp_path):
    """Without the compiled path, which takes a compiler longer than all tests of views."""
    pytest.importorskip('kornia')
    script, threads = repo / 'tools/benchmarks/device_views.py', torch.get_num_threads()
    words = ['--batch', '2', '--size', '64', '--paths', 'torch', 'kornia', '--repeats', '1', '--device', 'cpu']
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, 'argv', [str(script), *words, '--json', str(tmp_path / 'out.json')])
    runpy.run_path(str(script), run_name='__main__')
    torch.set_num_threads(threads)
    rows = re.findall(
        r'^\| ([\w, ]+) \| [\d,]+ \(.*\) \| [\d.]+ \(.*\) \| (\S+) \| (\S+) \|$', capsys.readouterr().out, re.M
    )
    assert [row[0] for row in rows] == ['pipeline', 'draws', 'on cpu, torch', 'on cpu, kornia']
    assert float(rows[2][1]) < 0.5
    assert float(rows[3][1]) < 3
    results = json.loads((tmp_path / 'out.json').read_text())['results']
    assert results['views pipeline to pipeline, ratio'] == {'low': 1, 'median': 1, 'high': 1}
    assert {f'views {name}, views/s' for name in ('pipeline', 'draws', 'torch', 'kornia')} <= set(results)
    require_claims('device_views', tmp_path / 'out.json')
