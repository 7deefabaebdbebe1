"""The benchmark of the extraction compares like with like, and runs. Nothing here asserts a time."""

import re
import runpy
import sys

import pytest
from benchmark_claims import require_claims


@pytest.mark.parametrize('workers', [0, 1])
def test_benchmark_runs_small(workers, repo, monkeypatch, capsys, tmp_path):
    script = repo / 'tools/benchmarks/features.py'
    words = ['--model', 'test_vit', '--images', '3', '--batch', '2', '--size', '48', '--repeats', '1']
    words += ['--workers', str(workers), '--device', 'cpu', '--markdown', str(tmp_path / 'out.md')]
    words += ['--json', str(tmp_path / 'out.json')]
    if workers:
        words += ['--clock', 'wall']
    monkeypatch.setattr(sys, 'argv', [str(script), *words])
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name='__main__')
    printed = capsys.readouterr().out
    rows = re.findall(r'^\| (file to .+?) \| ([\d.,]+) \(.*\) \| ([\d.,]+) \(.*\) \| ([\d.]+) ', printed, re.M)
    assert [row[0] for row in rows] == ['file to vector', 'file to the input of the network']
    assert (tmp_path / 'out.md').read_text().strip() in printed
    require_claims('features', tmp_path / 'out.json')


def test_processor_time_of_workers_is_refused(repo, monkeypatch, capsys):
    script = repo / 'tools/benchmarks/features.py'
    monkeypatch.setattr(sys, 'argv', [str(script), '--workers', '2'])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name='__main__')
    assert 'give --clock wall' in capsys.readouterr().err
