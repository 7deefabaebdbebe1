"""One self-contained HTML page about a pre-training and the fine-tunings that follow it.

python tools/analysis/report.py --out report.html --pretrain work_dirs/moco_plm_r18_nct \\
    --finetune 'from scratch=work_dirs/scratch' 'pre-trained=work_dirs/pretrained' \\
    --ann data/glas/annotations/test.json --images data/glas

A fine-tuning's figures are those of its last evaluation, by tools/test.py or in training. Its instances are drawn if
its folder holds a *.segm.json, which CocoMetric writes with test_evaluator.0.outfile_prefix=WORK_DIR/test.
"""

import argparse
import datetime
import math
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config

from histomm.datasets.transforms import UnreadableImageError, read_image
from histomm.engine.provenance import machine, versions
from histomm.visualization.colors import BLUE, GREEN, ORANGE, PURPLE, VERMILION
from histomm.visualization.curves import plot_curves, read_metrics, read_scalars
from histomm.visualization.instances import CocoImage, decode_masks, draw_outlines, read_coco, read_predictions
from histomm.visualization.patch_contrast import draw_maps, draw_spread, read_records, spread_evenly, write_animation
from histomm.visualization.report import Item, Report

METRICS = {
    'coco/bbox_mAP': 'AP box',
    'coco/bbox_mAP_50': 'AP50 box',
    'coco/bbox_mAP_75': 'AP75 box',
    'coco/segm_mAP': 'AP mask',
    'coco/segm_mAP_50': 'AP50 mask',
    'coco/segm_mAP_75': 'AP75 mask',
}
GLANDS = {
    'gland/object_f1': 'object F1',
    'gland/object_dice': 'object Dice',
    'gland/object_hausdorff': 'object Hausdorff, pixels',
    'instance/aji': 'AJI',
    'instance/pq': 'PQ',
}
"""Of histomm.GlandMetric and histomm.InstanceOverlapMetric; all are shares of 1 but for the distance."""
MONITORS = {
    'feature_std': 'spread of the features (feature_std)',
    'rankme': 'effective rank (RankMe)',
    'knn_top1': 'accuracy of kNN on held-out patches, %',
}
BRANCHES = {'loss': 'total', 'loss_global': 'global branch, weighted', 'loss_dense': 'dense branch, weighted'}
LOSSES = {
    'loss': 'total loss',
    'loss_rpn_cls': 'RPN, object or not',
    'loss_rpn_bbox': 'RPN, boxes',
    'loss_cls': 'RoIs, classes',
    'loss_bbox': 'RoIs, boxes',
    'loss_mask': 'RoIs, masks',
}
RUN_COLORS = (VERMILION, BLUE, PURPLE, ORANGE)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', required=True, type=Path, help='HTML file')
    parser.add_argument('--title', default='From pixels to instances')
    parser.add_argument('--lead', default='', help='a sentence below the title')
    parser.add_argument('--pretrain', type=Path, metavar='WORK_DIR')
    parser.add_argument('--finetune', nargs='+', default=[], type=named, metavar='NAME=WORK_DIR')
    parser.add_argument('--ann', type=Path, help='COCO file that the fine-tunings were evaluated on')
    parser.add_argument('--images', type=Path, help='folder to which its file names refer')
    parser.add_argument('--num-images', type=int, default=4, help='test images to show, evenly spaced (default 4)')
    parser.add_argument('--min-score', type=float, default=0.5, help='of instances to draw (default 0.5)')
    parser.add_argument('--matching', type=Path, help='picture by visualize_matching.py')
    parser.add_argument(
        '--picture', nargs=2, action='append', default=[], metavar=('FILE', 'CAPTION'),
        help='picture of another tool (.png, .jpg, .svg), and a sentence about it; repeat for several',
    )  # fmt: skip
    parser.add_argument('--commands', type=Path, help='text file of the commands that were run')
    return parser.parse_args(argv)


def named(text: str) -> tuple[str, Path]:
    """``NAME=DIR`` to its parts."""
    name, sign, path = text.partition('=')
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f'{text!r} is no NAME=WORK_DIR, for example scratch=work_dirs/scratch')
    return name, Path(path)


