"""Weak scaling: what more processes with as many images each send and wait for, counted, timed and on paper.

    python tools/benchmarks/scaling.py
    python tools/benchmarks/scaling.py --step-ms 100 --gpus 64 --gpus-per-node 8 --bandwidth 50 --latency 10

First, two processes on this machine train a method over gloo, one core each. All collectives of a step are counted and
compared with what the config says a step has to send (formulas in ``_collectives.py``); where they differ, this fails.
Then steps of one process and of both run in turns, which gives the ratio of weak scaling. That of wall time counts
whatever else the machine does.

Second, on paper: time of the same collectives over a ring of W GPUs by bandwidth and latency, beside ``--step-ms``,
the step of one GPU with ``--gpu-batch`` images of ``--gpu-size`` (measure it by ``step.py --device cuda``). The
efficiency is that step's share of the step on W GPUs; gradients are sent during the last ``--hidden`` of it and only
waited for if they take longer. The last columns are for a shuffle that gives all rows to every process to choose from.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from _collectives import Collective, Link, exposed, of_step, sent
from _processes import Job, run, totals
from _timing import ROOT, Spread, add_options, exactly, provenance, publish, ratios, spread, table
from mmengine.config import Config
from step import CONFIGS

MB = 1e6
WORLD = 2


def check_counted(seen: list[Collective], expected: list[Collective]) -> None:
    """Raise AssertionError unless the bytes of each kind are those of the formulas.

    Kinds are compared as sums: gradients go out in several buckets.
    """
    found, formula = totals(seen), totals(expected)
    if found != formula:
        raise AssertionError(f'a step put in {dict(found)} bytes, the formulas say {dict(formula)}')


def traffic(seen: list[Collective], expected: list[Collective]) -> tuple[str, dict[str, Spread]]:
    """Table and figures of what a process of :data:`WORLD` sends in a step."""
    counted = {kind: sum(sent(one, WORLD) for one in seen if one.kind == kind) for kind in totals(expected)}
    rows = []
    for kind, volume in counted.items():
        formula = [one for one in expected if one.kind == kind]
        parts = ', '.join(f'{one.what} {sent(one, WORLD) / MB:,.3f}' for one in formula)
        calls = sum(one.kind == kind for one in seen)
        total = sum(sent(one, WORLD) for one in formula)
        rows.append([kind, f'{calls}', f'{volume / MB:,.3f}', f'{total / MB:,.3f}', parts])
    whole = sum(counted.values())
    head = ['collective', 'calls', 'sent by a process, MB', 'by the formulas', 'of which']
    return table(head, rows), {'sent in a step by a process of 2, MB': exactly(whole / MB)}


def timing(found: dict) -> tuple[str, dict[str, Spread]]:
    """Table and figures of steps in one process and in all."""
    rows, results = [], {}
    for number, clock in enumerate(('wall', 'processor')):
        alone, together = ([turn[number] for turn in found[name]] for name in ('alone', 'together'))
        one, many, ratio = spread(alone).scaled(1e3), spread(together).scaled(1e3), ratios(together, alone)
        rows.append([f'{clock} time', one.text(0), many.text(0), ratio.text(2)])
        results |= {
            f'step of one process by {clock} time, ms': one,
            f'step of 2 processes by {clock} time, ms': many,
            f'step of 2 processes to one by {clock} time, ratio': ratio,
        }
    return table(['step', '1 process, ms', f'{WORLD} processes, ms', 'ratio'], rows), results


def on_paper(model: Config, parameters: int, args: argparse.Namespace) -> tuple[str, dict[str, Spread]]:
    """Table and figures of W GPUs up to ``args.gpus``."""
    link = Link(args.node_bandwidth * 1e9, args.bandwidth * 1e9, args.latency * 1e-6, args.gpus_per_node)
    step = args.step_ms * 1e-3
    rows, results = [], {}
    for world in [world for world in (1, 2, 8, 16, 32, 64, 128, 256) if world < args.gpus] + [args.gpus]:
        collectives = of_step(model, parameters, args.gpu_batch, args.gpu_size, world)
        volume = {
            name: sum(sent(one, world) for one in collectives if one.what.startswith(name))
            for name in ('gradients', 'shuffle', 'keys')
        }
        whole, waited = exposed(collectives, world, link, args.hidden * step)
        gathered = [one._replace(kind='all-gather') if one.kind == 'all-to-all' else one for one in collectives]
        efficiency, lower = (
            step / (step + seconds) for seconds in (waited, exposed(gathered, world, link, args.hidden * step)[1])
        )
        images = world * args.gpu_batch / (step + waited)
        rows.append(
            [
                f'{world}',
                *(f'{size / MB:,.1f}' for size in volume.values()),
                f'{whole * 1e3:,.1f}',
                f'{waited * 1e3:,.1f}',
                f'{(step + waited) * 1e3:,.1f}',
                f'{images:,.0f}',
                f'{efficiency:.0%}',
                f'{sum(sent(one, world) for one in gathered if one.what.startswith("shuffle")) / MB:,.1f}',
                f'{lower:.0%}',
            ]
        )
        results[f'sent in a step by a GPU of {world}, MB'] = exactly(sum(sent(one, world) for one in collectives) / MB)
        results[f'efficiency of {world} GPUs on paper, %'] = exactly(100 * efficiency)
        results[f'efficiency of {world} GPUs on paper if shuffles gathered all, %'] = exactly(100 * lower)
    head = ['GPUs', 'gradients, MB', 'shuffle, MB', 'keys, MB', 'sending, ms', 'waited for, ms', 'step, ms', 'images/s']
    head += ['efficiency', 'shuffle if all were gathered, MB', 'efficiency then']
    told = (
        f'On paper: {args.gpu_batch} images of {args.gpu_size} × {args.gpu_size} a GPU, {args.step_ms:g} ms a step of '
        f'one; {args.gpus_per_node} GPUs a node, {args.node_bandwidth:g} GB/s inside, {args.bandwidth:g} GB/s between '
        f'nodes, {args.latency:g} µs; volumes are sent by each GPU in a step'
    )
    return f'{told}\n\n{table(head, rows)}', results


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--method', choices=CONFIGS, default='PLM', help='(default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8, help='images of a process (default: %(default)s)')
    parser.add_argument('--size', type=int, default=112, help='side of its views in px (default: %(default)s)')
    parser.add_argument('--queue', type=int, help='negatives in place of those of the config')
    paper = parser.add_argument_group('on paper')
    paper.add_argument('--gpus', type=int, default=64, help='up to so many (default: %(default)s)')
    paper.add_argument('--gpus-per-node', type=int, default=8, help='(default: %(default)s)')
    paper.add_argument('--bandwidth', type=float, default=50, help='GB/s from node to node (default: %(default)s)')
    paper.add_argument('--node-bandwidth', type=float, default=200, help='GB/s inside a node (default: %(default)s)')
    paper.add_argument('--latency', type=float, default=10, help='µs of a message (default: %(default)s)')
    paper.add_argument('--step-ms', type=float, default=100, help='step of one GPU (default, assumed: %(default)s)')
    paper.add_argument('--hidden', type=float, default=0.4, help='backward share of a step (default: %(default)s)')
    paper.add_argument('--gpu-batch', type=int, default=64, help='images of a GPU (default: %(default)s)')
    paper.add_argument('--gpu-size', type=int, default=224, help='side of its views in px (default: %(default)s)')
    add_options(parser, repeats=7)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Count, time and reckon; print three tables."""
    args = parse_args(argv)
    args.clock = 'wall and cpu'
    model = Config.fromfile(ROOT / 'configs' / CONFIGS[args.method]).model
    with tempfile.TemporaryDirectory() as folder:
        found = run(WORLD, Job(args.method, args.batch, args.size, args.queue, args.repeats), Path(folder))
    seen = [Collective(*one) for one in found['seen']]
    expected = of_step(model, found['parameters'], args.batch, args.size, WORLD)
    check_counted(seen, expected)
    texts, results = [], {}
    for text, figures in (
        traffic(seen, expected),
        timing(found),
        on_paper(model, found['parameters'], args),
    ):
        texts.append(text)
        results |= figures
    publish('\n\n'.join([*texts, provenance(args.repeats, args.clock, torch.device('cpu'))]), args, results)


if __name__ == '__main__':
    main()
