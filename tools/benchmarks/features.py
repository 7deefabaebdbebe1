"""Images per second of the feature extraction, beside a plain loop with timm's own transforms and torch's loader.

    python tools/benchmarks/features.py --model resnet18 --images 64
    python tools/benchmarks/features.py data/NCT-CRC-HE-100K --images 4096 --batch 256 --workers 8 --device cuda

Both read the same files and compute the same model of timm with the same random weights; that their vectors agree is
checked first. The plain loop keeps the vectors in memory and saves them with numpy; histomm writes its feature file.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
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
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch.utils.data import DataLoader, Dataset

from histomm.datasets.patch_sources import scan_folder
from histomm.datasets.transforms.loading import EXTENSIONS
from histomm.evaluation.encoder import Encoder
from histomm.evaluation.extraction import ImageFiles, Loading, Source, extract
from histomm.evaluation.feature_store import read_features
from histomm.evaluation.timm_encoder import encoder_from_timm


class PlainImages(Dataset):
    """Files through timm's transforms, as its documentation has it."""

    def __init__(self, paths: list[str], model: torch.nn.Module) -> None:
        self.paths = paths
        self.transform = create_transform(**resolve_model_data_config(model), is_training=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]).convert('RGB'))


def plain_loop(
    model: torch.nn.Module, paths: list[str], args: argparse.Namespace, out: Path | None
) -> Callable[[], np.ndarray]:
    """All vectors by torch's loader and a loop; without ``out`` the network is left out."""
    images = PlainImages(paths, model)

    def run() -> np.ndarray:
        loader = DataLoader(images, args.batch, num_workers=args.workers, pin_memory=args.device.type == 'cuda')
        with torch.inference_mode():
            parts = [model(batch.to(args.device)).cpu().numpy() if out else batch for batch in loader]
        if out:
            np.save(out, np.concatenate(parts))
        return parts[0]

    return run


def own_extraction(
    encoder: Encoder, paths: list[str], args: argparse.Namespace, folder: Path | None
) -> Callable[[], np.ndarray | None]:
    """All vectors by histomm, each time into a new file; without ``folder`` the network is left out."""
    source = Source(paths, ImageFiles(paths, encoder.steps), {'data': 'benchmark'})
    loading = Loading(args.batch, args.workers, args.device)
    numbers = itertools.count()

    def run() -> Path | None:
        if folder is None:
            for _ in DataLoader(source.images, args.batch, num_workers=args.workers):
                pass
            return None
        path = folder / f'{next(numbers)}.h5'
        extract(encoder, source, path, loading, {})
        return path

    return run


def draw_files(folder: Path, count: int, size: int) -> list[str]:
    """Patches of noise on the scale of nuclei, as TIFF without compression, the kind of NCT-CRC-HE-100K."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        noise = rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
        paths.append(str(folder / f'{number:05d}.tif'))
        Image.fromarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)).save(paths[-1])
    return paths


def measure(
    args: argparse.Namespace, paths: list[str], folder: Path, clock: Callable[[], float]
) -> tuple[str, dict[str, Spread]]:
    """The table, and its figures."""
    encoder = encoder_from_timm(args.model, random=True).to(args.device)
    torch.manual_seed(0)
    model = timm.create_model(args.model, num_classes=0).to(args.device).eval()
    model.load_state_dict(encoder.network.state_dict())
    plain, own = plain_loop(model, paths, args, folder / 'plain.npy'), own_extraction(encoder, paths, args, folder)
    plain()
    np.testing.assert_allclose(read_features(own()).features, np.load(folder / 'plain.npy'), rtol=0.02, atol=0.02)
    runs = {
        'plain': plain,
        'own': own,
        'plain reads': plain_loop(model, paths, args, None),
        'own reads': own_extraction(encoder, paths, args, None),
    }
    times = in_turns(runs, args.repeats, clock)
    rows, results = [], {}
    for title, suffix in (('file to vector', ''), ('file to the input of the network', ' reads')):
        sides = times[f'plain{suffix}'], times[f'own{suffix}']
        rates = [spread([len(paths) / seconds for seconds in side]) for side in sides]
        rows.append([title, *(rate.text(1) for rate in rates), ratios(*sides).text(2)])
        results[f'{title}, ratio'] = ratios(*sides)
        for name, rate in zip(('timm', 'histomm'), rates, strict=True):
            results[f'{title} by {name}, images/s'] = rate
    head = [f'{args.model}, batch {args.batch}', 'timm, images/s', 'histomm, images/s', 'ratio']
    return table(head, rows), results


def main() -> None:
    """Measure in turns and print images per second and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', help='folder of images; drawn ones if left out')
    parser.add_argument('--model', default='resnet18', help='model of timm (default: %(default)s)')
    parser.add_argument('--images', type=int, default=64, help='images of a turn (default: %(default)s)')
    parser.add_argument('--size', type=int, default=224, help='side of drawn images in px (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=32, help='images at a time (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=0, help='loader processes; above 0 with --clock wall only')
    add_options(parser, repeats=5)
    add_device_options(parser)
    args = parser.parse_args()
    clock = set_up_device(args)
    if args.workers and args.clock == 'cpu':
        parser.error('--workers: the processor time of loader processes is not counted; give --clock wall')
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.folder:
            found = scan_folder(args.folder, EXTENSIONS)
            paths = [f'{args.folder}/{path}' for path in found[:: max(1, len(found) // args.images)][: args.images]]
        else:
            paths = draw_files(folder, args.images, args.size)
        text, results = measure(args, paths, folder, clock)
    publish(f'{text}\n\n{provenance(args.repeats, args.clock, args.device)}', args, results)


if __name__ == '__main__':
    main()
