"""Views per second and core: histomm's pipelines beside torchvision's transforms on Pillow images.

For each of the lists of views that the shipped configs have, both make the same views of the same images in one process
on one thread, in turns, so that the ratio does not depend on what else the machine does:

    python tools/benchmarks/views.py [FOLDER] [--lists MoCo-v2 DINO] [--repeats 9] [--images 32]

torchvision's side ends with ToTensor and the normalisation, as in the authors' code; histomm's ends with the packed
uint8 tensor, because the batch is normalised on the device. ``--normalise`` charges histomm for that on this core too.
``--profile`` then says which transform takes which share of histomm's time.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from _timing import ROOT, add_options, in_turns, make_clock, provenance, publish, ratios, spread, table
from _torchvision import torchvision_views, view_lists
from mmengine.config import Config
from PIL import Image

from histomm.datasets.patch_sources import scan_folder
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms.loading import EXTENSIONS, read_image
from histomm.models.data_preprocessors import ViewDataPreprocessor
from histomm.registry import TRANSFORMS

CONFIGS = ROOT / 'configs'


class ViewList(NamedTuple):
    """A shipped list of views, and the images that it is made for.

    Attributes:
        config: Below ``configs``.
        size: (height, width) of an image.
        share: Of ``--images``, as far as images and views are larger and more than MoCo-v2's.
        kind: Of file.
    """

    config: str
    size: tuple[int, int]
    share: float
    kind: str


LISTS = {
    'MoCo-v2': ViewList('mocov2/mocov2_r18_nct.py', (224, 224), 1, 'tif'),
    'SimCLR': ViewList('simclr/simclr_r18_patches.py', (224, 224), 1, 'tif'),
    'MPCS': ViewList('mpcs/mpcs_r50_breakhis_ordered.py', (460, 700), 1, 'png'),
    'DINO': ViewList('dino/dino_vit256-16_patches.py', (256, 256), 0.25, 'tif'),
}


def draw_images(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth pink and violet blobs with grain: as busy as tissue is."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        density = sum(
            cv2.resize(rng.random((*grid, 2), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
            for grid in ((8, 8), (28, 28), (height, width))
        )
        stain = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)
        images.append(np.clip(255 * np.exp(-0.5 * density @ stain), 0, 255).astype(np.uint8))
    return images


def chosen_images(folder: str | None, count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """``count`` images spread over ``folder`` and cut to ``size``, or drawn ones."""
    if not folder:
        return draw_images(count, *size)
    paths = scan_folder(folder, EXTENSIONS)
    chosen = paths[:: max(len(paths) // count, 1)][:count]
    return [np.ascontiguousarray(read_image(f'{folder}/{path}')[: size[0], : size[1]]) for path in chosen]


def torchvision_side(config: Config, images: list[np.ndarray]) -> Callable[[], None]:
    """All views of each decoded image, from Pillow to the normalised tensor."""
    preprocess = ViewDataPreprocessor(**_settings(config))
    views = torchvision_views(
        config.train_dataloader.dataset.pipeline, preprocess.mean.flatten().tolist(), preprocess.std.flatten().tolist()
    )
    sources = [Image.fromarray(image) for image in images]

    def run() -> None:
        for image in sources:
            for view in views:
                view(image)

    return run


def _settings(config: Config) -> dict:
    """Arguments of the data preprocessor."""
    return {name: value for name, value in config.model.get('data_preprocessor', {}).items() if name != 'type'}


def sample_of(image: np.ndarray, number: int, epoch: int) -> dict:
    """What a data set hands to the pipeline, be it one of images or one of sets of magnifications."""
    return dict(
        img=image,
        img_path='',
        img_paths=dict.fromkeys((40, 100, 200, 400), ''),
        read_picture=lambda magnification: image,
        patient='',
        sample_idx=SampleIndex(number, 0, epoch),
    )


def histomm_side(config: Config, images: list[np.ndarray], normalise: bool) -> Callable[[], None]:
    """All views of each decoded image, to the packed uint8 tensor, or further to the normalised one."""
    steps = [TRANSFORMS.build(step) for step in config.train_dataloader.dataset.pipeline]
    preprocess = ViewDataPreprocessor(**_settings(config))
    epoch = iter(range(10**9))

    def run() -> None:
        now = next(epoch)
        for number, image in enumerate(images):
            results = sample_of(image, number, now)
            for step in steps:
                results = step(results)
            if normalise:
                preprocess(dict(inputs=[view[None] for view in results['inputs']], data_samples=None))

    return run


def readers(
    images: list[np.ndarray], folder: str, kind: str, times: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Reading files of the format of the data set, as often as its views do: Pillow to RGB, and histomm's reader."""
    paths = [f'{folder}/{number}.{kind}' for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    paths *= times

    def pillow() -> None:
        for path in paths:
            Image.open(path).convert('RGB')

    def histomm() -> None:
        for path in paths:
            read_image(path)

    return pillow, histomm


def measure(item: ViewList, args: argparse.Namespace) -> tuple[dict[str, tuple[list[float], list[float]]], int]:
    """Seconds of torchvision and of histomm, from decoded images and from files, and how many views they made."""
    config = Config.fromfile(CONFIGS / item.config)
    images = chosen_images(args.folder, max(int(args.images * item.share), 1), item.size)
    pipeline = config.train_dataloader.dataset.pipeline
    # each view of a set of magnifications is read by itself
    files = 2 if any(step['type'] == 'histomm.MagnificationViews' for step in pipeline) else 1
    with tempfile.TemporaryDirectory() as folder:
        views = (torchvision_side(config, images), histomm_side(config, images, args.normalise))
        names = ('torchvision', 'histomm', 'Pillow reads', 'histomm reads')
        runs = dict(zip(names, (*views, *readers(images, folder, item.kind, files)), strict=True))
        times = in_turns(runs, args.repeats, make_clock('cpu', torch.device('cpu')))
    pillow, own, *reading = times.values()
    from_file = [np.add(*pair).tolist() for pair in zip((pillow, own), reading, strict=True)]
    sides = {'decoded image to tensor': (pillow, own), f'{_FORMATS[item.kind]} file to tensor': tuple(from_file)}
    return sides, len(view_lists(pipeline)) * len(images)


_FORMATS = {'tif': 'TIFF', 'png': 'PNG'}


def shares(item: ViewList, args: argparse.Namespace) -> list[list[str]]:
    """Rows of a table: transform, microseconds a view, share; what lies between transforms is the rest."""
    config = Config.fromfile(CONFIGS / item.config)
    images = chosen_images(args.folder, max(int(args.images * item.share), 1), item.size)
    spent: dict[str, float] = defaultdict(float)
    lists = view_lists(config.train_dataloader.dataset.pipeline)
    kinds = {type(TRANSFORMS.build(step)) for steps in lists for step in steps}
    originals = {kind: kind.transform for kind in kinds}

    def timed(kind: type) -> Callable:
        def transform(self: object, results: dict) -> dict:
            start = time.process_time()
            try:
                return originals[kind](self, results)
            finally:
                spent[kind.__name__] += time.process_time() - start

        return transform

    try:
        for kind in kinds:
            kind.transform = timed(kind)
        run = histomm_side(config, images, args.normalise)
        run()
        spent.clear()
        start = time.process_time()
        for _ in range(args.repeats):
            run()
        total = time.process_time() - start
    finally:
        for kind, transform in originals.items():
            kind.transform = transform
    spent['the rest'] = total - sum(spent.values())
    views = args.repeats * len(images) * len(lists)
    ordered = sorted(spent.items(), key=lambda pair: -pair[1])
    return [[name, f'{seconds / views * 1e6:.0f}', f'{seconds / total:.0%}'] for name, seconds in ordered]


def main() -> None:
    """Measure in turns and print views per second and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', help='folder of images, cut to the size of the list; else drawn ones')
    parser.add_argument('--lists', nargs='+', choices=LISTS, default=list(LISTS), help='default: all')
    parser.add_argument('--images', type=int, default=32, help='images of a turn of MoCo-v2 (default: %(default)s)')
    parser.add_argument('--normalise', action='store_true', help="charge histomm with the device's part as well")
    parser.add_argument('--profile', action='store_true', help='also the share of each transform')
    add_options(parser, repeats=9)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows, results, tables = [], {}, []
    for name in args.lists:
        sides, count = measure(LISTS[name], args)
        for title, pair in sides.items():
            rates = [spread([count / taken for taken in seconds]) for seconds in pair]
            ratio = ratios(*pair)
            rows.append([name, title, *(rate.text(0) for rate in rates), ratio.text(2)])
            results[f'{name}, {title}, ratio'] = ratio
            for side, rate in zip(('torchvision', 'histomm'), rates, strict=True):
                results[f'{name}, {title} by {side}, views/s'] = rate
        if args.profile:
            tables.append(table([f'transform of {name}', 'µs a view', 'share'], shares(LISTS[name], args)))
    head = ['list', 'from', 'torchvision on Pillow, views/s', 'histomm, views/s', 'ratio']
    text = [table(head, rows), *tables, provenance(args.repeats, 'cpu', torch.device('cpu'))]
    publish('\n\n'.join(text), args, results)


if __name__ == '__main__':
    main()
