"""All benchmarks by one command: every script is in the table, failures are told and do not stop the others."""

import json

import pytest
from tool_modules import load_tool

FIGURES = {
    'a read, ratio': {'low': 4.0, 'median': 5.5, 'high': 6.0},
    'a read by plain, views/s': {'low': 10, 'median': 12.34, 'high': 20},
    'a read by own, views/s': {'low': 50, 'median': 1234.5, 'high': 2000},
    'a step, ratio': {'low': 1.0, 'median': 1.2, 'high': 1.3},
}
WRITES = f"""
import json, sys
open(sys.argv[sys.argv.index('--json') + 1], 'w').write(json.dumps(dict(command='c', results={FIGURES!r})))
print('called with', *sys.argv[1:-2])
"""


@pytest.fixture
def tool(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    return load_tool('tools/benchmarks/run_all.py')


@pytest.fixture
def small(tool, tmp_path, monkeypatch):
    """Three scripts of a few lines in place of the benchmarks."""
    folder = tmp_path / 'scripts'
    folder.mkdir()
    texts = {
        'fine': WRITES,
        'breaks': "raise SystemExit('it broke')",
        'silent': '',
        'lacks': WRITES,
        '_shared': '',
        'run_all': '',
    }
    for name, text in texts.items():
        (folder / f'{name}.py').write_text(text)
    sides = ('a read by plain, views/s', 'a read by own, views/s')
    read = tool.Claim('reading', 'a read, ratio', *sides, '>= 5')
    step = tool.Claim('step', 'a step, ratio', goal='<= 1.15')
    table = {
        'fine': tool.Benchmark((read, step, read._replace(goal='')), '--size 9', '--size 2'),
        'breaks': tool.Benchmark((read,)),
        'silent': tool.Benchmark(()),
        'lacks': tool.Benchmark((read._replace(plain='not there, s'),), takes_device=False),
    }
    monkeypatch.setattr(tool, 'FOLDER', folder)
    monkeypatch.setattr(tool, 'TABLE', table)
    return tool


def test_every_benchmark_is_in_the_table(tool):
    tool.check_table()


@pytest.mark.parametrize(
    'change', [lambda folder: (folder / 'new.py').touch(), lambda folder: (folder / 'fine.py').unlink()]
)
def test_a_benchmark_in_one_place_alone_is_an_error(small, change):
    change(small.FOLDER)
    with pytest.raises(ValueError, match=r'^(new|fine): in the folder or in TABLE of _claims.py, expected in both'):
        small.main([])


def test_all_run_and_failures_are_told(small, capsys, tmp_path):
    page, written = tmp_path / 'page.md', tmp_path / 'all.json'
    assert small.main(['--quick', '--device', 'meta', '--markdown', str(page), '--json', str(written)]) == 1
    printed, errors = capsys.readouterr()
    rows = [line for line in printed.splitlines() if line.startswith('| fine')]
    assert rows == [
        '| fine | reading | 12.3 views/s | 1,234 views/s | 5.50 (4.00 to 6.00) | >= 5 | – |',
        '| fine | step | – | – | 1.20 (1.00 to 1.30) | <= 1.15 | – |',
        '| fine | reading | 12.3 views/s | 1,234 views/s | 5.50 (4.00 to 6.00) | – | – |',
    ]
    quick = json.loads(written.read_text())['benchmarks']['fine']['results']
    assert small.row('fine', small.TABLE['fine'].claims[0], quick, quick=False)[-2:] == ['>= 5', 'yes']
    assert small.row('fine', small.TABLE['fine'].claims[1], quick, quick=False)[-2:] == ['<= 1.15', 'no']
    assert not any(line.startswith(('| breaks', '| lacks')) for line in printed.splitlines())
    assert 'it broke' in errors
    assert errors.splitlines()[-1] == 'failed: breaks, silent, lacks'
    found = json.loads(written.read_text())
    assert found['benchmarks']['fine']['results'] == FIGURES
    assert list(found['benchmarks']) == ['fine']
    assert found['failed']['breaks'] == 'exit status 1'
    assert found['failed']['silent'] == 'wrote no figures'
    assert found['failed']['lacks'].startswith("its figures lack ['not there, s'], there are ['a read")
    text = page.read_text()
    assert printed.strip() in text
    assert '## fine\n\ncalled with --size 2 --device meta\n' in text


def test_chosen_benchmarks_run_alone_at_full_size(small, capsys, tmp_path):
    assert small.main(['--only', 'fine', '--markdown', str(tmp_path / 'page.md')]) == 0
    assert 'called with --size 9\n' in (tmp_path / 'page.md').read_text()
    assert 'Seconds with start-up: fine ' in capsys.readouterr().out


def test_a_goal_is_judged_from_its_side(tool):
    claim = tool.Claim('', '', goal='<= 1.15')
    assert [claim.reached(ratio) for ratio in (1.0, 1.15, 1.16)] == [True, True, False]
    assert [claim._replace(goal='>= 5').reached(ratio) for ratio in (4.9, 5.0, 6.0)] == [False, True, True]
