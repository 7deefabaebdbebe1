"""Segment the nuclei of images and slides with a trained network of confidences:

python tools/segment_nuclei.py configs/patch_contrast/confnet_mse_patches.py work_dirs/confnet_mse_patches \\
    data/images data/slides/a.svs --out nuclei --geojson --overlay

Of an image NAME writes NAME.png (or .tif beyond 65,535 nuclei), where 0 is background and each nucleus has a number; of
a slide NAME.geojson. --geojson writes that of images too: polygons in level-0 pixels, which QuPath opens by drag and
drop. Slides are read tile by tile where they have tissue; nuclei are neither cut nor doubled at the borders of tiles.

The same command again goes on where it was interrupted: what is finished is left as it is.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.model import BaseModel
from PIL import Image

from histomm.atomic_file import write_atomic
from histomm.datasets.transforms import UnreadableImageError
from histomm.engine.launch import load_config
from histomm.evaluation.confidence_metric import radii_of
from histomm.evaluation.nuclei_segmentation import choose_without_labels, segment_nuclei
from histomm.evaluation.nuclei_sources import NucleiSource, find_inputs, open_source
from histomm.evaluation.nuclei_stitching import NucleiBlock
from histomm.evaluation.restarts import load_weights
from histomm.evaluation.tiled_confidence import receptive_radius
from histomm.models.card import file_hash
from histomm.models.weights import TransferError, resolve_checkpoint
from histomm.registry import MODELS
from histomm.visualization.colors import YELLOW, rgb
from histomm.wsi.geojson import Feature, features_of_labels, write_geojson

SETTINGS = 'segment_nuclei.json'
LOOKED_AT = 8
"""Inputs by which a channel is chosen without labels, evenly spaced."""
PICTURE = 3000
"""Longer side of overlays in pixels, at most."""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, .py or .yaml')
    parser.add_argument('checkpoint', type=Path, help='checkpoint, or work folder, whose last one is taken')
    parser.add_argument('inputs', nargs='+', type=Path, metavar='INPUT', help='images, slides, or folders of them')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--channel', type=_channel, default='auto', help='number, or auto: by haematoxylin (default)')
    parser.add_argument('--threshold', type=float, default=0.5, help='pixels of more confidence are nuclei')
    parser.add_argument(
        '--radii', type=int, nargs='+', metavar='PX', help='of the morphology; else test_evaluator.radii'
    )
    parser.add_argument('--mpp', type=float, help='µm per pixel to read slides at, as in training; else level 0')
    parser.add_argument('--slide-mpp', type=float, help='µm per level-0 pixel of slides whose file does not say')
    parser.add_argument('--region', type=int, nargs=4, metavar=('X', 'Y', 'W', 'H'), help='of a slide, level-0 pixels')
    parser.add_argument('--tile', type=int, default=1024, help='side of tiles in pixels (default: %(default)s)')
    parser.add_argument('--simplify', type=float, default=0.5, help='of polygons, in pixels (default: %(default)s)')
    parser.add_argument('--geojson', action='store_true', help='write polygons of images too')
    parser.add_argument('--overlay', action='store_true', help='write NAME_overlay.jpg with the outlines')
    parser.add_argument('--device', help='cpu, cuda, …; a GPU if there is one')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    args = parser.parse_args(argv)
    if args.tile < 64 or args.simplify < 0:
        parser.error('--tile has to be 64 or more, --simplify 0 or more')
    return args


def _channel(text: str) -> int | str:
    if text != 'auto' and not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is no channel, expected a number from 0, or auto')
    return text if text == 'auto' else int(text)


def build_model(args: argparse.Namespace, cfg: Config, checkpoint: Path) -> BaseModel:
    """The trained model in evaluation mode."""
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    if getattr(model, 'bn_batch_stats', False):
        raise ValueError(
            f'{args.config}: with bn_batch_stats tiles differ from the whole image; '
            'add --cfg-options model.bn_batch_stats=False'
        )
    return model.to(args.device or ('cuda' if torch.cuda.is_available() else 'cpu')).eval()


def settle(args: argparse.Namespace, checkpoint: Path, model: BaseModel, inputs: list[Path]) -> int:
    """The channel to take; it is kept with the settings in the folder, which holds results of one kind only.

    Raises:
        ValueError: The folder holds results of other settings.
    """
    names = ('config', 'cfg_options', 'threshold', 'radii', 'mpp', 'slide_mpp', 'region', 'simplify')
    settings = {'checkpoint_sha256': file_hash(checkpoint)} | {name: getattr(args, name) for name in names}
    path, kept = args.out / SETTINGS, None
    if path.is_file():
        kept = json.loads(path.read_text())
        if args.channel not in ('auto', kept['channel']) or any(kept.get(name) != settings[name] for name in settings):
            raise ValueError(f'{path}: the folder holds results of other settings; choose another --out')
        return kept['channel']
    channel = args.channel
    if channel == 'auto':
        places = np.linspace(0, len(inputs) - 1, min(LOOKED_AT, len(inputs))).round().astype(int)
        channel = choose_without_labels(model, [open_input(args, inputs[place]) for place in places], radii=args.radii)
    write_atomic(json.dumps(settings | {'channel': channel}, indent=2).encode(), path)
    return channel


def open_input(args: argparse.Namespace, path: Path) -> NucleiSource:
    """Image or slide."""
    return open_source(path, args.mpp, args.slide_mpp, args.region)


def outputs(args: argparse.Namespace, inputs: list[Path]) -> dict[Path, Path]:
    """What the results of each input are called, without suffix.

    Raises:
        ValueError: Two inputs have one name.
    """
    named: dict[Path, Path] = {}
    for path in inputs:
        stem = args.out / path.stem
        if stem in named:
            raise ValueError(f'{path} and {named[stem]} would share the name {stem}; segment them apart')
        named[stem] = path
    return {path: stem for stem, path in named.items()}


def is_done(args: argparse.Namespace, source: NucleiSource, stem: Path) -> bool:
    """Whether all that is wanted of an input is there."""
    wanted = [('.geojson',)] if source.is_slide or args.geojson else []
    wanted += [] if source.is_slide else [('.png', '.tif')]
    wanted += [('_overlay.jpg',)] if args.overlay else []
    return all(any(stem.with_name(stem.name + end).is_file() for end in ends) for ends in wanted)


class Results:
    """Takes the nuclei of one input as they come, and writes what is wanted."""

    def __init__(self, args: argparse.Namespace, source: NucleiSource) -> None:
        self.args, self.source, self.count = args, source, 0
        self.labels = None if source.is_slide else np.zeros(source.size[::-1], np.int32)
        self.picture = np.array(source.picture(PICTURE)) if args.overlay else None

    def features(self, block: NucleiBlock) -> Iterator[Feature]:
        """Polygons of a block, painted on the way."""
        if self.labels is not None:
            height, width = block.labels.shape
            part = self.labels[block.y : block.y + height, block.x : block.x + width]
            part[block.labels > 0] = block.labels[block.labels > 0] + self.count
        self.count += block.count()
        if not (self.args.geojson or self.source.is_slide or self.args.overlay):
            return
        confidence = block.mean_confidence()
        pixels = np.bincount(block.labels.ravel())
        for feature in features_of_labels(
            block.labels,
            np.array(self.source.offset) + np.array((block.x, block.y)) * self.source.scale,
            self.source.scale,
            self.args.simplify,
            name='Nucleus',
            measurements=lambda label: {
                'Mean confidence': round(float(confidence[label - 1]), 4),
                'Area px²': round(float(pixels[label] * np.prod(self.source.scale)), 1),
            },
        ):
            self._draw(feature)
            yield feature

    def _draw(self, feature: Feature) -> None:
        if self.picture is None:
            return
        geometry = feature['geometry']
        polygons = [geometry['coordinates']] if geometry['type'] == 'Polygon' else geometry['coordinates']
        zoom = np.array(self.picture.shape[1::-1]) / (np.array(self.source.size) * self.source.scale)
        rings = [(np.array(ring) - self.source.offset) * zoom - 0.5 for rings in polygons for ring in rings]
        whole = [np.round(ring * 16).astype(np.int32) for ring in rings]
        cv2.polylines(
            self.picture, whole, True, rgb(YELLOW), 1 + (max(self.picture.shape) > 1500), cv2.LINE_AA, shift=4
        )

    def write(self, blocks: Iterator[NucleiBlock], stem: Path) -> None:
        """Write all, whole or not at all."""
        features = (feature for block in blocks for feature in self.features(block))
        if self.source.is_slide or self.args.geojson:
            write_geojson(stem.with_name(f'{stem.name}.geojson'), features)
        else:
            for _ in features:
                pass
        if self.picture is not None:
            _write_image(stem.with_name(f'{stem.name}_overlay.jpg'), self.picture)
        if self.labels is not None:
            write_label_map(stem, self.labels)


def write_label_map(stem: Path, labels: np.ndarray) -> Path:
    """Write (H, W) int32 as PNG of 16 bits, or as TIFF of 32 where the numbers need them."""
    if labels.max(initial=0) <= np.iinfo(np.uint16).max:
        return _write_image(stem.with_name(f'{stem.name}.png'), labels.astype(np.uint16))
    return _write_image(stem.with_name(f'{stem.name}.tif'), labels)


def _write_image(path: Path, pixels: np.ndarray) -> Path:
    content = io.BytesIO()
    kind = {'.jpg': dict(format='jpeg', quality=90), '.png': dict(format='png')}
    options = kind.get(path.suffix, dict(format='tiff', compression='tiff_deflate'))
    Image.fromarray(pixels).save(content, **options)
    write_atomic(content.getvalue(), path)
    return path


def run(args: argparse.Namespace) -> None:
    inputs = find_inputs(args.inputs)
    stems = outputs(args, inputs)
    checkpoint = resolve_checkpoint(args.checkpoint)
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    args.radii = args.radii or [*radii_of(cfg.get('test_evaluator'))]
    model = build_model(args, cfg, checkpoint)
    radius = receptive_radius(getattr(model, 'backbone', model))
    channel = settle(args, checkpoint, model, inputs)
    print(f'channel {channel}, {"as chosen without labels" if args.channel == "auto" else "as given"}')
    for path, stem in stems.items():
        source = open_input(args, path)
        if is_done(args, source, stem):
            print(f'{path}: finished before')
            continue
        results = Results(args, source)
        blocks = segment_nuclei(model, source, channel, radius, args.tile, args.threshold, args.radii)
        results.write(blocks, stem)
        print(f'{path}: {results.count} nuclei', flush=True)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (OSError, ValueError, ModuleNotFoundError, TransferError, UnreadableImageError) as error:
        sys.exit(f'segment_nuclei: {error}')


if __name__ == '__main__':
    main()
