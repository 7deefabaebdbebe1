"""Steps of a method with the switches for speed of ``tools/train.py``, beside its plain step."""

import argparse
from collections.abc import Callable, Sequence

from _memory import MIB, peak_memory
from _timing import Spread, exactly, in_turns, ratios, spread, table

from histomm.engine.speed import SWITCHES


def add_switches(parser: argparse.ArgumentParser, methods: Sequence[str], default: str) -> None:
    """Options named as those of ``tools/train.py``, and the method that is run with them."""
    for name in SWITCHES:
        parser.add_argument(f'--{name.replace("_", "-")}', action='store_true', help='also steps with this switch')
    parser.add_argument('--method', choices=methods, default=default, help='of these steps (default: %(default)s)')


def switched_steps(
    build: Callable, args: argparse.Namespace, clock: Callable[[], float]
) -> tuple[str, dict[str, Spread]]:
    """Table of the steps that ``build(switches=...)`` makes, and the same as results; nothing if no switch is given.

    Memory is the most that a step holds beside model and optimiser, of an accelerator only.
    """
    given = [name for name in SWITCHES if getattr(args, name)]
    if not given:
        return '', {}
    variants = {'plain': [], **{name: [name] for name in given}}
    if len(given) > 1:
        variants[' + '.join(given)] = given
    steps = {name: build(switches=switches).step for name, switches in variants.items()}
    times = in_turns(steps, args.repeats, clock)
    rows, results = [], {}
    for name, seconds in times.items():
        whole, ratio = spread(seconds).scaled(1e3), ratios(seconds, times['plain'])
        what = f'{args.method} step, {name}'
        results |= {f'{what}, ms': whole, f'{what} to plain, ratio': ratio}
        rows.append([name.replace('_', '-'), whole.text(0), ratio.text(2), '–'])
        if args.device.type != 'cpu':
            held = exactly(peak_memory(steps[name], args.device) / MIB)
            results[f'{what}, MiB'] = held
            rows[-1][-1] = f'{held.median:,.0f}'
    return table([f'{args.method} with', 'step, ms', 'ratio to plain', 'peak MiB'], rows) + '\n\n', results
