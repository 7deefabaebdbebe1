"""Precise location matching as two small products, beside the dense product with the matrix of overlaps.

Both find, for each query cell, the mean of the key features weighted by shared area (eq. 7) and the covered share of
the cell (eq. 9), for the same maps and boxes, in turns in one process:

    python tools/benchmarks/matching.py [--batch 64] [--channels 128] [--sides 7 14 28] [--repeats 9] [--device cuda]

The dense side makes M of n x n cells for all images at once by broadcasting the cells' rectangles, and then one batched
product. That is the papers' formula written without a loop; no time goes into anything that the formula does not need.
Memory is the most that was held at once beside maps and boxes, from the allocator's own record in a run that is not
timed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
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
from torch import Tensor

from histomm import functional
from histomm.functional.geometry import cell_boxes


class Case(NamedTuple):
    """Maps and boxes of B images; both maps have ``side`` x ``side`` cells.

    Attributes:
        box_q: (B, 4) in source pixels.
        box_k: (B, 4).
        feat_k: (B, C, side, side), takes a gradient.
        grad: (B, C, side, side), what comes back from the loss.
        side: Cells along one side.
    """

    box_q: Tensor
    box_k: Tensor
    feat_k: Tensor
    grad: Tensor
    side: int


def make_case(batch: int, channels: int, side: int, device: torch.device) -> Case:
    """Random maps; boxes of 0.2 to 1 of the area of a source of 224 x 224, as the augmentation cuts them."""
    generator = torch.Generator().manual_seed(0)
    boxes = []
    for _ in range(2):
        area = torch.empty(batch, 1).uniform_(0.2, 1.0, generator=generator)
        aspect = torch.empty(batch, 1).uniform_(3 / 4, 4 / 3, generator=generator).sqrt()
        extent = (224 * area.sqrt() * torch.cat([aspect, 1 / aspect], 1)).clamp(max=224)
        corner = torch.rand(batch, 2, generator=generator) * (224 - extent)
        boxes.append(torch.cat([corner, corner + extent], 1).to(device))
    maps = torch.randn(2, batch, channels, side, side, generator=generator).to(device)
    return Case(*boxes, maps[0].requires_grad_(), maps[1], side)


def separable(case: Case) -> tuple[Tensor, Tensor]:
    """What histomm does: (B, C, side, side) means of key features and (B, side, side) covered shares."""
    size = (case.side, case.side)
    fy, fx = functional.overlap_factors(case.box_q, case.box_k, size, size)
    aligned = functional.precise_match(case.feat_k, functional.row_shares(fy), functional.row_shares(fx))
    return aligned, functional.overlap_weights(fy, fx, case.box_q, size)


def dense(case: Case) -> tuple[Tensor, Tensor]:
    """The same from M (B, n, n), where M_ij is the area that query cell i shares with key cell j."""
    size = (case.side, case.side)
    cells_q, cells_k = cell_boxes(case.box_q, size)[:, :, None], cell_boxes(case.box_k, size)[:, None]
    width, height = (
        torch.minimum(cells_q[..., d + 2], cells_k[..., d + 2])
        .sub_(torch.maximum(cells_q[..., d], cells_k[..., d]))
        .clamp_(min=0)
        for d in (0, 1)
    )
    matrix = width.mul_(height)
    del width, height
    total = matrix.sum(2)
    aligned = torch.bmm(case.feat_k.flatten(2), matrix.mT) / torch.where(total > 0, total, 1)[:, None]
    corners = cells_q[:, :, 0]
    area = (corners[..., 2:] - corners[..., :2]).prod(2)
    return aligned.unflatten(2, size), (total / area).clamp(max=1).unflatten(1, size)


METHODS = {'dense': dense, 'separable': separable}


def forward(method: Callable[[Case], tuple[Tensor, Tensor]], case: Case) -> None:
    """Matching without a graph, as for the key view."""
    with torch.no_grad():
        method(case)


def forward_backward(method: Callable[[Case], tuple[Tensor, Tensor]], case: Case) -> None:
    """Matching and the gradient of the map that was matched."""
    aligned, _ = method(case)
    torch.autograd.grad(aligned, case.feat_k, case.grad)


PASSES = {'forward': forward, 'forward + backward': forward_backward}


def check_equal(case: Case) -> None:
    """Raise AssertionError unless both methods give the same result and gradient."""
    found = {}
    for name, method in METHODS.items():
        aligned, weights = method(case)
        found[name] = (aligned, weights, *torch.autograd.grad(aligned, case.feat_k, case.grad))
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def measure(case: Case, repeats: int, clock: Callable[[], float], results: dict[str, Spread]) -> list[list[str]]:
    """Rows of the table for one size of map; figures go into ``results``."""
    rows = []
    for title, call in PASSES.items():
        runs = {name: partial(call, method, case) for name, method in METHODS.items()}
        times = in_turns(runs, repeats, clock)
        memory = {name: peak_memory(run, case.feat_k.device) for name, run in runs.items()}
        ratio, less = ratios(times['dense'], times['separable']), memory['dense'] / memory['separable']
        rows.append(
            [
                f'{case.side} x {case.side}, {title}',
                *(spread(times[name]).text(2, 1e3) for name in METHODS),
                ratio.text(1),
                *(f'{memory[name] / MIB:,.1f}' for name in METHODS),
                f'{less:,.1f}',
            ]
        )
        what = f'{case.side} x {case.side} cells {title}'
        results |= {f'{what}, ratio': ratio, f'{what} memory, ratio': exactly(less)}
        for name in METHODS:
            results[f'{what} {name}, ms'] = spread(times[name]).scaled(1e3)
            results[f'{what} {name}, MiB'] = exactly(memory[name] / MIB)
    return rows


def main() -> None:
    """Check that both sides agree, measure them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=64, help='images (default: %(default)s)')
    parser.add_argument('--channels', type=int, default=128, help='of the maps (default: %(default)s)')
    parser.add_argument('--sides', type=int, nargs='+', default=[7, 14, 28], help='cells along a side of the maps')
    add_options(parser, repeats=9)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    rows, results = [], {}
    for side in args.sides:
        case = make_case(args.batch, args.channels, side, args.device)
        check_equal(case)
        rows += measure(case, args.repeats, clock, results)
    head = ['cells', 'dense, ms', 'separable, ms', 'time ratio', 'dense, MiB', 'separable, MiB', 'memory ratio']
    publish(f'{table(head, rows)}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
