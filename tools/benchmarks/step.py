"""One training step of the dense methods beside one of MoCo-v2, and what the time of a step goes into.

The shipped configs give the models, queues and optimisers; all take the same random images and crop boxes. Their whole
steps (normalisation, forward, backward, optimiser) run in turns in one process:

    python tools/benchmarks/step.py [--batch 16] [--size 224] [--repeats 5] [--device cuda]
    python tools/benchmarks/step.py --amp --channels-last --fused [--compile] [--method PLM]

The options of ``tools/train.py`` that make steps faster add a table of the step of one method as it is, with each of
them, and with all of them. A last table gives shares of steps that are timed part by part, in turns too. For that
while timers are put around the model's methods, and marks into the graph split the backward pass. An accelerator is
waited for at each boundary, and so its parts together take longer than a free step.
"""

import argparse
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from unittest import mock

import torch
from _switches import add_switches, switched_steps
from _timing import (
    ROOT,
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
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.structures import DataSample
from torch import Tensor

from histomm.engine.speed import SWITCHES, compile_modules, in_memory_format
from histomm.models import dense_branch
from histomm.models.selfsup.dense_moco import DenseMoCo
from histomm.registry import MODELS

CONFIGS = {
    'MoCo-v2': 'mocov2/mocov2_r18_nct.py',
    'DenseCL': 'densecl/moco_densecl_r18_nct.py',
    'VICRegL^m': 'vicregl/moco_vicregl_r18_nct.py',
    'PLM': 'plm/moco_plm_r18_nct.py',
}
BASE = 'MoCo-v2'
FORWARD = (
    'normalise images',
    'encode query',
    'update key encoder',
    'encode key',
    'turn maps back',
    'match',
    'InfoNCE, global',
    'InfoNCE, dense',
    'queues',
)
BACKWARD = tuple(f'backward: {part}' for part in ('InfoNCE, dense', 'match, turn back', 'InfoNCE, global', 'encoder'))
PARTS = (*FORWARD, *BACKWARD, 'optimiser', 'rest')


class Method(NamedTuple):
    """A model, its optimiser, and a step of both on a batch that stays the same."""

    model: DenseMoCo
    optim: OptimWrapper
    step: Callable[[], dict[str, Tensor]]


def make_batch(batch: int, size: int) -> dict:
    """Two random uint8 views of each image, as the collated loader gives them."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(256, (batch, 3, size, size), dtype=torch.uint8, generator=generator) for _ in range(2)]
    corner = torch.rand(2, batch, 2, generator=generator) * 0.4 * size
    boxes = torch.cat([corner, corner + 0.6 * size], 2).transpose(0, 1)
    flips = torch.rand(batch, 2, generator=generator) < 0.5
    samples = [
        DataSample(metainfo=dict(crop_box=box.tolist(), hflip=flip.tolist(), vflip=(False, False), rot90=(0, 0)))
        for box, flip in zip(boxes, flips, strict=True)
    ]
    return dict(inputs=inputs, data_samples=samples)


def build(
    name: str, data: dict, device: torch.device, queue_len: int | None = None, switches: Sequence[str] = ()
) -> Method:
    """The method ``name`` of :data:`CONFIGS` on ``device``, with its own queue length unless one is given."""
    config = Config.fromfile(ROOT / 'configs' / CONFIGS[name])
    if queue_len is not None:
        config.model.queue_len = queue_len
    for switch in switches:
        SWITCHES[switch](config)
    torch.manual_seed(0)
    model = in_memory_format(MODELS.build(config.model))
    with mock.patch.object(model, '_dump_init_info'):  # which prints a line or three for every tensor
        model.init_weights()
    model.to(device).train()
    compile_modules(model, config.get('compile'))
    optim = build_optim_wrapper(model, config.optim_wrapper)
    return Method(model, optim, partial(model.train_step, data, optim))


class PartTimer:
    """Charges the time that passes to one part at a time: an inner part interrupts the outer one.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self.running = ['rest']
        self.since = clock()

    def _charge(self) -> None:
        now = self.clock()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def switch(self, part: str) -> None:
        """From now on charge ``part`` in place of the one that runs."""
        self._charge()
        self.running[-1] = part

    @contextlib.contextmanager
    def within(self, part: str) -> Iterator[None]:
        """Charge ``part`` inside the block."""
        self._charge()
        self.running.append(part)
        try:
            yield
        finally:
            self._charge()
            self.running.pop()

    def wrap(self, function: Callable, part: str) -> Callable:
        """``function``, charged to ``part``."""

        def timed(*args: object, **kwargs: object) -> object:
            with self.within(part):
                return function(*args, **kwargs)

        return timed


class _Mark(torch.autograd.Function):
    """Identity; when the backward pass gets here, the timer switches to another part."""

    @staticmethod
    def forward(ctx, value: Tensor, timer: PartTimer, part: str) -> Tensor:
        ctx.timer, ctx.part = timer, part
        return value.view_as(value)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        ctx.timer.switch(ctx.part)
        return grad, None, None


def timed_step(method: Method, clock: Callable[[], float]) -> dict[str, float]:
    """One step; seconds of each of :data:`PARTS` that it has, in their order."""
    model, optim = method.model, method.optim
    timer = PartTimer(clock)
    encode = model._encode
    queues = {'global': (model.queue, 'encoder')}
    if model.dense is not None:
        queues['dense'] = (model.dense.queue, 'match, turn back')

    def timed_encode(parts: torch.nn.ModuleDict, images: Tensor) -> dict[str, Tensor]:
        of_key = parts is model.key_encoder.module
        with timer.within('encode key' if of_key else 'encode query'):
            maps = encode(parts, images)
        return maps if of_key else {key: _Mark.apply(value, timer, 'backward: encoder') for key, value in maps.items()}

    def timed_contrast(contrast: Callable, kind: str, before: str) -> Callable:
        def timed(anchor: Tensor, positive: Tensor, *args: object) -> Tensor:
            anchor, positive = (_Mark.apply(rows, timer, f'backward: {before}') for rows in (anchor, positive))
            with timer.within(f'InfoNCE, {kind}'):
                loss = contrast(anchor, positive, *args)
            return _Mark.apply(loss, timer, f'backward: InfoNCE, {kind}')

        return timed

    with contextlib.ExitStack() as stack:

        def replace(owner: object, name: str, function: Callable) -> None:
            stack.enter_context(mock.patch.object(owner, name, function))

        replace(model, '_encode', timed_encode)
        for kind, (queue, before) in queues.items():
            replace(queue, 'contrast', timed_contrast(queue.contrast, kind, before))
        replace(dense_branch, 'dense_view', timer.wrap(dense_branch.dense_view, 'turn maps back'))
        for owner, name, part in [
            (model.data_preprocessor, 'forward', 'normalise images'),
            (model.key_encoder, 'update', 'update key encoder'),
            *((matcher, 'forward', 'match') for matcher in (model.dense.matchers if model.dense is not None else ())),
            *((queue, 'enqueue', 'queues') for queue, _ in queues.values()),
            (optim, 'backward', 'backward: encoder'),
            (optim, 'step', 'optimiser'),
            (optim, 'zero_grad', 'optimiser'),
        ]:
            replace(owner, name, timer.wrap(getattr(owner, name), part))
        method.step()
        timer.switch('rest')
    return {part: timer.seconds[part] for part in PARTS if part in timer.seconds}


def whole_steps(methods: dict[str, Method], repeats: int, clock: Callable[[], float]) -> tuple[str, dict[str, Spread]]:
    """Table of whole steps and their ratios to MoCo-v2's, and the same as results."""
    times = in_turns({name: method.step for name, method in methods.items()}, repeats, clock)
    rows, results = [], {}
    for name, seconds in times.items():
        whole, ratio = spread(seconds).scaled(1e3), ratios(seconds, times[BASE])
        rows.append([name, whole.text(0), ratio.text(2)])
        results |= {f'{name} step, ms': whole, f'{name} step to {BASE}, ratio': ratio}
    return table(['method', 'step, ms', f'ratio to {BASE}'], rows), results


def shares(methods: dict[str, Method], repeats: int, clock: Callable[[], float]) -> str:
    """Table of the share, in per cent, of each part in a step, and of the time of a step timed so."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            found[name].append(timed_step(method, clock))
    rows = []
    for part in PARTS:
        cells = [
            spread([100 * step[part] / sum(step.values()) for step in steps]).text(1) if part in steps[0] else '–'
            for steps in found.values()
        ]
        rows.append([part, *cells])
    totals = [spread([sum(step.values()) for step in steps]).text(0, 1e3) for steps in found.values()]
    return table(['part of a step, %', *methods], [*rows, ['all parts, ms', *totals]])


def main() -> None:
    """Measure whole steps, with switches for speed where they are given, then their parts; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=16, help='images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=224, help='side of a view in pixels (default: %(default)s)')
    parser.add_argument('--queue', type=int, help='negatives in place of those of the configs')
    add_switches(parser, list(CONFIGS), 'PLM')
    add_options(parser, repeats=5)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    data = make_batch(args.batch, args.size)
    methods = {name: build(name, data, args.device, args.queue) for name in CONFIGS}
    whole, results = whole_steps(methods, args.repeats, clock)
    switched, more = switched_steps(partial(build, args.method, data, args.device, args.queue), args, clock)
    parts = shares(methods, args.repeats, clock)
    publish(
        f'{whole}\n\n{switched}{parts}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results | more
    )


if __name__ == '__main__':
    main()
