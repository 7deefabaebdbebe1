"""A training step of patch contrast, beside loops written from the paper and beside the network in plain torch.

    python tools/benchmarks/patch_contrast.py [--batch 10] [--size 300] [--similarity ce] [--repeats 3] [--device cuda]

First the sampler and the losses: from images and confidences to losses and the gradient of the confidences, with the
paper's patches of 50 pixels. The loops cut window after window and compare pair after pair. Then the network, forward
and back, beside the same layers as torch has them. Both pairs are checked to give the same result before they are
timed, and run in turns in one process. Last a whole step with Adam, from images to weights. Memory is the most that was
held at once beside inputs and weights, from the allocator's own record in a run that is not timed. For the loops it is
not measured: the record of their hundred thousands of operations needs more memory than they do.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import _patch_loop as loop
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
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from histomm import functional
from histomm.models import ConfidenceNet
from histomm.registry import MODELS

SIZE, STRIDE = 50, 20


class Case(NamedTuple):
    """A batch and what a network could say of it.

    Attributes:
        images: (B, 3, H, W).
        confidence: (B, K, H, W), takes a gradient.
        similarity: 'mse' or 'ce'.
        num: Patches drawn for each image and class.
    """

    images: Tensor
    confidence: Tensor
    similarity: str
    num: int


def make_case(args: argparse.Namespace) -> Case:
    """Random images; confidences as smooth as those of a network, of mean 1/2."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(args.batch, 3, args.size, args.size, generator=generator)
    coarse = torch.randn(args.batch, args.classes, *[args.size // 10 + 1] * 2, generator=generator)
    smooth = nn.functional.interpolate(2 * coarse, (args.size, args.size), mode='bilinear').sigmoid()
    return Case(images.to(args.device), smooth.to(args.device).requires_grad_(), args.similarity, args.patches)


def by_loops(case: Case, drawn: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Sum of all losses by loops, of given draws or its own."""
    statistics = loop.statistics(case.confidence.detach(), SIZE, STRIDE)
    index, positive = drawn or loop.draw(*statistics, case.num)
    patches = loop.cut(case.images, case.confidence, index, SIZE, STRIDE)
    intra, inter = loop.contrast(patches, positive.transpose(0, 1).flatten(1), case.similarity)
    return sum((loss for loss in [*intra, *inter] if loss is not None), start=0 * case.confidence.sum())


def at_once(case: Case, drawn: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The same as histomm does it."""
    statistics = functional.patch_statistics(case.confidence, SIZE, STRIDE)
    index, positive = drawn or functional.draw_patches(*statistics, case.num)
    patches = functional.gather_patches(case.images, case.confidence, index, SIZE, STRIDE)
    terms = functional.patch_contrast_terms(
        patches.flatten(3).flatten(1, 2), positive.transpose(0, 1).flatten(1), case.similarity
    )
    return terms.intra.sum() + terms.inter.sum()


CONTRASTS = {'loops': by_loops, 'histomm': at_once}


def contrast(method: Callable[[Case], Tensor], case: Case) -> None:
    """Draws, losses and the gradient of the confidences."""
    torch.autograd.grad(method(case), case.confidence)


def check_contrasts(case: Case) -> None:
    """Raise AssertionError unless both give the same loss and gradient of the same draws."""
    drawn = functional.draw_patches(*functional.patch_statistics(case.confidence, SIZE, STRIDE), case.num)
    found = [method(case, drawn) for method in CONTRASTS.values()]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*(torch.autograd.grad(loss, case.confidence)[0] for loss in found), rtol=1e-3, atol=1e-6)


def make_networks(classes: int, device: torch.device) -> dict[str, nn.Module]:
    """Both networks, of the same weights."""
    torch.manual_seed(0)
    plain, net = loop.PlainNet(classes), ConfidenceNet(classes)
    net.load_state_dict(dict(zip(net.state_dict(), plain.state_dict().values(), strict=True)))
    return {'plain torch': plain.to(device), 'histomm': net.to(device)}


def check_networks(networks: dict[str, nn.Module], images: Tensor) -> None:
    """Raise AssertionError unless both give the same confidences."""
    with torch.no_grad():
        torch.testing.assert_close(*(net(images[:1]) for net in networks.values()), rtol=1e-2, atol=1e-3)


def forward(net: nn.Module, images: Tensor) -> None:
    """With the graph, as in training."""
    net(images)


def forward_backward(net: nn.Module, images: Tensor) -> None:
    """Confidences and the gradients of the weights."""
    torch.autograd.grad(net(images).mean(), tuple(net.parameters()))


def held(run: Callable[[], None], device: torch.device) -> Spread:
    """Peak of its memory in MiB."""
    return exactly(peak_memory(run, device) / MIB)


def compare(
    title: str,
    runs: dict[str, Callable[[], None]],
    args: argparse.Namespace,
    clock: Callable[[], float],
    results: dict[str, Spread],
) -> list[str]:
    """A row of two runs: times, their ratio, memory of both; figures go into ``results``."""
    times = in_turns(runs, args.repeats, clock)
    memory = {name: held(run, args.device) for name, run in runs.items() if name != 'loops'}
    ratio, what = ratios(*times.values()), title.replace(',', '')
    results[f'{what}, ratio'] = ratio
    results |= {f'{what} by {name}, ms': spread(seconds).scaled(1e3) for name, seconds in times.items()}
    results |= {f'{what} by {name}, MiB': peak for name, peak in memory.items()}
    told = [f'{memory[name].median:,.0f}' if name in memory else '–' for name in runs]
    return [title, *(spread(seconds).text(0, 1e3) for seconds in times.values()), ratio.text(1), *told]


def whole_step(args: argparse.Namespace) -> Callable[[], None]:
    """A training step of the shipped model on random images."""
    model = MODELS.build(
        dict(
            type='histomm.PatchContrast',
            backbone=dict(type='histomm.ConfidenceNet', num_classes=args.classes),
            similarity=args.similarity,
            num_patches=args.patches,
        )
    ).to(args.device)
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=2e-4, weight_decay=1e-4))
    images = torch.randint(0, 256, (args.batch, 3, args.size, args.size), dtype=torch.uint8)
    return partial(model.train_step, dict(inputs=images, data_samples=None), wrapper)