def describe_run(work_dir: Path) -> str:
    """Config and seed of a run."""
    dumped = sorted(path for path in work_dir.iterdir() if path.suffix in ('.py', '.yaml', '.yml', '.json'))
    if not dumped:
        return str(work_dir)
    seed = Config.fromfile(dumped[0]).get('randomness', {}).get('seed')
    return f'{dumped[0].name}, seed {seed}'


def add_facts(report: Report, args: argparse.Namespace) -> None:
    """Where and with what the runs were made."""
    facts = {'Made': datetime.datetime.now().strftime('%Y-%m-%d %H:%M'), 'Machine': machine()}
    if args.pretrain:
        facts['Pre-training'] = describe_run(args.pretrain)
    for name, work_dir in args.finetune:
        facts[f'Fine-tuning, {name}'] = describe_run(work_dir)
    facts['Versions'] = versions()
    report.add_facts(facts)


def add_results(report: Report, args: argparse.Namespace) -> None:
    """Average precision of every fine-tuning, and scores of instances where there are some."""
    metrics = {name: read_metrics(work_dir) for name, work_dir in args.finetune}
    missing = [name for name, found in metrics.items() if not set(METRICS) & set(found)]
    if missing:
        raise ValueError(f'the fine-tuning {missing[0]!r} has no coco/… figures; evaluate it with tools/test.py first')
    rows = [[name, *(_percent(found.get(key)) for key in METRICS)] for name, found in metrics.items()]
    where = f' on {args.ann.name}' if args.ann else ''
    report.add_section('Average precision')
    report.add_table(['Fine-tuning', *METRICS.values()], rows, f'COCO average precision{where}, in per cent.')
    if len(rows) == 2:
        boxes, masks = (rows[1][column] - rows[0][column] for column in (1, 4))
        report.add_text(
            f'Difference, {rows[1][0]} less {rows[0][0]}: {boxes:+.1f} points for boxes, {masks:+.1f} for masks. '
            'This is one run of each; repeat with other seeds before you believe a difference of some points.'
        )
    shown = [key for key in GLANDS if any(key in found for found in metrics.values())]
    if shown:
        rows = [[name, *(_score(key, found.get(key)) for key in shown)] for name, found in metrics.items()]
        caption = f'Scores of outlined instances{where}, in per cent but for the distance, where 0 is best.'
        report.add_section('Scores of instances')
        report.add_table(['Fine-tuning', *(GLANDS[key] for key in shown)], rows, caption)


def _percent(value: float | None) -> float | None:
    """COCO's -1 means that there was nothing to average, as NaN does in other scores."""
    return None if value is None or not value >= 0 else 100 * value


def _score(key: str, value: float | None) -> float | None:
    if key == 'gland/object_hausdorff':
        return None if value is None or math.isnan(value) else value
    return _percent(value)


def add_instances(report: Report, args: argparse.Namespace) -> None:
    """Outlines of the truth and of each fine-tuning's predictions on some test images."""
    predictions = {}
    for name, work_dir in args.finetune:
        files = sorted(work_dir.glob('*.segm.json'))
        if files:
            predictions[name] = read_predictions(files[-1], args.min_score)
    if not predictions:
        return
    report.add_section('Predicted instances beside the truth')
    report.add_text(
        f'Images evenly spaced over the {args.ann.name} list, not chosen by hand. '
        f'Predictions with a score of at least {args.min_score:g}.'
    )
    images = [image for image in read_coco(args.ann) if image.annotations]
    for index in np.linspace(0, len(images) - 1, min(args.num_images, len(images))).round().astype(int):
        report.add_gallery(_compared(images[index], args.images, predictions), width=240)


