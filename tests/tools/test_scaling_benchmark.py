"""What processes send is counted and agrees with the formulas, and these with numbers by hand. No time is asserted."""

import json
import sys

import pytest
import torch
import torch.distributed as dist
from benchmark_claims import require_claims
from mmengine.config import Config
from tool_modules import load_tool


@pytest.fixture
def tool(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    monkeypatch.setattr(sys, 'argv', ['scaling.py'])
    return load_tool('tools/benchmarks/scaling.py')


@pytest.fixture
def link(tool):
    """200 bytes a second inside a node of 4, 100 between nodes, half a second of delay."""
    return tool.Link(200, 100, 0.5, 4)


@pytest.fixture
def paper(tool):
    """PLM with 1,000 parameters."""
    return Config.fromfile(tool.ROOT / 'configs/plm/moco_plm_r18_nct.py').model, 1000


@pytest.mark.parametrize(
    ('kind', 'four', 'time_of_four', 'time_of_eight'),
    [
        ('all-reduce', 1200, 2 * 3 * (1 + 0.5), 2 * 7 * (1 + 0.5)),
        ('all-gather', 2400, 3 * (4 + 0.5), 7 * (8 + 0.5)),
        ('broadcast', 600, 4 + 3 * 0.5, 8 + 7 * 0.5),
        # to each of four 200 bytes; to each of eight 100, three on the node and from four to four by the way out
        ('all-to-all', 600, 3 + 3 * 0.5, 1.5 + 16 + 7 * 0.5),
    ],
)
def test_collectives_by_hand(tool, link, kind, four, time_of_four, time_of_eight):
    """800 bytes in four processes on a node, and in eight on two."""
    one = tool.Collective(kind, 800)
    collectives = load_tool('tools/benchmarks/_collectives.py')
    assert tool.sent(one, 1) == 0
    assert collectives.seconds(one, 1, link) == 0
    assert tool.sent(one, 4) == four
    assert collectives.seconds(one, 4, link) == time_of_four
    assert collectives.seconds(one, 8, link) == time_of_eight


def test_a_step_by_hand(tool, paper):
    """Two images of 64 × 64 have maps of 2 × 2 cells; three processes."""
    assert {one.what: (one.kind, one.payload) for one in tool.of_step(*paper, 2, 64, 3)} == {
        'gradients': ('all-reduce', 4000),
        'shuffle: images': ('all-to-all', 2 * 3 * 64 * 64 * 4),
        'shuffle: order': ('broadcast', 3 * 2 * 8),
        'shuffle back: global': ('all-to-all', 2 * 128 * 4),
        'shuffle back: feature': ('all-to-all', 2 * 512 * 4 * 4),
        'shuffle back: dense': ('all-to-all', 2 * 128 * 4 * 4),
        'keys of the global queue': ('all-gather', 2 * 128 * 4),
        'keys of the dense queue': ('all-gather', 2 * 128 * 4),
    }
    moco = Config.fromfile(tool.ROOT / 'configs/mocov2/mocov2_r18_nct.py').model
    parts = ['gradients', 'shuffle: images', 'shuffle: order', 'shuffle back: global', 'keys of the global queue']
    assert [one.what for one in tool.of_step(moco, 1000, 2, 64, 3)] == parts


def test_gradients_hide_behind_the_backward_pass(tool, link):
    step = [tool.Collective('all-reduce', 800, 'gradients'), tool.Collective('all-gather', 800, 'keys')]
    assert tool.exposed(step, 4, link, 0) == (9 + 13.5, 9 + 13.5)
    assert tool.exposed(step, 4, link, 2) == (22.5, 7 + 13.5)
    assert tool.exposed(step, 4, link, 100) == (22.5, 13.5)


def test_efficiency_on_paper(tool, paper):
    """One GPU is fully used; of two, 1 − share of what is waited for, reckoned from the formulas."""
    words = ['--gpus', '2', '--bandwidth', '1e3', '--node-bandwidth', '1', '--latency', '1000', '--step-ms', '50']
    text, results = tool.on_paper(*paper, tool.parse_args([*words, '--gpu-batch', '2', '--gpu-size', '64']))
    dealt, gathered = 4 * 2 * (3 * 64 * 64 + 128 + 512 * 4 + 128 * 4), 4 * 2 * 2 * 128
    # four all-to-alls, a broadcast and two all-gathers of a millisecond each at least; the gradients are hidden
    waited = 1e3 * ((dealt / 2 + gathered + 32) / 1e9 + 7e-3)
    assert results['efficiency of 1 GPUs on paper, %'].median == 100
    assert results['efficiency of 2 GPUs on paper, %'].median == pytest.approx(100 * 50 / (50 + waited))
    waited += 1e3 * dealt / 2 / 1e9
    gathering = results['efficiency of 2 GPUs on paper if shuffles gathered all, %'].median
    assert gathering == pytest.approx(100 * 50 / (50 + waited))
    assert results['sent in a step by a GPU of 2, MB'].median == pytest.approx((dealt / 2 + gathered + 4000 + 16) / 1e6)
    assert [line.split(' | ')[0] for line in text.splitlines()[2:]] == ['| GPUs', '| ---', '| 1', '| 2']


def test_collectives_are_counted_whoever_calls_them(tool, tmp_path):
    counting = load_tool('tools/benchmarks/_processes.py').Counting
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        with counting() as seen:
            dist.all_reduce(torch.ones(10))
            dist.all_gather([torch.ones(3, dtype=torch.long)], torch.ones(3, dtype=torch.long))
            dist.broadcast(torch.ones(2, dtype=torch.uint8), 0)
            model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 3, bias=False))
            del seen.seen[3:]  # by which the model is made the same everywhere
            model(torch.ones(1, 4)).sum().backward()
        with counting(), pytest.raises(NotImplementedError, match='called barrier, of which bytes are not counted'):
            dist.barrier()
    finally:
        dist.destroy_process_group()
    assert seen.seen == [('all-reduce', 40, ''), ('all-gather', 24, ''), ('broadcast', 2, ''), ('all-reduce', 48, '')]


def test_two_processes_send_what_the_formulas_say(tool, tmp_path, capsys):
    written = tmp_path / 'out.json'
    tool.main(['--batch', '2', '--size', '64', '--queue', '6', '--repeats', '1', '--gpus', '2', '--json', str(written)])
    printed = capsys.readouterr().out
    require_claims('scaling', written)
    dealt = 4 * 2 * (3 * 64 * 64 + 128 + 512 * 4 + 128 * 4)
    rows = [line.split(' | ')[:4] for line in printed.splitlines()[2:6]]
    assert [row[0] for row in rows] == ['| all-reduce', '| all-to-all', '| broadcast', '| all-gather']
    assert all(counted == formula for _, _, counted, formula in rows)
    assert rows[1][1:3] == ['4', f'{dealt / 2 / 1e6:.3f}']
    figures = json.loads(written.read_text())['results']
    assert {f'step of 2 processes to one by {clock} time, ratio' for clock in ('wall', 'processor')} <= set(figures)


def test_other_bytes_than_the_formulas_say_are_an_error(tool):
    step = [tool.Collective('all-reduce', 8, 'gradients'), tool.Collective('all-gather', 8, 'keys')]
    tool.check_counted([tool.Collective('all-gather', 8), *[tool.Collective('all-reduce', 4)] * 2], step)
    with pytest.raises(AssertionError, match=r"put in {'all-reduce': 8} bytes, the formulas say {'all-r"):
        tool.check_counted([tool.Collective('all-reduce', 8)], step)