def main() -> None:
    """Check that both sides agree, measure them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=10, help='images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=300, help='their side in pixels (default: %(default)s)')
    parser.add_argument('--classes', type=int, default=4, help='K (default: %(default)s)')
    parser.add_argument('--patches', type=int, default=10, help='of an image and class (default: %(default)s)')
    parser.add_argument('--similarity', choices=('mse', 'ce'), default='mse', help='default: %(default)s')
    add_options(parser, repeats=3)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    case, networks = make_case(args), make_networks(args.classes, args.device)
    check_contrasts(case)
    check_networks(networks, case.images)
    pairs = {'sampler and losses': {name: partial(contrast, method, case) for name, method in CONTRASTS.items()}}
    for title, call in (('network, forward', forward), ('network, forward + backward', forward_backward)):
        pairs[title] = {name: partial(call, net, case.images) for name, net in networks.items()}
    results: dict[str, Spread] = {}
    rows = [compare(title, runs, args, clock, results) for title, runs in pairs.items()]
    step = whole_step(args)
    times, memory = spread(in_turns({'step': step}, args.repeats, clock)['step']), held(step, args.device)
    rows.append(['whole step', '–', times.text(0, 1e3), '–', '–', f'{memory.median:,.0f}'])
    results |= {'whole step, ms': times.scaled(1e3), 'whole step, MiB': memory}
    head = [
        'part',
        'loops or plain torch, ms',
        'histomm, ms',
        'time ratio',
        'plain torch, MiB',
        'histomm, MiB',
    ]
    publish(f'{table(head, rows)}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
