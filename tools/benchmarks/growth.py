"""How time and memory grow with the sizes of a training run: histomm and the plain form, one figure for each size.

    python tools/benchmarks/growth.py --out work_dirs/growth [--only cells queue] [--repeats 3] [--device cuda]

| subject | grows | plain | histomm |
| --- | --- | --- | --- |
| cells | cells a side of the maps, 4 images | matching with the matrix of overlaps | two small products |
| queue | negatives, 3,136 anchors | InfoNCE of all logits at once | a few hundred rows at a time |
| anchors | images, of 98 anchors each, 4,096 negatives | the same | the same |
| batch | images of 96 x 96 | MoCo-v2's step | PLM's step |
| image | side of 4 images | MoCo-v2's step | PLM's step |
| slides | slides of 60 regions | loops of scikit-learn and scipy | batches and tiles |

Both forms of a place run in turns; each place is measured once. The exponents are those of power laws through the last
three places, in time and in memory, which is what the allocator of torch held at most beside the inputs. What the loops
over slides hold is numpy's and not measured; they end where they would take too long.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import info_nce
import matching
import prototypes
import step
import torch
from _growth_figure import Curve, draw_growth, exponent
from _memory import MIB, peak_memory
from _timing import (
    Spread,
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
from threadpoolctl import threadpool_limits

from histomm.atomic_file import atomic_path

Runs = dict[str, Callable[[], object]]
ANCHORS_OF_AN_IMAGE = 2 * 7 * 7


class Subject(NamedTuple):
    """What grows.

    Attributes:
        prepare: From a size and a device to the plain call and histomm's, of which the plain one may be missing.
        sizes: By growing size.
        quick: The same, for a look.
        xlabel: What the size is.
        title: Of the figure.
        added: Whether the second form does more than the first, and the ratio is that of its cost.
    """

    prepare: Callable[[int, torch.device], Runs]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    xlabel: str
    title: str
    added: bool = False


def cells(side: int, device: torch.device) -> Runs:
    """Matching and the gradient of the map, as benchmarked by ``matching.py``."""
    case = matching.make_case(4, 128, side, device)
    forms = {'matrix of overlaps': matching.dense, 'histomm': matching.separable}
    return {form: partial(matching.forward_backward, method, case) for form, method in forms.items()}


def contrast(anchors: int, negatives: int, device: torch.device) -> Runs:
    """InfoNCE and its gradient, as benchmarked by ``info_nce.py``."""
    rows = info_nce.make_rows(anchors, negatives, device)
    forms = {'all logits': 'plain', 'histomm': 'streaming'}
    return {form: partial(info_nce.step, name, rows) for form, name in forms.items()}


def queue(negatives: int, device: torch.device) -> Runs:
    """One size of the queue."""
    return contrast(32 * ANCHORS_OF_AN_IMAGE, negatives, device)


def anchors(images: int, device: torch.device) -> Runs:
    """One size of the batch."""
    return contrast(images * ANCHORS_OF_AN_IMAGE, 4096, device)


def steps(images: int, size: int, device: torch.device) -> Runs:
    """Whole training steps, as benchmarked by ``step.py``."""
    data = step.make_batch(images, size)
    return {name: step.build(name, data, device).step for name in ('MoCo-v2', 'PLM')}


def batch(images: int, device: torch.device) -> Runs:
    """One size of the batch."""
    return steps(images, 96, device)


def image(size: int, device: torch.device) -> Runs:
    """One size of the views."""
    return steps(4, size, device)


def slides(count: int, device: torch.device) -> Runs:
    """Prototypes and neighbours, as benchmarked by ``prototypes.py``; up to 512 slides also by loops."""
    x, slide = prototypes.draw_regions(count, 60, 256)
    there, places = x.to(device), slide.to(device)

    def own() -> None:
        prototypes.own_neighbors(prototypes.own_prototypes(there, places, 4))

    def loops() -> None:
        prototypes.looped_neighbors(prototypes.looped_prototypes(x, slide, 4)[0])

    return {'loops': loops, 'histomm': own} if count <= 512 else {'histomm': own}


SUBJECTS = {
    'cells': Subject(cells, (7, 10, 14, 20, 28, 40, 56), (4, 7), 'cells a side', 'Precise location matching, 4 images'),
    'queue': Subject(
        queue,
        (1024, 4096, 16384, 65536),
        (64, 128),
        'negatives in the queue',
        f'InfoNCE, {32 * ANCHORS_OF_AN_IMAGE:,} anchors',
    ),
    'anchors': Subject(
        anchors, (8, 16, 32, 64, 128), (1, 2), 'images, 98 anchors each', 'InfoNCE, 4,096 negatives in the queue'
    ),
    'batch': Subject(batch, (2, 4, 8, 16, 32), (2, 3), 'images of 96 × 96', 'Training step, ResNet-18', added=True),
    'image': Subject(
        image, (64, 96, 128, 192, 256), (64, 96), 'side of 4 images (px)', 'Training step, ResNet-18', added=True
    ),
    'slides': Subject(
        slides, (64, 128, 256, 512, 1024, 2048), (6, 9), 'slides of 60 regions', 'Prototypes and neighbours of slides'
    ),
}


class Place(NamedTuple):
    """What was measured at one size; times in seconds, memory in bytes by form."""

    size: int
    times: dict[str, list[float]]
    memory: dict[str, int]


def measure(subject: Subject, sizes: tuple[int, ...], args: argparse.Namespace, clock: Callable) -> list[Place]:
    """All sizes of a subject."""
    places = []
    for size in sizes:
        runs = subject.prepare(size, args.device)
        times = in_turns(runs, args.repeats, clock)
        places.append(Place(size, times, {form: peak_memory(run, args.device) for form, run in runs.items()}))
    return places


def curves(places: list[Place]) -> dict[str, dict[str, Curve]]:
    """Panels of the figure: times in ms and memory in MiB by form."""
    forms = list(places[0].times)
    spreads = {
        'time (ms)': {form: [spread(place.times[form]).scaled(1e3) for place in _of(places, form)] for form in forms},
        'memory (MiB)': {
            form: [exactly(place.memory[form] / MIB) for place in _of(places, form)]
            for form in forms
            if form != 'loops'
        },
    }
    return {
        panel: {
            form: Curve([place.size for place in _of(places, form)], *zip(*values, strict=True))
            for form, values in found.items()
        }
        for panel, found in spreads.items()
    }


def _of(places: list[Place], form: str) -> list[Place]:
    return [place for place in places if form in place.times]


def ratio_at(subject: Subject, place: Place) -> Spread | None:
    """Plain by histomm, or the other way round for what is added; none where one form is missing."""
    if len(place.times) < 2:
        return None
    plain, own = place.times.values()
    return ratios(own, plain) if subject.added else ratios(plain, own)


def rows(subject: Subject, places: list[Place], panels: dict[str, dict[str, Curve]]) -> str:
    """Table of a subject: both times, their ratio and both memories at each size; the exponents in the last row."""
    forms = list(places[0].times)
    held = [form for form in forms if form != 'loops']
    lines = []
    for place in places:
        times = [spread(place.times[form]).text(1, 1e3) if form in place.times else '–' for form in forms]
        ratio = ratio_at(subject, place)
        memory = [f'{place.memory[form] / MIB:,.1f}' for form in held]
        lines.append([f'{place.size:,}', *times, ratio.text(2) if ratio else '–', *memory])
    powers = {panel: [f'{exponent(curve):.2f}' for curve in found.values()] for panel, found in panels.items()}
    lines.append(['exponent', *powers['time (ms)'], '–', *powers['memory (MiB)']])
    head = [
        subject.xlabel,
        *(f'{form}, ms' for form in forms),
        f'ratio to {forms[0]}' if subject.added else 'ratio',
        *(f'{form}, MiB' for form in held),
    ]
    return f'{subject.title}\n\n{table(head, lines)}'


def figures(name: str, subject: Subject, places: list[Place], panels: dict[str, dict[str, Curve]]) -> dict[str, Spread]:
    """Results of a subject."""
    found = {}
    for place in places:
        ratio = ratio_at(subject, place)
        for at in (f'{name} of {place.size}', *([f'{name} at the largest'] if ratio else [])):  # the last one stays
            found |= {f'{at}, ratio': ratio} if ratio else {}
            found |= {f'{at} by {form}, ms': spread(seconds).scaled(1e3) for form, seconds in place.times.items()}
    for panel, quantity in (('time (ms)', 'time'), ('memory (MiB)', 'memory')):
        for form, curve in panels[panel].items():
            power = exponent(curve)
            if math.isfinite(power):
                found[f'{name} {quantity} by {form}, exponent'] = exactly(power)
            for size, value in zip(curve.places, curve.middle, strict=True):
                if quantity == 'memory':
                    found[f'{name} of {size} by {form}, MiB'] = exactly(value)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/growth'), help='of figures (default: %(default)s)')
    parser.add_argument('--only', nargs='+', choices=SUBJECTS, metavar='SUBJECT', help=', '.join(SUBJECTS))
    parser.add_argument('--quick', action='store_true', help='two small sizes each')
    add_options(parser, repeats=3)
    add_device_options(parser)
    args = parser.parse_args(argv)
    clock = set_up_device(args)
    texts, results = [], {}
    for name in args.only or SUBJECTS:
        subject = SUBJECTS[name]
        with threadpool_limits(args.threads):
            places = measure(subject, subject.quick if args.quick else subject.sizes, args, clock)
        panels = curves(places)
        with atomic_path(args.out / f'growth_{name}.png') as path:
            draw_growth(panels, subject.xlabel, subject.title).savefig(path, format='png', dpi=110)
        texts.append(rows(subject, places, panels))
        results |= figures(name, subject, places, panels)
    publish('\n\n'.join([*texts, provenance(args.repeats, args.clock, args.device)]), args, results)


if __name__ == '__main__':
    main()
