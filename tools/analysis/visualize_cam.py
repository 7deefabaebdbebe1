"""Show which places of images speak for a class to one or several classifiers, by Grad-CAM.

    python tools/analysis/visualize_cam.py data/BreaKHis_v1 --num 4 --out work_dirs/cam.png \
        --model ImageNet configs/breakhis/resnet18_finetune_breakhis.py work_dirs/imagenet \
        --model MPCS configs/breakhis/resnet18_finetune_breakhis.py work_dirs/mpcs

DATA are images; or a folder or list, of which some are drawn, evenly over the magnifications of BreakHis, else over the
classes. Needs grad-cam: pip install --no-deps grad-cam ttach
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import DictAction

from histomm.datasets.breakhis import SUBTYPES, parse_name
from histomm.datasets.label_maps import ConversionError
from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.transforms import UnreadableImageError
from histomm.evaluation.classifier import Classifier, classifier_from_config
from histomm.evaluation.extraction import ImageFiles
from histomm.models.weights import TransferError
from histomm.visualization.activation_figure import Line, Panel, draw_activations
from histomm.visualization.class_activation import ClassActivation, class_activation
from histomm.visualization.panels import SUFFIXES, check_picture_path, write_picture


class Picture(NamedTuple):
    """An image to explain."""

    path: str
    title: str
    """Magnification and subtype, where the name tells them, or the class."""
    truth: str | None
    """Its class, where known."""
    kind: tuple[int, str]
    """Magnification, or 0 and the class; images are drawn evenly over these."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', nargs='+', metavar='DATA', help='images; or a folder or list (.txt, .csv)')
    parser.add_argument(
        '--model', nargs=3, action='append', required=True, metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a classifier, by its config and a checkpoint or work directory; repeat for several',
    )  # fmt: skip
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override every config')
    parser.add_argument('--class', dest='target', metavar='CLASS', help='name or number; default: the predicted one')
    parser.add_argument('--layer', default='', help='such as backbone.layer3; default: the last block of the backbone')
    parser.add_argument('--num', type=int, default=4, help='images of a folder or list (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of drawing them (default: %(default)s)')
    parser.add_argument('--labels', action='store_true', help='classes: the first folder, or as the list says')
    parser.add_argument('--root', default='', help='folder to which the paths of a list refer')
    parser.add_argument('--out', type=Path, required=True, help=f'picture, {", ".join(SUFFIXES)}')
    return parser.parse_args(argv)


def find_pictures(args: argparse.Namespace) -> list[Picture]:
    """The named images; or some of a folder or list."""
    first = Path(args.data[0])
    if not first.is_dir() and first.suffix.lower() not in ('.txt', '.csv'):
        missing = [path for path in args.data if not Path(path).is_file()]
        if missing:
            raise FileNotFoundError(f'{missing[0]}: no such image; correct the path')
        return [describe(path) for path in args.data]
    if len(args.data) > 1:
        raise ValueError(f'found {len(args.data)} folders or lists, expected one, or images alone')
    if args.num < 1:
        raise ValueError(f'--num is {args.num}, expected 1 or more')
    source = (
        dict(data_root=str(first)) if first.is_dir() else dict(list_file=str(first.absolute()), data_root=args.root)
    )
    dataset = PatchDataset(with_labels=args.labels, **source)
    classes = dataset.metainfo.get('classes')
    found = []
    for sample in (dataset.get_data_info(index) for index in range(len(dataset))):
        label = sample.get('gt_label')
        found.append(describe(sample['img_path'], classes[label] if classes and label is not None else None))
    return choose(found, args.num, args.seed)


def describe(path: str, truth: str | None = None) -> Picture:
    """What is known of an image: by its name, if it is one of BreakHis."""
    try:
        name = parse_name(Path(path).name)
    except ConversionError:
        return Picture(path, truth or '', truth, (0, truth or ''))
    title = f'{name.magnification}X, {SUBTYPES[name.subtype].replace("_", " ")}'
    return Picture(path, title, truth or name.label, (name.magnification, ''))


def choose(pictures: list[Picture], number: int, seed: int) -> list[Picture]:
    """So many, drawn as evenly from the kinds, and then from the classes, as they go; in order of both."""
    left = [pictures[i] for i in np.random.default_rng(seed).permutation(len(pictures))]
    chosen: list[Picture] = []
    taken: Counter = Counter()
    while left and len(chosen) < number:
        picture = min(left, key=lambda one: (taken[one.kind], taken[one.truth]))
        left.remove(picture)
        taken.update((picture.kind, picture.truth))
        chosen.append(picture)
    return sorted(chosen, key=lambda picture: (picture.kind, picture.truth or '', picture.path))


def explain(classifier: Classifier, picture: Picture, target: str | None, layer: str) -> Panel:
    """What a classifier says of an image, and where from."""
    image = ImageFiles([picture.path], classifier.steps)[0]
    number = None if target is None else classifier.class_number(target)
    (found,) = class_activation(classifier, image[None], number, layer)
    right = None
    if picture.truth in classifier.classes:
        right = classifier.classes[int(found.scores.argmax())] == picture.truth
    return Panel(image.permute(1, 2, 0).numpy(), found.map, _said(classifier, found), right)


def _said(classifier: Classifier, found: ClassActivation) -> str:
    best = int(found.scores.argmax())
    text = f'{classifier.classes[best]} {found.scores[best]:.2f}'
    return text if found.map.any() else f'{text}, no evidence'


def run(args: argparse.Namespace) -> str:
    """Explain, draw, and say what was shown."""
    check_picture_path(args.out)
    pictures = find_pictures(args)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    columns, of = [], 'the predicted class'
    for _, config, checkpoint in args.model:
        classifier = classifier_from_config(config, checkpoint, args.cfg_options).to(device)
        if args.target is not None:
            of = classifier.classes[classifier.class_number(args.target)]
        columns.append([explain(classifier, picture, args.target, args.layer) for picture in pictures])
    lines = [
        Line(picture.title, Path(picture.path).stem, list(panels))
        for picture, panels in zip(pictures, zip(*columns, strict=True), strict=True)
    ]
    write_picture(draw_activations(lines, [name for name, _, _ in args.model], f'evidence for {of}'), args.out)
    return f'{args.out}: {len(pictures)} images, {len(args.model)} classifiers'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        print(run(args))
    except (OSError, ValueError, ModuleNotFoundError, TransferError, UnreadableImageError) as error:
        sys.exit(f'visualize_cam: {error}')


if __name__ == '__main__':
    main()
