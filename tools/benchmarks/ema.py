"""Averaging an encoder: the update of ``EMATeacher`` beside a loop over parameters.

    python tools/benchmarks/ema.py [--backbones resnet18 resnet50 vit_small_patch16_224] [--device cuda]

Both compute θ_t ← m·θ_t + (1 − m)·θ_s and are checked to agree before they are timed. The update is one call for all
parameters; a GPU then starts a few kernels instead of some for each parameter.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from _timing import (
    Spread,
    add_device_options,
    add_options,
    in_turns,
    provenance,
    publish,
    ratios,
    set_up_device,
    spread,
    table,
)
from torch import nn

from histomm.models import EMATeacher

MOMENTUM = 0.99


@torch.no_grad()
def loop(teacher: nn.Module, student: nn.Module) -> None:
    """The update, parameter by parameter."""
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.mul_(MOMENTUM).add_(other, alpha=1 - MOMENTUM)


def make_pair(backbone: str, device: torch.device) -> tuple[nn.Module, EMATeacher]:
    """A network of timm, and an average of it that is a little behind."""
    student = timm.create_model(backbone, pretrained=False).to(device)
    teacher = EMATeacher(student, MOMENTUM).to(device)
    teacher.update(student)  # the first update copies
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.01)
    return student, teacher


def check_equal(student: nn.Module, teacher: EMATeacher) -> None:
    """Refuse to time updates that differ.

    Raises:
        AssertionError: they do.
    """
    looped = EMATeacher(teacher.module, MOMENTUM).module
    loop(looped, student)
    teacher.update(student)
    for own, other in zip(teacher.module.parameters(), looped.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-6)


def measure(backbone: str, args: argparse.Namespace, clock: Callable[[], float]) -> tuple[list[str], dict[str, Spread]]:
    """A row of the table, and the same as results."""
    student, teacher = make_pair(backbone, args.device)
    check_equal(student, teacher)
    runs = {
        'loop': lambda: [loop(teacher.module, student) for _ in range(args.updates)],
        'histomm': lambda: [teacher.update(student) for _ in range(args.updates)],
    }
    times = in_turns(runs, args.repeats, clock)
    each = {name: spread(seconds).scaled(1e3 / args.updates) for name, seconds in times.items()}
    ratio = ratios(times['loop'], times['histomm'])
    results = {f'{backbone} update by {name}, ms': value for name, value in each.items()}
    row = [backbone, each['loop'].text(2), each['histomm'].text(2), ratio.text(2)]
    return row, results | {f'{backbone} update, ratio': ratio}


def main() -> None:
    """Measure the updates of each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--backbones', nargs='+', default=['resnet18', 'resnet50', 'vit_small_patch16_224'])
    parser.add_argument('--updates', type=int, default=10, help='in a turn (default: %(default)s)')
    add_options(parser, repeats=9)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    rows, results = [], {}
    for backbone in args.backbones:
        row, found = measure(backbone, args, clock)
        rows.append(row)
        results |= found
    text = table(['encoder', 'loop, ms', 'histomm, ms', 'ratio'], rows)
    publish(f'{text}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
