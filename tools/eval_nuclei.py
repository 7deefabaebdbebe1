"""Score restarts of a segmentation that was learnt without labels, or of any network that gives confidence maps:

python tools/eval_nuclei.py configs/patch_contrast/confnet_mse_monuseg.py work_dirs/seed0 work_dirs/seed1

Each path is one restart: a work folder, whose checkpoints are compared, or one checkpoint. Checkpoint and channel are
chosen on the training images (val_dataloader), by two rules, and scored on the test images (test_dataloader):

by_labels    highest Dice on the labelled training images, as the authors of patch contrast do
label_free   highest correlation of the mask with the density of haematoxylin; reads no label

Writes all scores as JSON, and prints a table of the test images and the maximum, mean, standard deviation and 80th
percentile over the restarts.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner

from histomm.atomic_file import write_atomic
from histomm.engine.launch import load_config
from histomm.evaluation.channel_choice import RULES
from histomm.evaluation.confidence_metric import ConfidenceMetric, radii_of
from histomm.evaluation.restarts import SUMMARIZED, evaluate, evaluate_restarts, load_weights, step_name
from histomm.registry import MODELS


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, .py or .yaml, with val_dataloader and test_dataloader')
    parser.add_argument('runs', nargs='+', type=Path, metavar='run', help='work folder or checkpoint of one restart')
    parser.add_argument('--out', type=Path, help='JSON file; default work_dirs/<name of the config>/nuclei.json')
    parser.add_argument('--threshold', type=float, default=0.5, help='pixels of more confidence are nuclei')
    parser.add_argument(
        '--radii', type=int, nargs='+', metavar='PX', help='of the morphology; else test_evaluator.radii'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


class Scorer:
    """Scores checkpoints of the model of a config; images are read anew for each."""

    def __init__(self, cfg: Config, threshold: float, radii: Sequence[int]) -> None:
        self.model = MODELS.build(cfg.model).to(get_device())
        self.threshold, self.radii = threshold, radii
        self.loaders = {
            name: Runner.build_dataloader(cfg[f'{key}_dataloader'], seed=cfg.get('randomness', {}).get('seed', 0))
            for name, key in (('train', 'val'), ('test', 'test'))
        }

    def __call__(self, checkpoint: Path, channel: int | None) -> dict[str, float]:
        """Scores on the training images, or of a channel on the test images."""
        name = 'train' if channel is None else 'test'
        print(f'{checkpoint}: {len(self.loaders[name].dataset)} {name} images', flush=True)
        load_weights(self.model, checkpoint)
        metric = ConfidenceMetric(channel is None, channel, self.threshold, self.radii)
        return evaluate(self.model, self.loaders[name], metric)

    def images(self, name: str) -> list[str]:
        """Paths of the images of a split."""
        dataset = self.loaders[name].dataset
        return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


def table(result: dict[str, Any]) -> str:
    """The test images in Markdown: a row for each restart and rule, and the figures over restarts."""
    lines = ['| restart | chosen | checkpoint | channel | Dice, train | Dice | Dice, no morphology | AJI | PQ |']
    lines.append('|' + ' --- |' * 9)
    for one in result['restarts']:
        for rule in RULES:
            found = one[rule]
            figures = [found['train_dice'], *(found['test'][name] for name in SUMMARIZED)]
            cells = [
                one['run'],
                rule,
                step_name(Path(found['checkpoint'])),
                found['channel'],
                *map('{:.4f}'.format, figures),
            ]
            lines.append(f'| {" | ".join(map(str, cells))} |')
    lines += ['', '| over restarts | score | max | mean ± sd | 80th percentile |', '|' + ' --- |' * 5]
    for rule in RULES:
        for name, of in result['summary'][rule].items():
            spread = '' if of['sd'] is None else f' ± {of["sd"]:.4f}'
            lines.append(
                f'| {rule} | {name} | {of["max"]:.4f} | {of["mean"]:.4f}{spread} | {of["percentile_80"]:.4f} |'
            )
    lines.append('')
    for rule, number in result['best_restart'].items():
        best = result['restarts'][number]
        lines.append(f'{rule}: best on the training images is {best["run"]}, Dice {best[rule]["test"]["dice"]:.4f}')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parse_args(argv)
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    for name in ('val_dataloader', 'test_dataloader'):
        if cfg.get(name) is None:
            raise SystemExit(f'{args.config}: found no {name}; val are the images to choose on, test those to score')
    missing = [str(run) for run in args.runs if not run.exists()]
    if missing:
        raise SystemExit(f'{", ".join(missing)}: no such checkpoint or work folder')
    radii = args.radii or [*radii_of(cfg.get('test_evaluator'))]
    score = Scorer(cfg, args.threshold, radii)
    both = sorted(set(score.images('train')) & set(score.images('test')))
    images = dict(train=score.images('train'), test=score.images('test'), both=both)
    result = dict(
        config=args.config,
        cfg_options=args.cfg_options or {},
        threshold=args.threshold,
        radii=radii,
        images=images,
        **evaluate_restarts(args.runs, score),
    )
    out = args.out or Path(cfg.work_dir) / 'nuclei.json'
    write_atomic(json.dumps(result, indent=2).encode(), out)
    print(f'\n{table(result)}\n')
    if both:
        print(f'{len(both)} of {len(images["test"])} test images also served to choose: the figures are too high')
    print(f'written to {out}')
    return result


if __name__ == '__main__':
    main()
