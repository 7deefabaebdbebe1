"""Views per second made of whole batches on a device, beside those of the pipeline, which one core makes one by one.

The views of a shipped config, of the same images with the same draws, in turns in one process:

    python tools/benchmarks/device_views.py [FOLDER] [--config mocov2/mocov2_r18_nct.py] [--batch 32] [--repeats 5]
    python tools/benchmarks/device_views.py --device cuda --batch 256

The pipeline begins with decoded images in memory; the views of a device begin with the collated batch of images and
draws in memory. Both end with the normalised batch on the device. ``draws`` is what is left to the loader when the
views are made on the device, with collation; where no loader works beside the device, its time is to be added. The last
columns say by how many grey levels a path differs from the pipeline.
"""

import argparse
from collections.abc import Callable

import torch
from _timing import add_device_options, add_options, in_turns, provenance, publish, ratios, set_up_device, spread, table
from mmengine.config import Config
from mmengine.dataset import default_collate
from torch import Tensor
from views import CONFIGS, chosen_images

from histomm.datasets import pad_collate
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms import DrawViews, MultiView, PackDraws, PackViews
from histomm.models import BatchViews, ViewDataPreprocessor

PATHS = {'torch': dict(), 'kornia': dict(backend='kornia'), 'compiled': dict(compile=True)}
PLAIN = dict(mean=(0, 0, 0), std=(1, 1, 1))


def shipped_views(config: str) -> list[dict]:
    """The list of views of a config below ``configs``."""
    steps = Config.fromfile(CONFIGS / config).train_dataloader.dataset.pipeline
    return next(step['views'] for step in steps if step.type == 'histomm.MultiView')


def make_samples(images: list) -> list[dict]:
    """Samples as the loader has them before their views are made."""
    return [
        dict(img=image, img_path='', ori_shape=image.shape[:2], sample_idx=SampleIndex(number))
        for number, image in enumerate(images)
    ]


def make_runs(
    samples: list[dict], views: list[dict], paths: list[str], device: torch.device, **options: tuple[float, ...]
) -> dict[str, Callable]:
    """Calls that make all views of the samples, by the pipeline and by each of ``paths``, and one that draws.

    Args:
        samples: See :func:`make_samples`.
        views: List of views.
        paths: Of :data:`PATHS`.
        device: Where the batches shall be.
        options: Of the data preprocessors.
    """
    make, pack = MultiView(views), PackViews()
    draw, pack_draws = DrawViews(views), PackDraws()
    normalise = ViewDataPreprocessor(**options).to(device)
    batch = pad_collate([pack_draws(draw(dict(sample))) for sample in samples])

    def pipeline() -> list[Tensor]:
        return normalise(default_collate([pack(make(dict(sample))) for sample in samples]))['inputs']

    def draws() -> dict:
        return pad_collate([pack_draws(draw(dict(sample))) for sample in samples])

    def on_device(kind: dict) -> Callable[[], list[Tensor]]:
        preprocessor = BatchViews(views, **kind, **options).to(device)
        return lambda: preprocessor(batch)['inputs']

    return {'pipeline': pipeline, 'draws': draws, **{name: on_device(PATHS[name]) for name in paths}}


def differences(samples: list[dict], views: list[dict], paths: list[str], device: torch.device) -> dict[str, list[str]]:
    """Of each path: mean difference from the pipeline in grey levels, and percentage of values more than two off."""
    runs = make_runs(samples, views, paths, device, **PLAIN)
    expected, found = runs['pipeline'](), {}
    for name in paths:
        pairs = zip(runs[name](), expected, strict=True)
        apart = torch.cat([(ours - theirs).abs().flatten() for ours, theirs in pairs])
        found[name] = [f'{apart.mean().item():.2f}', f'{100 * (apart > 2).float().mean().item():.2f}']
    return found


def main() -> None:
    """Measure in turns; print views per second, ratios and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', help='folder of images, cut to --size; drawn images if left out')
    parser.add_argument('--config', default='mocov2/mocov2_r18_nct.py', help='whose views (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=32, help='images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=224, help='side of an image in pixels (default: %(default)s)')
    parser.add_argument('--paths', nargs='+', choices=PATHS, default=[*PATHS], help='default: all')
    add_options(parser, repeats=5)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    views = shipped_views(args.config)
    samples = make_samples(chosen_images(args.folder, args.batch, (args.size, args.size)))
    times = in_turns(make_runs(samples, views, args.paths, args.device), args.repeats, clock)
    apart = differences(samples[:8], views, args.paths, args.device)
    count = len(samples) * sum(view.get('num', 1) for view in views)
    rows, results = [], {}
    for name, seconds in times.items():
        rate, ratio = spread([count / value for value in seconds]), ratios(times['pipeline'], seconds)
        title = f'on {args.device.type}, {name}' if name in PATHS else name
        rows.append([title, rate.text(0), ratio.text(2), *apart.get(name, ['–', '–'])])
        results |= {f'views {name}, views/s': rate, f'views {name} to pipeline, ratio': ratio}
    head = ['views', 'views/s', 'ratio to the pipeline on a core', 'levels apart, mean', 'more than two apart, %']
    publish(f'{table(head, rows)}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
