"""Every benchmark of this folder, each in a process of its own, and one table of what they claim.

    python tools/benchmarks/run_all.py --quick
    python tools/benchmarks/run_all.py --only views step --json figures.json --markdown report.md
    python tools/benchmarks/run_all.py --device cuda

The table gives the plain side, histomm's side and their ratio (median, lowest to highest) with the goal that was set
for it; whether it is reached is judged by the median. A benchmark that fails is named at the end, the others run all
the same, and the exit status is then 1; goals that are missed do not change it. ``--markdown`` also takes each
benchmark's own tables and ``--json`` all their figures. ``--quick`` is there to see that everything runs: figures of
sizes so small are not judged. What is run how, and what it claims, stands in ``_claims.py``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from _claims import TABLE, Benchmark, Claim
from _timing import Spread, add_output_options, bullets, origin, table

from histomm.atomic_file import write_atomic

FOLDER = Path(__file__).resolve().parent


class Outcome(NamedTuple):
    """What a benchmark left.

    Attributes:
        seconds: That its process took.
        found: What it wrote as JSON, empty if it failed.
        printed: Its tables, or the end of its errors.
        failed: Why, in words; empty if it did not.
    """

    seconds: float
    found: dict
    printed: str
    failed: str


def in_folder() -> set[str]:
    """Names of the benchmarks there are: all scripts but this and those of a leading underscore."""
    return {path.stem for path in FOLDER.glob('[!_]*.py')} - {'run_all'}


def check_table() -> None:
    """Refuse to run where scripts and the table differ.

    Raises:
        ValueError: a script is not in the table, or the reverse.
    """
    if missing := in_folder() ^ set(TABLE):
        raise ValueError(f'{", ".join(sorted(missing))}: in the folder or in TABLE of _claims.py, expected in both')


def run(name: str, benchmark: Benchmark, quick: bool, device: str | None) -> Outcome:
    """One benchmark in a process of its own."""
    arguments = (benchmark.quick if quick else benchmark.full).split()
    if device and benchmark.takes_device:
        arguments += ['--device', device]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, 'figures.json')
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(FOLDER / f'{name}.py'), *arguments, '--json', str(written)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-15:]
            return Outcome(seconds, {}, '\n'.join(last), f'exit status {done.returncode}')
        if not written.is_file():
            return Outcome(seconds, {}, done.stdout, 'wrote no figures')
        found = json.loads(written.read_text(encoding='utf-8'))
    lacking = [key for claim in benchmark.claims for key in claim[1:4] if key and key not in found['results']]
    failed = f'its figures lack {lacking}, there are {sorted(found["results"])}' if lacking else ''
    return Outcome(seconds, found, done.stdout.strip(), failed)


def row(name: str, claim: Claim, results: dict[str, dict[str, float]], quick: bool) -> list[str]:
    """Cells of a claim; figures of small sizes are not judged."""
    sides = [_figure(results[key]['median'], key) if key else '–' for key in (claim.plain, claim.own)]
    ratio = Spread(**results[claim.ratio])
    reached = '–' if quick or not claim.goal else 'yes' if claim.reached(ratio.median) else 'no'
    return [name, claim.what, *sides, ratio.text(2), claim.goal or '–', reached]


def _figure(value: float, key: str) -> str:
    """Three digits at least, and the unit at the end of ``key``."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f'{value:,.{digits}f} {key.rpartition(", ")[2]}'


def summary(outcomes: dict[str, Outcome], quick: bool) -> str:
    """The table of all claims, and the time each benchmark took."""
    rows = [
        row(name, claim, outcome.found['results'], quick)
        for name, outcome in outcomes.items()
        if not outcome.failed
        for claim in TABLE[name].claims
    ]
    head = ['benchmark', 'what', 'plain', 'histomm', 'ratio', 'goal', 'reached']
    took = ', '.join(f'{name} {outcome.seconds:.0f}' for name, outcome in outcomes.items())
    return f'{table(head, rows)}\n\nSeconds with start-up: {took}'


def write(args: argparse.Namespace, text: str, told: dict[str, str], outcomes: dict[str, Outcome]) -> None:
    """The files that were asked for."""
    if args.markdown:
        parts = [f'## {name}\n\n{outcome.printed}' for name, outcome in outcomes.items() if not outcome.failed]
        with open(args.markdown, 'a', encoding='utf-8') as file:
            file.write('\n\n'.join([text, *parts]) + '\n')
    if args.json:
        failed = {name: outcome.failed for name, outcome in outcomes.items() if outcome.failed}
        found = {name: outcome.found for name, outcome in outcomes.items() if not outcome.failed}
        whole = json.dumps({**told, 'benchmarks': found, 'failed': failed}, indent=2, ensure_ascii=False)
        write_atomic(f'{whole}\n'.encode(), args.json)


def main(argv: Sequence[str] | None = None) -> int:
    """Run them one after the other; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='tiny sizes')
    parser.add_argument('--only', nargs='+', metavar='NAME', choices=TABLE, help='these alone')
    parser.add_argument('--device', help='for those that know one: cpu (default), cuda, …')
    add_output_options(parser)
    args = parser.parse_args(argv)
    check_table()
    outcomes: dict[str, Outcome] = {}
    for name, benchmark in TABLE.items():
        if args.only and name not in args.only:
            continue
        print(f'{name} …', end=' ', file=sys.stderr, flush=True)
        outcomes[name] = run(name, benchmark, args.quick, args.device)
        failed = outcomes[name].failed
        print(f'failed: {failed}\n{outcomes[name].printed}' if failed else 'done', file=sys.stderr, flush=True)
    told = origin(torch.device(args.device or 'cpu'))
    text = f'{summary(outcomes, args.quick)}\n\n{bullets(told)}'
    print(text)
    write(args, text, told, outcomes)
    if broken := [name for name, outcome in outcomes.items() if outcome.failed]:
        print(f'failed: {", ".join(broken)}', file=sys.stderr)
    return int(bool(broken))


if __name__ == '__main__':
    sys.exit(main())
