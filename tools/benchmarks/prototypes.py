"""Prototypes and neighbours of slides, beside a loop with scikit-learn over slides and one with scipy over pairs.

    python tools/benchmarks/prototypes.py [--slides 1054] [--regions 60] [--prototypes 4] [--threads 2] [--repeats 3]
    python tools/benchmarks/prototypes.py --curve 1000 5000 20000

Regions are drawn around a few of many directions, as tissues are on slides. The loops run KMeans on the unit vectors of
a slide and linear_sum_assignment on the cosines of each pair of slides, both as their pages show it; histomm clusters
all slides in padded batches and compares them in tiles. Before anything is timed both are compared: the partitions that
k-means reaches from the same rows, which may differ on few slides as one counts squares and the other cosines, and
similar slides and permutations of the same prototypes exactly. ``--curve`` times histomm alone for other numbers of
slides, with the most memory that the process held, embeddings included.
"""

import argparse
import itertools
import resource
from functools import partial

import numpy as np
import torch
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
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F

from histomm import functional

ITERATIONS, RESTARTS = 10, 5
DIRECTIONS, ON_A_SLIDE, NOISE = 24, 4, 0.04


def draw_regions(slides: int, regions: int, channels: int) -> tuple[Tensor, Tensor]:
    """Unit embeddings (N, C) and the slide (N,) of each; each slide has a few of the directions there are."""
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(DIRECTIONS, channels, generator=generator), dim=1)
    on_slide = torch.rand(slides, DIRECTIONS, generator=generator).topk(ON_A_SLIDE).indices
    kind = on_slide.gather(1, torch.randint(ON_A_SLIDE, (slides, regions), generator=generator)).flatten()
    x = directions[kind].add_(NOISE * torch.randn(slides * regions, channels, generator=generator))
    return F.normalize(x, dim=1), torch.arange(slides).repeat_interleave(regions)


