"""InfoNCE whose negatives are never compared all at once, beside the plain form: time and peak memory.

The plain form holds all N×K logits for the backward pass, as one writes it down from the paper. Both take the same rows
of unit length; forward and backward run in turns in one process:

    python tools/benchmarks/info_nce.py [--rows 25088] [--queue 16384] [--repeats 5] [--device cuda]

25,088 rows are both directions of 7×7 cells of a batch of 256. Peak memory is what a process of its own takes on top of
the inputs: the resident set on a CPU, torch's own count on an accelerator.
"""

import argparse
import resource
import subprocess
import sys

import torch
from _timing import (
    add_device_options,
    add_options,
    exactly,
    in_turns,
    provenance,
    publish,
    ratios,
    set_up_device,
    spread,
    table,
)
from torch import Tensor
from torch.nn import functional as F

from histomm.functional import info_nce

CHANNELS, TEMPERATURE = 128, 0.2
MIB = 2**20


def plain(anchor: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy of the positive's logit among all others."""
    logits = torch.cat(((anchor * positive).sum(1, keepdim=True), anchor @ negatives.T), 1) / TEMPERATURE
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def streaming(anchor: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """As shipped."""
    return info_nce(anchor, positive, negatives, TEMPERATURE)


FORMS = {'plain': plain, 'streaming': streaming}


def make_rows(count: int, queue: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors and positives with gradient, and negatives, of unit length."""
    generator = torch.Generator().manual_seed(0)
    rows = [F.normalize(torch.randn(number, CHANNELS, generator=generator), dim=1) for number in (count, count, queue)]
    anchor, positive, negatives = (part.to(device) for part in rows)
    return anchor.requires_grad_(), positive.requires_grad_(), negatives


def step(name: str, rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Forward and backward; the gradient of the anchors."""
    rows[0].grad = rows[1].grad = None
    FORMS[name](*rows).backward()
    return rows[0].grad


def peak(name: str, count: int, queue: int, place: torch.device) -> float:
    """MiB that one step takes on top of its inputs; to be called in a process of its own."""
    step(name, make_rows(64, 64, place))  # libraries and their buffers
    rows = make_rows(count, queue, place)
    if place.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(name, rows)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(name, rows)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def peak_of_process(name: str, args: argparse.Namespace) -> float:
    """:func:`peak` in a fresh process, which has held nothing before."""
    sizes = ['--rows', str(args.rows), '--queue', str(args.queue)]
    place = ['--device', str(args.device), '--threads', str(args.threads)]
    done = subprocess.run(
        [sys.executable, __file__, '--peak-of', name, *sizes, *place], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--rows', type=int, default=25088, help='anchors (default: %(default)s)')
    parser.add_argument('--queue', type=int, default=16384, help='negatives (default: %(default)s)')
    parser.add_argument('--peak-of', choices=FORMS, help='only print the peak memory of one form in MiB')
    add_options(parser, repeats=5)
    add_device_options(parser)
    args = parser.parse_args(argv)
    clock = set_up_device(args)
    if args.peak_of:
        print(peak(args.peak_of, args.rows, args.queue, args.device))
        return
    memory = {name: peak_of_process(name, args) for name in FORMS}
    rows = make_rows(args.rows, args.queue, args.device)
    torch.testing.assert_close(step('streaming', rows), step('plain', rows))
    times = in_turns({name: lambda name=name: step(name, rows) for name in FORMS}, args.repeats, clock)
    ratio, less = ratios(times['plain'], times['streaming']), memory['plain'] / max(memory['streaming'], 1)
    against_plain = {'plain': ('', ''), 'streaming': (ratio.text(2), f'{less:.0f}')}
    lines = [
        [name, spread(times[name]).text(2), against_plain[name][0], f'{memory[name]:,.0f}', against_plain[name][1]]
        for name in FORMS
    ]
    results = {'InfoNCE, ratio': ratio, 'InfoNCE memory, ratio': exactly(less)}
    for name in FORMS:
        results[f'InfoNCE {name}, s'] = spread(times[name])
        results[f'InfoNCE {name}, MiB'] = exactly(memory[name])
    head = ['form', 'seconds', 'ratio', 'peak MiB', 'memory ratio']
    size = f'{args.rows:,} anchors, {args.queue:,} negatives, {CHANNELS} channels, float32'
    text = f'{size}\n\n{table(head, lines)}\n\n{provenance(args.repeats, args.clock, args.device)}\n'
    publish(text, args, results)


if __name__ == '__main__':
    main()
