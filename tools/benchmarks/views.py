"""Views per second and core: histomm's pipeline beside torchvision's transforms on Pillow images.

Both make the views of MoCo-v2 at 224 x 224 in one process on one thread, in turns, so that the ratio does not depend on
what else the machine does:

    python tools/benchmarks/views.py [FOLDER] [--repeats 15] [--images 32]

torchvision's side ends with ToTensor and the normalisation, as in the authors' code; histomm's ends with the packed
uint8 tensor, because the batch is normalised on the device. ``--normalise`` charges histomm for that on this core too.
"""

import argparse
import tempfile
from collections.abc import Callable

import cv2
import numpy as np
import torch
from _timing import add_options, in_turns, make_clock, provenance, publish, ratios, spread, table
from PIL import Image, ImageFilter
from torchvision import transforms as T

from histomm.datasets.patch_sources import scan_folder
from histomm.datasets.samplers import SampleIndex
from histomm.datasets.transforms.loading import EXTENSIONS, read_image
from histomm.datasets.transforms.views import MultiView, PackViews
from histomm.models.data_preprocessors import ViewDataPreprocessor
from histomm.registry import TRANSFORMS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEW = [
    dict(type='histomm.RandomResizedCrop', size=224, scale=(0.2, 1.0)),
    dict(type='histomm.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8),
    dict(type='histomm.RandomGrayscale', prob=0.2),
    dict(type='histomm.GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
    dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.0),
]


class PillowBlur:
    """Pillow's blur with a random radius, as MoCo-v2's authors use it."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Blur with radius U(0.1, 2)."""
        return image.filter(ImageFilter.GaussianBlur(float(np.random.uniform(0.1, 2.0))))


def draw_images(count: int, side: int) -> list[np.ndarray]:
    """Smooth pink and violet blobs with grain: as busy as tissue is."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        density = sum(
            cv2.resize(rng.random((n, n, 2), dtype=np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
            for n in (8, 28, side)
        )
        stain = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)
        images.append(np.clip(255 * np.exp(-0.5 * density @ stain), 0, 255).astype(np.uint8))
    return images


def torchvision_side(images: list[np.ndarray]) -> Callable[[], None]:
    """Two views of each decoded image, from Pillow to the normalised tensor."""
    transform = T.Compose(
        [
            T.RandomResizedCrop(224, scale=(0.2, 1.0)),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([PillowBlur()], p=0.5),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    sources = [Image.fromarray(image) for image in images]

    def run() -> None:
        for image in sources:
            transform(image), transform(image)

    return run


def histomm_side(images: list[np.ndarray], normalise: bool) -> Callable[[], None]:
    """Two views of each decoded image, to the packed uint8 tensor, or further to the normalised one."""
    make = MultiView([dict(pipeline=[TRANSFORMS.build(step) for step in VIEW], num=2)])
    pack, preprocess = PackViews(), ViewDataPreprocessor()
    epoch = iter(range(10**9))

    def run() -> None:
        now = next(epoch)
        for number, image in enumerate(images):
            sample = dict(img=image, ori_shape=image.shape[:2], img_path='', sample_idx=SampleIndex(number, 0, now))
            packed = pack(make(sample))
            if normalise:
                preprocess(dict(inputs=[view[None] for view in packed['inputs']]))

    return run


def readers(images: list[np.ndarray], folder: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Reading TIFF files, the format of NCT-CRC-HE-100K: Pillow to RGB, and histomm's reader."""
    paths = [f'{folder}/{number}.tif' for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)

    def pillow() -> None:
        for path in paths:
            Image.open(path).convert('RGB')

    def histomm() -> None:
        for path in paths:
            read_image(path)

    return pillow, histomm


def chosen_images(folder: str | None, count: int) -> list[np.ndarray]:
    """``count`` images spread over ``folder`` and cut to 224 x 224, or drawn ones."""
    if not folder:
        return draw_images(count, 224)
    paths = scan_folder(folder, EXTENSIONS)
    chosen = paths[:: max(len(paths) // count, 1)][:count]
    return [np.ascontiguousarray(read_image(f'{folder}/{path}')[:224, :224]) for path in chosen]


def rates(title: str, torchvision: list[float], histomm: list[float], views: int) -> list[str]:
    """A row of the table, from seconds for ``views`` views."""
    per_second = [spread([views / seconds for seconds in side]).text(0) for side in (torchvision, histomm)]
    return [title, *per_second, ratios(torchvision, histomm).text(2)]


def main() -> None:
    """Measure in turns and print views per second and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', help='folder of images, cut to 224 x 224; drawn images if left out')
    parser.add_argument('--images', type=int, default=32, help='images of a turn (default: %(default)s)')
    parser.add_argument('--normalise', action='store_true', help="charge histomm with the device's part as well")
    add_options(parser, repeats=15)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    images = chosen_images(args.folder, args.images)
    with tempfile.TemporaryDirectory() as folder:
        views = (torchvision_side(images), histomm_side(images, args.normalise))
        names = ('torchvision', 'histomm', 'Pillow reads', 'histomm reads')
        runs = dict(zip(names, (*views, *readers(images, folder)), strict=True))
        times = in_turns(runs, args.repeats, make_clock('cpu', torch.device('cpu')))
    pillow, own, *reading = times.values()
    from_file = [np.add(*pair).tolist() for pair in zip((pillow, own), reading, strict=True)]
    count = 2 * len(images)
    sides = {'decoded image to tensor': (pillow, own), 'TIFF file to tensor': from_file}
    rows = [rates(title, *pair, count) for title, pair in sides.items()]
    head = ['from', 'torchvision on Pillow, views/s', 'histomm, views/s', 'ratio']
    results = {}
    for title, pair in sides.items():
        results[f'{title}, ratio'] = ratios(*pair)
        for side, seconds in zip(('torchvision', 'histomm'), pair, strict=True):
            results[f'{title} by {side}, views/s'] = spread([count / taken for taken in seconds])
    publish(f'{table(head, rows)}\n\n{provenance(args.repeats, "cpu", torch.device("cpu"))}', args, results)


if __name__ == '__main__':
    main()