def looped_prototypes(
    x: Tensor, slide: Tensor, size: int, starts: np.ndarray | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Unit prototypes (S, M, C) and the labels of each slide by KMeans, from given rows (S, R, M) or its own."""
    found, labels = [], []
    for number, rows in enumerate(torch.split(x, torch.bincount(slide).tolist())):
        rows = rows.numpy()
        turns = None if starts is None else iter(starts[number])
        init = 'random' if turns is None else lambda data, *args, turns=turns, **options: data[next(turns)]
        kmeans = KMeans(size, init=init, n_init=RESTARTS, max_iter=ITERATIONS, random_state=0).fit(rows)
        centers = kmeans.cluster_centers_
        found.append(centers / np.linalg.norm(centers, axis=1, keepdims=True))
        labels.append(kmeans.labels_)
    return np.stack(found), labels


def looped_neighbors(prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most similar other slide (S,) and the permutation (S, M) that makes it so, pair by pair."""
    count, size, _ = prototypes.shape
    similarity = np.full((count, count), -np.inf)
    order = np.zeros((count, count, size), np.int8)
    for i, j in itertools.combinations(range(count), 2):
        cosines = prototypes[i] @ prototypes[j].T
        rows, columns = linear_sum_assignment(cosines, maximize=True)
        similarity[i, j] = similarity[j, i] = cosines[rows, columns].mean()
        order[i, j], order[j, i] = columns, np.argsort(columns)
    nearest = similarity.argmax(1)
    return nearest, order[np.arange(count), nearest]


def own_prototypes(x: Tensor, slide: Tensor, size: int) -> Tensor:
    """As histomm does it."""
    valid = torch.ones(int(slide[-1]) + 1, dtype=torch.bool, device=x.device)
    generator = torch.Generator().manual_seed(0)
    return functional.cluster_slides(x, slide, valid, size, ITERATIONS, RESTARTS, generator)[0]


def own_neighbors(prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """As histomm does it."""
    index, order, _ = functional.prototype_neighbors(prototypes, None, 1)
    return index[:, 0], order[:, 0]


def check(x: Tensor, slide: Tensor, size: int) -> str:
    """A line that says how far both agree.

    Raises:
        AssertionError: more than 2 % of the partitions differ, the sums of cosines over all slides by a thousandth, or
            one neighbour or permutation.
    """
    sets = torch.stack(torch.split(x, torch.bincount(slide).tolist()))
    draws = torch.rand(len(sets), RESTARTS, sets.shape[1], generator=torch.Generator().manual_seed(1))
    starts = draws.topk(size).indices
    own, labels = functional.spherical_kmeans(sets, None, size, ITERATIONS, starts, 'split', restarts=RESTARTS)
    looped, theirs = looped_prototypes(x, slide, size, starts.numpy())
    reached = [
        (sets * protos.gather(1, label[..., None].expand_as(sets))).sum((1, 2))
        for protos, label in ((own, labels), (torch.from_numpy(looped), torch.from_numpy(np.stack(theirs)).long()))
    ]
    torch.testing.assert_close(reached[0].sum(), reached[1].sum(), rtol=1e-3, atol=0)
    pairs = zip(labels.numpy(), theirs, strict=True)
    same = np.mean([np.array_equal(a[:, None] == a, b[:, None] == b) for a, b in pairs])
    assert same >= 0.98, f'{same:.1%} of the partitions are the same, expected 98 %'
    for mine, other in zip(own_neighbors(own), looped_neighbors(own.numpy()), strict=True):
        np.testing.assert_array_equal(mine.numpy(), other)
    better, worse = ((reached[0] / reached[1] - 1) * sign > 1e-3 for sign in (1, -1))
    return (
        f'The same partition on {same:.1%} of {len(sets):,} slides; on {int(better.sum())} the better one is that of '
        f'histomm, on {int(worse.sum())} that of the loop. All neighbours and permutations are the same.'
    )


def compare(args: argparse.Namespace, clock: object) -> tuple[str, dict[str, Spread]]:
    """Tables of the comparison, and its figures."""
    x, slide = draw_regions(args.slides, args.regions, args.channels)
    lines = [check(x, slide, args.prototypes), '']
    prototypes = own_prototypes(x, slide, args.prototypes)
    there, places = x.to(args.device), slide.to(args.device)
    runs = {
        'prototypes': (
            partial(looped_prototypes, x, slide, args.prototypes),
            partial(own_prototypes, there, places, args.prototypes),
        ),
        'neighbours': (
            partial(looped_neighbors, prototypes.numpy()),
            partial(own_neighbors, prototypes.to(args.device)),
        ),
    }
    both = {f'{side} {name}': run for name, pair in runs.items() for side, run in zip('ab', pair, strict=True)}
    times = in_turns(both, args.repeats, clock)
    for side in 'ab':
        parts = [times[f'{side} {name}'] for name in runs]
        times[f'{side} together'] = [sum(turn) for turn in zip(*parts, strict=True)]
    rows, results = [], {}
    for name in (*runs, 'together'):
        sides = times[f'a {name}'], times[f'b {name}']
        rows.append([name, spread(sides[0]).text(), spread(sides[1]).text(3), ratios(*sides).text(1)])
        results[f'{name}, ratio'] = ratios(*sides)
        for side, seconds in zip(('loops', 'histomm'), sides, strict=True):
            results[f'{name} by {side}, s'] = spread(seconds)
    lines.append(table([f'{args.slides:,} slides × {args.regions} regions', 'loops, s', 'histomm, s', 'ratio'], rows))
    return '\n'.join(lines), results


def curve(args: argparse.Namespace, clock: object) -> tuple[str, dict[str, Spread]]:
    """Table of histomm alone, for growing numbers of slides, and its figures."""
    rows, results = [], {}
    for slides in sorted(args.curve):
        x, slide = (part.to(args.device) for part in draw_regions(slides, args.regions, args.channels))
        prototypes = own_prototypes(x, slide, args.prototypes)
        runs = {
            'prototypes': partial(own_prototypes, x, slide, args.prototypes),
            'neighbours': partial(own_neighbors, prototypes),
        }
        times = in_turns(runs, args.repeats, clock)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(
            [
                f'{slides:,}',
                *(spread(times[name]).text() for name in runs),
                f'{x.numel() * 4 / 2**20:,.0f}',
                f'{held:,.0f}',
            ]
        )
        results |= {f'{name} of {slides} slides, s': spread(times[name]) for name in runs}
        results[f'held with {slides} slides, MiB'] = exactly(held)
    head = ['slides', 'prototypes, s', 'neighbours, s', 'embeddings, MiB', 'held at most, MiB']
    return table(head, rows), results


def main(argv: list[str] | None = None) -> None:
    """Check that both sides agree, measure them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--slides', type=int, default=1054, help='(default: %(default)s, as TCGA-NSCLC)')
    parser.add_argument('--regions', type=int, default=60, help='of a slide (default: %(default)s)')
    parser.add_argument('--channels', type=int, default=256, help='of an embedding (default: %(default)s)')
    parser.add_argument('--prototypes', type=int, default=4, help='of a slide (default: %(default)s)')
    parser.add_argument('--curve', type=int, nargs='+', metavar='SLIDES', help='time histomm alone for so many slides')
    add_options(parser, repeats=3)
    add_device_options(parser)
    parser.set_defaults(threads=2, clock='wall')
    args = parser.parse_args(argv)
    clock = set_up_device(args)
    with threadpool_limits(args.threads):
        found, results = curve(args, clock) if args.curve else compare(args, clock)
    publish(f'{found}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
