"""Segment nuclei by one threshold of intensity, the baseline that any network has to beat:

python tools/analysis/threshold_baseline.py configs/patch_contrast/confnet_mse_monuseg.py

Of 100 thresholds from 0 to 1 takes the one whose mask, all that is darker, has the highest mean Dice on the training
images (val_dataloader), and scores it on the test images (test_dataloader). An image in both is refused.

Writes all scores as JSON. dice_raw is that of the mask as it is, as published; dice, aji and pq are after the same
morphology and watershed as those of tools/eval_nuclei.py.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import DictAction

from histomm.atomic_file import write_atomic
from histomm.datasets import NucleiDataset
from histomm.engine.launch import load_config
from histomm.evaluation.confidence_scores import instance_terms
from histomm.evaluation.intensity_threshold import fit_threshold, luminance
from histomm.evaluation.nuclei_post import clean_mask, dice
from histomm.evaluation.overlap_scores import overlap_scores
from histomm.registry import DATASETS


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, .py or .yaml, with val_dataloader and test_dataloader of nuclei')
    parser.add_argument('--out', type=Path, help='JSON file; default work_dirs/<name of the config>/threshold.json')
    parser.add_argument('--rescale', type=float, default=0.05, help='ε of the models: x becomes (1 − ε)·x + ε')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    return parser.parse_args(argv)


def paths(dataset: NucleiDataset) -> list[str]:
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


def pictures(dataset: NucleiDataset, rescale: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Grey levels and instances of each image."""
    for index in range(len(dataset)):
        sample = dataset[index]
        (image,) = sample['inputs']
        yield luminance(image.permute(1, 2, 0).numpy(), rescale), sample['data_samples'].gt_instance_map.numpy()


def score(dataset: NucleiDataset, threshold: float, rescale: float) -> dict[str, float]:
    """Means over the test images."""
    raw, clean, terms = [], [], []
    for grey, instances in pictures(dataset, rescale):
        mask = grey < threshold
        raw.append(dice(mask, instances))
        clean.append(dice(clean_mask(mask), instances))
        terms.append(instance_terms(mask.astype(np.float32), instances)[0])
    overlap = overlap_scores(terms)
    return dict(dice=float(np.mean(clean)), dice_raw=float(np.mean(raw)), aji=overlap.aji, pq=overlap.pq)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parse_args(argv)
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    datasets = {}
    for name, key in (('train', 'val_dataloader'), ('test', 'test_dataloader')):
        if cfg.get(key) is None:
            raise SystemExit(f'{args.config}: found no {key}; val are the images to fit on, test those to score')
        datasets[name] = DATASETS.build(cfg[key].dataset)
    images = {name: paths(dataset) for name, dataset in datasets.items()}
    both = sorted(set(images['train']) & set(images['test']))
    if both:
        raise SystemExit(
            f'{len(both)} images such as {both[0]} are for training and test alike, expected none; set '
            'val_dataloader.dataset.list_file or test_dataloader.dataset.list_file by --cfg-options'
        )
    fitted = fit_threshold(pictures(datasets['train'], args.rescale))
    result = dict(
        config=args.config,
        rescale=args.rescale,
        images=images,
        threshold=fitted.threshold,
        train_dice=fitted.train_dice,
        train_curve=fitted.curve.tolist(),
        test=score(datasets['test'], fitted.threshold, args.rescale),
    )
    out = args.out or Path(cfg.work_dir) / 'threshold.json'
    write_atomic(json.dumps(result, indent=2).encode(), out)
    scores = ', '.join(f'{name} {value:.4f}' for name, value in result['test'].items())
    print(f'threshold {fitted.threshold:.4f}: Dice on {len(images["train"])} training images {fitted.train_dice:.4f}')
    print(f'{len(images["test"])} test images: {scores}')
    print(f'written to {out}')
    return result


if __name__ == '__main__':
    main()
