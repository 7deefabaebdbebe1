"""The benchmarks compare like with like, their reckoning is right, and each runs. Nothing here asserts a time."""

import argparse
import importlib.util
import json
import re
import sys
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from benchmark_claims import require_claims
from mmengine.config import Config

TINY = {
    'info_nce': ['--rows', '40', '--queue', '30', '--repeats', '1', '--device', 'cpu'],
    'views': ['--images', '1', '--repeats', '1'],
    'matching': ['--batch', '2', '--channels', '3', '--sides', '2', '28', '--repeats', '1', '--device', 'cpu'],
    'patch_contrast': [
        '--batch',
        '2',
        '--size',
        '60',
        '--classes',
        '2',
        '--patches',
        '2',
        '--repeats',
        '1',
        '--device',
        'cpu',
    ],
    'tiling': ['--side', '1024', '--mpp', '0.5', '--repeats', '1'],
    'step': ['--batch', '2', '--size', '64', '--queue', '16', '--repeats', '1', '--device', 'cpu'],
}


@pytest.fixture(scope='module')
def load(repo):
    """Load a benchmark as it is when called as a script."""
    folder = repo / 'tools' / 'benchmarks'

    def module(name):
        spec = importlib.util.spec_from_file_location(f'benchmark_{name}', folder / f'{name}.py')
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield module


@pytest.fixture(scope='module')
def timing(load):
    return load('_timing')


@pytest.fixture(scope='module')
def matching(load):
    return load('matching')


@pytest.fixture(scope='module')
def step(load):
    return load('step')


@pytest.fixture
def same_threads():
    """A benchmark sets the number of threads; other tests shall not notice."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


class FakeClock:
    """Stands still unless told how many seconds pass."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds


def documented():
    """Names and arguments of the commands in the documentation that measure time."""
    page = Path(__file__).resolve().parents[2] / 'docs' / 'benchmarks.md'
    lines = re.findall(r'^ {4}python tools/benchmarks/(\w+)\.py(.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return [(name, arguments.split()) for name, arguments in lines if name in TINY]


def test_every_benchmark_is_documented(repo):
    assert {name for name, _ in documented()} == set(TINY)
    pages = ''.join(page.read_text(encoding='utf-8') for page in (repo / 'docs').glob('*.md'))
    scripts = {path.stem for path in (repo / 'tools' / 'benchmarks').glob('[!_]*.py')}
    assert not scripts - set(re.findall(r'tools/benchmarks/(\w+)\.py', pages))


@pytest.mark.parametrize(('name', 'arguments'), documented())
@pytest.mark.usefixtures('same_threads')
def test_documented_commands_run_in_the_smallest_setting(load, name, arguments, monkeypatch, capsys, tmp_path):
    written = tmp_path / 'figures.json'
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *arguments, *TINY[name], '--json', str(written)])
    load(name).main()
    printed = capsys.readouterr().out
    assert 'ratio' in printed
    assert ', 1 turns' in printed
    assert f'Command: `python {name}.py' in printed
    assert not re.search(r'\b(nan|inf)\b', printed)
    require_claims(name, written)


def test_turns_go_forth_and_back_and_the_first_does_not_count(timing):
    clock, order = FakeClock(), []

    def run(name, seconds):
        order.append(name)
        clock.work(seconds.pop(0))

    runs = {'a': partial(run, 'a', [100, 1, 2, 6]), 'b': partial(run, 'b', [100, 4, 4, 3])}
    times = timing.in_turns(runs, 3, clock)
    assert ''.join(order) == 'ab' + 'ba' + 'ab' + 'ba'
    assert times == {'a': [1, 2, 6], 'b': [4, 4, 3]}
    assert timing.ratios(times['b'], times['a']) == (0.5, 2, 4)
    assert timing.spread(times['a']).text(1, 1e3) == '2,000.0 (1,000.0 to 6,000.0)'


def test_no_repeats_is_an_error(timing):
    with pytest.raises(ValueError, match='repeats is 0'):
        timing.in_turns({}, 0, FakeClock())


def test_processor_time_of_an_accelerator_is_an_error(timing):
    with pytest.raises(ValueError, match="with the clock 'wall'"):
        timing.make_clock('cpu', torch.device('meta'))


def outputs(**given):
    return argparse.Namespace(**{'markdown': None, 'json': None, **given})


def test_markdown_is_appended(timing, tmp_path, capsys):
    page = tmp_path / 'page.md'
    for title in ('one', 'two'):
        timing.publish(timing.table([title, 'x'], [['row', '3']]), outputs(markdown=str(page)), {})
    assert page.read_text() == capsys.readouterr().out
    assert page.read_text().splitlines() == [
        '| one | x |', '| --- | --: |', '| row | 3 |', '| two | x |', '| --- | --: |', '| row | 3 |',
    ]  # fmt: skip


