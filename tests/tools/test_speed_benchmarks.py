"""Benchmarks of the switches for speed, of averaged encoders and of whole runs: they compare like with like and run."""

import argparse
import gc
import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmark_claims import require_claims
from tool_modules import load_tool


@pytest.fixture
def load(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / 'tools' / 'benchmarks'))
    threads = torch.get_num_threads()
    gc.freeze()  # data sets call gc.collect, which takes half a second with all libraries loaded
    yield lambda name: load_tool(f'tools/benchmarks/{name}.py')
    gc.unfreeze()
    torch.set_num_threads(threads)


def run(tool, monkeypatch, folder, *arguments):
    """Figures of a benchmark by its ``main``."""
    written = folder / 'figures.json'
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments, '--json', str(written)])
    tool.main()
    require_claims(Path(tool.__file__).stem, written)
    return json.loads(written.read_text())['results']


def test_steps_with_switches_are_built_and_timed(load, capsys):
    step, switches = load('step'), load('_switches')
    parser = argparse.ArgumentParser()
    switches.add_switches(parser, list(step.CONFIGS), 'PLM')
    args = parser.parse_args(['--amp', '--channels-last', '--fused'])
    args.repeats, args.device = 1, torch.device('cpu')
    build = partial(step.build, 'PLM', step.make_batch(2, 64), args.device, 5)
    built = {}

    def watched(switches):
        if len(switches) < 3:  # all together will do
            return argparse.Namespace(step=lambda: None)
        built[tuple(switches)] = build(switches=switches)
        return built[tuple(switches)]

    ticks = iter(range(1000))
    text, results = switches.switched_steps(watched, args, lambda: float(next(ticks)))
    names = ['plain', 'amp', 'channels_last', 'fused', 'amp + channels_last + fused']
    assert list(results) == [f'PLM step, {name}{end}' for name in names for end in (', ms', ' to plain, ratio')]
    assert [line.split(' | ')[0][2:] for line in text.splitlines()[2:7]] == [n.replace('_', '-') for n in names]
    everything = built['amp', 'channels_last', 'fused']
    assert type(everything.optim).__name__ == 'AutocastOptimWrapper'
    assert everything.optim.optimizer.defaults['fused']
    weight = everything.model.key_encoder.module['backbone'].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_no_switch_adds_nothing(load):
    switches = load('_switches')
    parser = argparse.ArgumentParser()
    switches.add_switches(parser, ['PLM'], 'PLM')
    assert switches.switched_steps(None, parser.parse_args([]), None) == ('', {})


def test_the_loop_averages_and_both_agree(load, monkeypatch, tmp_path):
    ema = load('ema')
    own, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    with torch.no_grad():
        own.weight.fill_(1.0)
        other.weight.fill_(3.0)
    ema.loop(own, other)
    assert own.weight.item() == pytest.approx(0.99 * 1 + 0.01 * 3)
    found = run(ema, monkeypatch, tmp_path, '--backbones', 'resnet18', '--updates', '1', '--repeats', '1')
    assert list(found) == [f'resnet18 update{end}' for end in (' by loop, ms', ' by histomm, ms', ', ratio')]


def test_whole_runs_are_measured_in_both_precisions(load, monkeypatch, tmp_path, capsys):
    tool = load('train_speed')
    sizes = ['--batch', '2', '--size', '64', '--files', '6', '--workers', '0', '--cfg-options', 'model.queue_len=16']
    lengths = ['--warmup', '1', '--iterations', '2', '--repeats', '2', '--peak', '1']
    found = run(tool, monkeypatch, tmp_path, *sizes, *lengths, '--suffix', 'jpg')
    # at 64 pixels a ResNet-18 has 0.148 GFLOP (1.82 / 12.25 multiply-adds are two operations each): the query's pass,
    # twice as much backwards, and the key's pass; the images have no gradient
    assert found['operations of an image, GFLOP']['median'] == pytest.approx(4 * 2 * 1.814 / 12.25, rel=0.06)
    for name in ('float32', 'bfloat16'):
        speed, used = found[f'{name} training, images/s'], found[f'{name} use of the device, %']
        share = speed['median'] * found['operations of an image, GFLOP']['median'] / 1e3
        assert used['median'] == pytest.approx(100 * share)
        assert 0 <= found[f'{name} wait for data, %']['median'] <= 100
    curve = [line for line in capsys.readouterr().out.splitlines() if line.startswith(('| 1 to 1', '| 5 to 5'))]
    plain, mixed = map(float, curve[0].strip('| ').split(' | ')[1:])
    assert len(curve) == 2
    assert mixed == pytest.approx(plain, rel=0.05)


def test_views_on_the_device_are_no_operations_of_the_step(load, tmp_path):
    tool = load('train_speed')
    plain = dict(config='histomm::mocov2/mocov2_r18_nct.py', batch=2, size=32, workers=0, views_on=None)
    args = argparse.Namespace(**plain, cfg_options={'model.queue_len': 4}, warmup=0, iterations=1, repeats=1)
    data = tool.draw_files(tmp_path, 2, 64, 'tif')
    found = []
    for args.views_on in (None, 'device'):
        found.append(tool.count_operations(tool.make_config(args, data, tmp_path / f'{args.views_on}', [])))
    assert found[0] == found[1] > 0


def test_stretches_begin_after_the_warm_up(load, monkeypatch):
    meter = load('train_speed').Meter(2, 3, 2, torch.device('cpu'))
    now = iter(range(100))
    meter.clock = lambda: next(now)
    for number in range(meter.total):
        meter.before_train_iter(None, number)
        meter.after_train_iter(None, number, outputs=dict(loss=torch.tensor(float(number))))
    assert meter.total == 8
    assert meter.seconds() == [1, 1]
    assert len(meter.losses) == 8
