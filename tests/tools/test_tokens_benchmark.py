"""The benchmark of the store of tokens runs, and compares like with like. Nothing here asserts a time."""

import re
import runpy
import sys

from benchmark_claims import require_claims


def test_benchmark_runs_small(repo, monkeypatch, capsys, tmp_path):
    script = repo / 'tools/benchmarks/tokens.py'
    words = ['--regions', '4', '--batch', '3', '--repeats', '1', '--folder', str(tmp_path)]
    words += ['--json', str(tmp_path / 'out.json')]
    monkeypatch.setattr(sys, 'argv', [str(script), *words, '--markdown', str(tmp_path / 'out.md')])
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name='__main__')
    printed = capsys.readouterr().out
    rows = re.findall(r'^\| (\S+ \S+, \w+) \| ([\d.,]+) \(.*\) \| ([\d.,]+) \(.*\) \| ([\d.,]+) ', printed, re.M)
    assert [row[0] for row in rows] == [
        'whole regions, float16',
        'ten crops, float16',
        'whole regions, float32',
        'ten crops, float32',
    ]
    assert (tmp_path / 'out.md').read_text().strip() in printed
    require_claims('tokens', tmp_path / 'out.json')