def test_figures_are_written_with_their_origin(timing, tmp_path, monkeypatch):
    where = tmp_path / 'new' / 'figures.json'
    typed = ['made_up.py', '--batch', '3', '--json', str(where), '--markdown', 'page.md']
    monkeypatch.setattr(sys, 'argv', typed)
    args = outputs(json=str(where), repeats=3, clock='wall', device=torch.device('cpu'))
    results = {'step, ms': timing.spread([2, 1, 4]), 'held, MiB': timing.exactly(7.5)}
    timing.publish('text', args, results)
    found = json.loads(where.read_text())
    assert found.pop('results') == {
        'step, ms': {'low': 1, 'median': 2, 'high': 4},
        'held, MiB': {'low': 7.5, 'median': 7.5, 'high': 7.5},
    }
    assert found['command'] == 'python made_up.py --batch 3'
    assert found['timing'].startswith('wall time, threads: ')
    assert list(found) == ['command', 'commit', 'hardware', 'software', 'timing']
    assert list(where.parent.iterdir()) == [where]


@pytest.mark.parametrize(
    ('key', 'value', 'message'), [('step', 1.0, 'names no unit'), ('step, ms', float('inf'), 'not JSON compliant')]
)
def test_figures_without_a_unit_or_a_finite_value_are_refused(timing, tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        timing.publish('text', outputs(json=str(tmp_path / 'figures.json')), {key: timing.exactly(value)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('batch', 'channels', 'side'), [(1, 1, 1), (3, 5, 4), (2, 3, 7)])
def test_separable_matching_equals_dense(matching, batch, channels, side):
    matching.check_equal(matching.make_case(batch, channels, side, torch.device('cpu')))


def test_matching_agrees_by_hand(matching):
    """Two cells a side of 10 px; the key crop is the right half of the query's, and, in the second image, far away."""
    case = matching.Case(
        box_q=torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 20]]),
        box_k=torch.tensor([[10.0, 0, 20, 20], [100, 0, 120, 20]]),
        feat_k=torch.tensor([[[[1.0, 3], [5, 9]]]]).repeat(2, 1, 1, 1).requires_grad_(),
        grad=torch.ones(2, 1, 2, 2),
        side=2,
    )
    for method in matching.METHODS.values():
        aligned, weights = method(case)
        assert aligned.tolist() == [[[[0, 2], [0, 7]]], [[[0, 0], [0, 0]]]]
        assert weights.tolist() == [[[0, 1], [0, 1]], [[0, 0], [0, 0]]]


def test_a_wrong_method_is_not_measured(matching, monkeypatch):
    monkeypatch.setitem(matching.METHODS, 'dense', lambda case: [value * 1.01 for value in matching.separable(case)])
    with pytest.raises(AssertionError):
        matching.check_equal(matching.make_case(2, 3, 4, torch.device('cpu')))


def test_peak_memory_counts_what_is_held_at_once(matching):
    def run():
        first = torch.empty(2**20, dtype=torch.uint8)
        del first
        kept = [torch.empty(2**20, dtype=torch.uint8) for _ in range(3)]
        del kept

    assert matching.peak_memory(run, torch.device('cpu')) == 3 * 2**20


def test_an_inner_part_interrupts_the_outer_one(step):
    clock = FakeClock()
    timer = step.PartTimer(clock)
    clock.work(1)
    with timer.within('outer'):
        clock.work(2)
        timer.wrap(clock.work, 'inner')(4)
        clock.work(8)
        timer.switch('later')
        clock.work(16)
    clock.work(32)
    timer.switch('rest')
    assert dict(timer.seconds) == {'rest': 33, 'outer': 10, 'inner': 4, 'later': 16}


def tiny(step, name):
    return step.build(name, step.make_batch(2, 64), torch.device('cpu'), queue_len=5)


@pytest.mark.parametrize('name', ['MoCo-v2', 'VICRegL^m', 'PLM'])
def test_a_step_with_timers_equals_a_free_one(step, name):
    clock = FakeClock()
    free, timed = tiny(step, name), tiny(step, name)
    for _ in range(2):
        free.step()
        found = step.timed_step(timed, clock)
    dense_parts = {part for part in step.PARTS if 'dense' in part or 'match' in part or 'turn' in part}
    assert list(found) == [part for part in step.PARTS if name != 'MoCo-v2' or part not in dense_parts]
    other = free.model.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in timed.model.state_dict().items())
    leftover = [key for key, value in vars(timed.model).items() if callable(value)]
    assert leftover == [key for key, value in vars(free.model).items() if callable(value)]


def test_the_backward_pass_is_split_in_its_order(step, monkeypatch):
    order = []
    monkeypatch.setattr(step.PartTimer, 'switch', lambda self, part: order.append(part))
    step.timed_step(tiny(step, 'PLM'), FakeClock())
    changes = [part for part, before in zip(order, [None, *order], strict=False) if part != before]
    assert changes == [*step.BACKWARD, 'rest']


def test_methods_are_those_of_the_paper(step):
    """Same encoder and queue length in all, so that ratios say what matching costs."""
    models = {name: Config.fromfile(step.ROOT / 'configs' / path).model for name, path in step.CONFIGS.items()}
    shared = [(model.backbone, model.neck, model.queue_len) for model in models.values()]
    assert all(settings == shared[0] for settings in shared)
    matchers = [[matcher.type.rpartition('.')[2] for matcher in model.get('matchers', [])] for model in models.values()]
    assert matchers == [[], ['FeatureMatcher'], ['FeatureMatcher', 'LocationMatcher'], ['PreciseLocationMatcher']]
