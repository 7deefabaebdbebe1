"""Training from files, end to end: images a second, the wait for data, and the use of the device, in both precisions.

    python tools/benchmarks/train_speed.py --workers 16
    python tools/benchmarks/train_speed.py --workers 16 --switches channels_last fused --views-on device
    python tools/benchmarks/train_speed.py --batch 8 --size 64 --files 32 --iterations 2 --workers 0

The runner of ``tools/train.py`` trains a shipped config on a folder of drawn patches, or on that of ``--data``, in
float32 and then in bfloat16 (``--amp``), each from the same weights and in the same order of images. After some
iterations of warm-up, times are taken of ``--repeats`` stretches of ``--iterations`` each, between which alone an
accelerator is waited for; hooks of the config run as in training, kNN and checkpoints left out. One run comes after the
other, not in turns, so that the ratio wants a machine with nothing else to do. Losses of both are printed side by side:
means of as many iterations as there are lines allow.

The use of the device is the arithmetic of a step, counted by torch from a step of two images, times images a second, as
a share of what the device could do in dense bfloat16. Augmentation is not counted.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from _timing import Spread, add_options, exactly, make_clock, provenance, publish, spread, table
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode

from histomm.datasets.synthetic import write_layout
from histomm.engine.hooks.data_wait import WaitClock
from histomm.engine.launch import build_runner, load_config
from histomm.engine.speed import SWITCHES

PEAKS = {'H200': 989e12, 'H100': 989e12, 'A100': 312e12, 'L40S': 362e12}
"""Operations a second in dense bfloat16 that the makers state, by what a device's name contains."""

PRECISIONS = {'float32': (), 'bfloat16': ('amp',)}
CURVE_LINES = 10


class Meter(Hook):
    """Seconds of stretches of iterations, the wait for data in them, and all losses.

    Args:
        warmup: Iterations before the first stretch.
        length: Iterations of a stretch.
        repeats: Stretches.
        device: That is waited for between stretches.
    """

    priority = 'LOWEST'

    def __init__(self, warmup: int, length: int, repeats: int, device: torch.device) -> None:
        self.warmup, self.length = warmup, length
        self.total = warmup + length * repeats
        self.clock = make_clock('wall', device)
        self.waits = WaitClock(length * repeats)
        self.marks: list[float] = []
        self.losses: list[torch.Tensor] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The data are there."""
        self.waits.arrived()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Complete the iteration, and after the last of a stretch note the time."""
        self.losses.append(outputs['loss'].detach())
        done = len(self.losses)
        if done >= self.warmup and (done - self.warmup) % self.length == 0:
            self.marks.append(self.clock())
        self.waits.completed()

    def seconds(self) -> list[float]:
        """Of each stretch."""
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]


def draw_files(folder: Path, files: int, size: int, suffix: str) -> Path:
    """A folder of ``files`` drawn patches, of which 64 at most are unlike."""
    drawn = write_layout('nct', folder / 'drawn', min(files, 64), size, seed=0)
    sources = sorted(Path(path) for path in drawn)
    if suffix != sources[0].suffix.lstrip('.'):
        from PIL import Image

        sources = [_convert(path, Image.open(path), suffix) for path in sources]
    out = folder / 'patches' / 'TUM'
    out.mkdir(parents=True)
    for number in range(files):
        shutil.copy(sources[number % len(sources)], out / f'patch_{number:06d}.{suffix}')
    return out.parent


def _convert(path: Path, image: Any, suffix: str) -> Path:
    image.convert('RGB').save(path.with_suffix(f'.{suffix}'), quality=90)
    return path.with_suffix(f'.{suffix}')


def make_config(args: argparse.Namespace, data: Path, work_dir: Path, switches: Sequence[str]) -> Config:
    """The shipped config, counted in iterations, on these files."""
    cfg = load_config(args.config, str(work_dir), args.cfg_options, 'none')
    loader = cfg.train_dataloader
    loader.dataset.data_root = str(data)
    loader.dataset.exclude_patients = ''
    loader.dataset.pop('list_file', None)
    loader.batch_size, loader.num_workers = args.batch, args.workers
    loader.persistent_workers = args.workers > 0
    loader.sampler = dict(type='histomm.SeededSampler', shuffle=True, infinite=True)
    for view in _resized(loader.dataset.pipeline):
        view.size = args.size
    cfg.train_cfg = dict(by_epoch=False, max_iters=args.warmup + args.iterations * args.repeats)
    cfg.param_scheduler = []
    cfg.log_processor = dict(by_epoch=False)
    cfg.log_level, cfg.experiment_name = 'WARNING', work_dir.name
    cfg.default_hooks.pop('knn', None)
    cfg.default_hooks.checkpoint = None
    if args.views_on:
        cfg.views_on = args.views_on
    for name in switches:
        SWITCHES[name](cfg)
    return cfg


def _resized(step: Any) -> Iterator[dict]:
    """Steps of a pipeline that cut views to a size."""
    if isinstance(step, dict):
        if step.get('type') == 'histomm.RandomResizedCrop':
            yield step
        step = list(step.values())
    if isinstance(step, (list, tuple)):
        for part in step:
            yield from _resized(part)


