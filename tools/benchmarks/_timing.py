"""What the benchmarks share: calls timed in turns, ratios pair by pair, and where a figure was measured.

On a machine that does other work too, two figures taken one after the other cannot be divided: the load has changed
between them. So the calls run in turns, A B A B, and a ratio is taken within each turn.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from histomm.atomic_file import write_atomic
from histomm.engine.provenance import commit, processor

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = ('cpu', 'wall')
OUTPUTS = ('--markdown', '--json')


class Spread(NamedTuple):
    """Smallest, middle and largest of some measurements."""

    low: float
    median: float
    high: float

    def text(self, digits: int = 2, scale: float = 1) -> str:
        """``median (low to high)``, each times ``scale``."""
        low, median, high = (f'{value:,.{digits}f}' for value in self.scaled(scale))
        return f'{median} ({low} to {high})'

    def scaled(self, factor: float) -> 'Spread':
        """In another unit."""
        return Spread(*(value * factor for value in self))


def spread(values: Sequence[float]) -> Spread:
    """Spread of at least one value."""
    return Spread(min(values), statistics.median(values), max(values))


def exactly(value: float) -> Spread:
    """Spread of what was measured once, such as memory or bytes."""
    return Spread(value, value, value)


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Spread of the quotients of measurements that were taken side by side."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])


def make_clock(kind: str, device: torch.device) -> Callable[[], float]:
    """A clock in seconds that waits until ``device`` has done what it was given.

    Args:
        kind: ``'cpu'`` counts the processor time of this process, all threads together, so that other processes on the
            machine hardly count; ``'wall'`` counts the time that passes.
        device: Where the work runs; ``'cpu'`` time says nothing of an accelerator.
    """
    now = {'cpu': time.process_time, 'wall': time.perf_counter}[kind]
    if device.type == 'cpu':
        return now
    if kind == 'cpu':
        raise ValueError(f"clock is 'cpu' and the device {device}; an accelerator is timed with the clock 'wall'")

    def synchronised() -> float:
        torch.accelerator.synchronize(device)
        return now()

    return synchronised


def in_turns(
    runs: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each run, ``repeats`` times in turns, after one turn that does not count.

    Every other turn goes backwards, so that no run always comes after the same one.
    """
    if repeats < 1:
        raise ValueError(f'repeats is {repeats}, expected at least 1')
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            start = clock()
            runs[name]()
            seconds = clock() - start
            if turn:
                times[name].append(seconds)
    return times


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Options of every benchmark that measures time."""
    parser.add_argument('--repeats', type=int, default=repeats, help='turns that count (default: %(default)s)')
    add_output_options(parser)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where :func:`publish` writes, besides printing."""
    parser.add_argument('--markdown', metavar='FILE', help='also append the tables to this file')
    parser.add_argument('--json', metavar='FILE', help='also write figures and their origin to this file')


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Options of a benchmark that runs on any device."""
    parser.add_argument('--device', type=torch.device, default=torch.device('cpu'), help='cpu (default), cuda, …')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch on the CPU (default: %(default)s)')
    parser.add_argument('--clock', choices=CLOCKS, help='default: processor time on the CPU, else wall time')


def set_up_device(args: argparse.Namespace) -> Callable[[], float]:
    """Apply the options of :func:`add_device_options`; returns the clock and leaves its kind in ``args``."""
    torch.set_num_threads(args.threads)
    args.clock = args.clock or ('cpu' if args.device.type == 'cpu' else 'wall')
    return make_clock(args.clock, args.device)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table: the first column of words, the others of numbers."""
    ruler = ['---', *['--:'] * (len(head) - 1)]
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in (head, ruler, *rows))


def provenance(repeats: int | None, clock: str, device: torch.device) -> str:
    """What :func:`origin` says, as a markdown list."""
    found = origin(device, repeats, clock)
    return bullets(found | {'command': f'`{found["command"]}`'})


def bullets(found: Mapping[str, str]) -> str:
    """Names and values as a markdown list."""
    return '\n'.join(f'- {name.capitalize()}: {value}' for name, value in found.items())


def origin(device: torch.device, repeats: int | None = None, clock: str = 'cpu') -> dict[str, str]:
    """Command, commit, hardware, software and, where times were taken in ``repeats`` turns, how."""
    found = {
        'command': command(),
        'commit': commit(ROOT),
        'hardware': _hardware(device),
        'software': f'Python {platform.python_version()}, torch {torch.__version__}',
    }
    if repeats is not None:
        load = ', '.join(f'{value:.1f}' for value in os.getloadavg())
        found['timing'] = (
            f'{clock} time, threads: {torch.get_num_threads()}, {repeats} turns after one that does not count; '
            f'median (lowest to highest); load averages at the end {load}'
        )
    return found


def publish(text: str, args: argparse.Namespace, results: Mapping[str, Spread]) -> None:
    """Print ``text``, append it to the file ``args.markdown`` and write ``args.json``, where they are named.

    Args:
        text: Tables and :func:`provenance`.
        args: Options of :func:`add_output_options`, and ``repeats``, ``clock`` and ``device`` where there are such.
        results: Figures by ``'<what>, <unit>'``, such as ``'PLM step, ms'`` or ``'TIFF file to tensor, ratio'``; the
            ratio that a page claims is among them.

    Raises:
        ValueError: a key names no unit, or a figure is not finite.
    """
    for key in results:
        if ', ' not in key:
            raise ValueError(f'result {key!r} names no unit, expected <what>, <unit>')
    print(text)
    if args.markdown:
        with open(args.markdown, 'a', encoding='utf-8') as file:
            file.write(f'{text}\n')
    if args.json:
        given = vars(args)
        device = given.get('device') or torch.device('cpu')
        found = origin(device, given.get('repeats'), given.get('clock') or 'cpu')
        figures = {key: value._asdict() for key, value in results.items()}
        written = json.dumps({**found, 'results': figures}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(f'{written}\n'.encode(), args.json)


def command() -> str:
    """What was typed, from the root of the repository, without where the tables go."""
    script, *args = sys.argv
    for option in OUTPUTS:
        while option in args:
            at = args.index(option)
            del args[at : at + 2]
    return shlex.join(['python', _from_root(script), *args])


def _from_root(script: str) -> str:
    path = Path(script).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else script


def _hardware(device: torch.device) -> str:
    """Processor and, if it is used, accelerator."""
    return f'{torch.cuda.get_device_name(device)}; {processor()}' if device.type == 'cuda' else processor()