def _compared(image: CocoImage, root: Path, predictions: dict[str, dict[int, list[dict]]]) -> list[Item]:
    """Truth and predictions on one image, side by side."""
    pixels = read_image(str(root / image.file_name))
    found = {'truth': image.annotations} | {name: by.get(image.image_id, []) for name, by in predictions.items()}
    items = []
    for (name, annotations), color in zip(found.items(), (GREEN, *RUN_COLORS), strict=False):
        drawn = draw_outlines(pixels, decode_masks(annotations), color, width=max(2, pixels.shape[0] // 130))
        text = f'{Path(image.file_name).stem}, {name}: {len(annotations)}'
        items.append(Item(drawn, f'Tissue of {text} outlined instances', text, quality=88))
    return items


def add_pretraining(report: Report, work_dir: Path) -> None:
    """Losses and monitors."""
    curves = read_scalars(work_dir)
    losses = {BRANCHES.get(name, name): curve for name, curve in curves.items() if name.startswith('loss')}
    report.add_section('Pre-training')
    report.add_text(
        'A contrastive loss may well rise at first: its queue of negatives starts with random vectors and fills with '
        'features that are harder to tell apart. So look at the monitors too: a spread or a rank that falls to almost '
        'nothing is a collapse, and kNN accuracy says whether patches of one tissue come to lie together.'
    )
    items = [Item(plot_curves(losses, 'loss'), f'Losses over iterations: {", ".join(losses)}', 'Losses')]
    for name, label in MONITORS.items():
        if name in curves:
            last = curves[name][1][-1]
            figure = plot_curves({name: curves[name]}, label, ylim=(0, 100) if name == 'knn_top1' else None)
            items.append(
                Item(
                    figure,
                    f'{label} over iterations, {last:.3g} at the end',
                    label[0].upper() + label[1:],
                )
            )
    report.add_gallery(items, width=400)


def add_confidence(report: Report, work_dir: Path) -> None:
    """Confidences of one image over the epochs of patch contrast; the animation goes to ``pictures`` of the folder."""
    image, records = read_records(work_dir)
    channel = int(records[-1].confidence.std(axis=(1, 2)).argmax())
    moving = work_dir / 'pictures' / 'animation.png'
    write_animation(moving, image, records, channel)
    report.add_section('Confidence over epochs')
    report.add_text(
        'One image, and where each class of the network is confident. Squares are patches as they would be drawn for '
        'the losses: windows of little entropy are drawn more often, and are positives as often as they are confident.'
    )
    report.add_figure(moving, f'Animation of the confidence of class {channel} over epochs, beside the image')
    report.add_figure(draw_maps(image, spread_evenly(records, 5)), 'Confidence of all classes over epochs with patches')
    report.add_figure(draw_spread(records), 'Spread of confidence and entropy of all windows over epochs')


def add_pictures(report: Report, pictures: list[list[str]]) -> None:
    """Pictures that other tools drew, in their order."""
    report.add_section('Pictures')
    for file, caption in pictures:
        if not Path(file).is_file():
            raise FileNotFoundError(f'--picture {file}: no such file; draw it first')
        report.add_figure(file, caption, caption)


def add_finetuning(report: Report, runs: list[tuple[str, Path]]) -> None:
    """Every loss, and the evaluations during training, of all fine-tunings together."""
    curves = {name: read_scalars(work_dir) for name, work_dir in runs}
    report.add_section('Fine-tuning')
    items = []
    for key, label in {**LOSSES, 'coco/segm_mAP': 'AP mask, share of 1'}.items():
        chosen = {name: found[key] for name, found in curves.items() if key in found}
        if chosen and (key in LOSSES or max(len(steps) for steps, _ in chosen.values()) > 1):
            figure = plot_curves(chosen, label, size=(4.4, 2.9), colors=RUN_COLORS)
            items.append(Item(figure, f'{label} over iterations of {", ".join(chosen)}', label[0].upper() + label[1:]))
    report.add_gallery(items, width=300)


def build(args: argparse.Namespace) -> Report:
    """The whole report."""
    if args.ann and not args.images:
        raise ValueError('--ann needs --images, the folder to which its file names refer')
    report = Report(args.title, args.lead)
    add_facts(report, args)
    if args.finetune:
        add_results(report, args)
        if args.ann:
            add_instances(report, args)
    if args.matching:
        report.add_section('Matched cells')
        report.add_text(
            'Two views of one patch, drawn as in pre-training, and what each matcher takes for one cell of the query '
            'view. Precise location matching weighs every key cell by the tissue that it shares with the query cell.'
        )
        report.add_figure(args.matching, 'Two views of a patch and the key cells that three matchers give to one cell')
    if args.pretrain:
        add_pretraining(report, args.pretrain)
        if (args.pretrain / 'confidence').is_dir():
            add_confidence(report, args.pretrain)
    if args.finetune:
        add_finetuning(report, args.finetune)
    if args.picture:
        add_pictures(report, args.picture)
    if args.commands:
        report.add_section('Commands')
        report.add_commands(args.commands.read_text().splitlines())
    return report


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        path = build(args).write(args.out)
    except (ValueError, FileNotFoundError, UnreadableImageError) as error:
        sys.exit(f'report: {error}')
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