def train(cfg: Config, args: argparse.Namespace) -> Meter:
    """Train; what was measured."""
    runner = build_runner(cfg)
    device = next(runner.model.parameters()).device
    meter = Meter(args.warmup, args.iterations, args.repeats, device)
    runner.register_hook(meter)
    runner.train()
    return meter


def count_operations(cfg: Config) -> float:
    """Floating-point operations of a training step, for each image, without those of views made on the device."""
    cfg = cfg.copy()
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.num_workers, cfg.train_dataloader.persistent_workers = 0, False
    cfg.train_cfg.max_iters, cfg.work_dir = 1, f'{cfg.work_dir}_count'
    runner = build_runner(cfg)
    with FlopCounterMode(display=False) as counter:
        runner.train()
    of_views = counter.get_flop_counts().get(type(runner.model.data_preprocessor).__name__, {})
    return (counter.get_total_flops() - sum(of_views.values())) / 2


def peak_of(device: torch.device, given: float | None) -> float | None:
    """Operations a second that the device could do; None if that is not known."""
    if given is not None or device.type != 'cuda':
        return given and given * 1e12
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def curve(meters: dict[str, Meter]) -> str:
    """Table of the losses side by side."""
    losses = {name: torch.stack(meter.losses).float().cpu() for name, meter in meters.items()}
    length = len(next(iter(losses.values())))
    step = -(-length // CURVE_LINES)
    rows = []
    for start in range(0, length, step):
        end = min(start + step, length)
        rows.append([f'{start + 1} to {end}', *(f'{values[start:end].mean():.4f}' for values in losses.values())])
    return table(['iterations', *(f'loss, {name}' for name in losses)], rows)


def report(meters: dict[str, Meter], args: argparse.Namespace, operations: float) -> tuple[str, dict[str, Spread]]:
    """Table of speeds, and the same as results."""
    peak = peak_of(args.device, args.peak)
    speeds = {
        name: spread([args.batch * args.iterations / seconds for seconds in meter.seconds()])
        for name, meter in meters.items()
    }
    rows, results = [], {'operations of an image, GFLOP': exactly(operations / 1e9)}
    for name, meter in meters.items():
        used = None if peak is None else speeds[name].scaled(100 * operations / peak)
        ratio = exactly(speeds[name].median / speeds['float32'].median)
        rows.append(
            [
                name,
                speeds[name].text(0),
                f'{ratio.median:.2f}',
                f'{meter.waits.share():.1f}',
                used.text(1) if used else '–',
            ]
        )
        results |= {
            f'{name} training, images/s': speeds[name],
            f'{name} to float32 training, ratio': ratio,
            f'{name} wait for data, %': exactly(meter.waits.share()),
        }
        if used:
            results[f'{name} use of the device, %'] = used
    head = ['precision', 'images/s', 'ratio', 'wait for data, %', 'of bfloat16 peak, %']
    return table(head, rows), results


def main() -> None:
    """Train in both precisions and print speeds and losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='histomm::plm/moco_plm_r18_nct.py')
    parser.add_argument('--data', type=Path, help='folder of images in place of drawn ones')
    parser.add_argument('--files', type=int, default=4096, help='drawn (default: %(default)s)')
    parser.add_argument('--suffix', choices=['tif', 'jpg'], default='tif', help='of drawn files (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=256, help='images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=224, help='side of a view in pixels (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=8, help='of the loader (default: %(default)s)')
    parser.add_argument('--warmup', type=int, default=10, help='iterations (default: %(default)s)')
    parser.add_argument('--iterations', type=int, default=20, help='of a stretch (default: %(default)s)')
    parser.add_argument('--switches', nargs='*', choices=list(SWITCHES), default=[], help='in both precisions')
    parser.add_argument('--views-on', choices=['cpu', 'device', 'auto'], help='where views are made')
    parser.add_argument('--peak', type=float, help='TFLOP/s in bfloat16 of a device that is not known')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as of tools/train.py')
    add_options(parser, repeats=5)
    args = parser.parse_args()
    args.device, args.clock = torch.device('cuda' if torch.cuda.is_available() else 'cpu'), 'wall'
    meters = {}
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or draw_files(Path(folder), args.files, 224, args.suffix)
        for name, switches in PRECISIONS.items():
            cfg = make_config(args, data, Path(folder, name), [*switches, *args.switches])
            meters[name] = train(cfg, args)
        operations = count_operations(make_config(args, data, Path(folder, 'operations'), []))
    speeds, results = report(meters, args, operations)
    timing = (
        f'- Timing: wall time of {args.repeats} stretches of {args.iterations} iterations after {args.warmup} that do '
        'not count, one precision after the other; median (lowest to highest), ratio of the medians'
    )
    publish(f'{speeds}\n\n{curve(meters)}\n\n{provenance(None, args.clock, args.device)}\n{timing}', args, results)


if __name__ == '__main__':
    main()
