"""MPCS beside plain SimCLR of the same budget and a random start, on drawn BreakHis with folds of patients.

    python tools/benchmarks/magnification_pairs.py
    python tools/benchmarks/magnification_pairs.py --data data/BreaKHis_v1 --steps 2000 --size 128 --channels 64

Network with its projector, grey levels from 0 to 1, optimiser, number of steps and samples of a step are the same;
pairs, augmentation and temperature are those of configs/mpcs/mpcs_r50_breakhis_ordered.py and
configs/simclr/simclr_r18_patches.py. Seed k pre-trains on train_60 of fold k; a linear probe on the pooled features
learns its labels, is chosen on val_20 by its macro-F1 and tested on test_20. Most pictures are of one class, so that
accuracy says less than the AUC.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from _timing import ROOT, add_output_options, command, publish, spread, table
from mmengine.config import Config
from torch import nn

from histomm.datasets.breakhis import CLASSES, MAGNIFICATIONS, BreakHisName, find_breakhis
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms.affine import ResizeWhole
from histomm.datasets.transforms.loading import read_image
from histomm.engine.launch import build_runner, load_config
from histomm.engine.provenance import commit
from histomm.evaluation.classification import macro_auc
from histomm.evaluation.patient_folds import draw_folds, fold_lists
from histomm.evaluation.patient_scores import image_level_accuracy, patient_level_accuracy
from histomm.evaluation.probes import Rows, linear_probe

METHODS = {
    'random start': '',
    'SimCLR': 'simclr/simclr_r18_patches.py',
    'MPCS, ordered pairs': 'mpcs/mpcs_r50_breakhis_ordered.py',
}
SCORES = ('ILA', 'PLA', 'AUC')
SIZE_OF_VIEWS = {
    'SimCLR': 'train_dataloader.dataset.pipeline.1.views.0.pipeline.0.size',
    'MPCS, ordered pairs': 'train_dataloader.dataset.pipeline.1.pipeline.5.size',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='BreakHis, or what is named as there (default: drawn)')
    parser.add_argument('--places', type=int, default=164, help='drawn, each at four magnifications (default 164)')
    parser.add_argument('--seeds', type=int, default=3, choices=range(1, 6), help='folds (default 3)')
    parser.add_argument('--steps', type=int, default=100, help='of a pre-training (default 100)')
    parser.add_argument('--batch', type=int, default=48, help='samples of a step (default 48)')
    parser.add_argument('--height', type=int, default=192, help='of drawn pictures (default 192)')
    parser.add_argument('--size', type=int, default=64, help='side of views and pictures (default 64)')
    parser.add_argument('--channels', type=int, default=16, help='of the ResNet-18 after its stem (default 16)')
    parser.add_argument('--lr', type=float, default=1e-3, help='of Adam (default 1e-3)')
    add_output_options(parser)
    return parser.parse_args(argv)


def small_config(method: str, data: Path, listed: Path, seed: int, work: Path, args: argparse.Namespace) -> Config:
    """The method's config with the common network, grey levels, optimiser and number of steps."""
    features = 8 * args.channels
    options = {
        'randomness.seed': seed,
        'train_dataloader.dataset.data_root': str(data),
        'train_dataloader.dataset.list_file': str(listed),
        'train_dataloader.batch_size': args.batch,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.drop_last': True,
        'train_dataloader.pin_memory': False,
        SIZE_OF_VIEWS[method]: args.size,
        'model.backbone.depth': 18,
        'model.backbone.init_cfg': None,
        'model.backbone.stem_channels': args.channels,
        'model.backbone.base_channels': args.channels,
        # as the features are tested
        'model.data_preprocessor.mean': (0, 0, 0),
        'model.data_preprocessor.std': (255, 255, 255),
        'log_level': 'ERROR',
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_last': False,
    }
    cfg = load_config(str(ROOT / 'configs' / METHODS[method]), str(work), options, 'none')
    cfg.model.neck = dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=features,
        hid_channels=features,
        out_channels=128,
        with_last_bn_affine=False,
        norm_cfg=dict(type='SyncBN'),
    )
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=args.lr))
    cfg.param_scheduler = []
    cfg.train_cfg = dict(by_epoch=False, max_iters=args.steps)
    return cfg


def pretrained(method: str, data: Path, listed: Path, seed: int, work: Path, args: argparse.Namespace) -> nn.Module:
    """Backbone of a method; without a config of its own, that of MPCS before its first step."""
    trained = method if METHODS[method] else 'MPCS, ordered pairs'
    runner = build_runner(small_config(trained, data, listed, seed, work, args))
    if METHODS[method]:
        runner.train()
    else:
        runner.model.init_weights()
    runner.model.eval()
    return runner.model.backbone.cpu()


def features_of(backbone: nn.Module, data: Path, paths: list[str], side: int) -> np.ndarray:
    """Pooled features (n, D) of pictures squeezed to a square, grey levels from 0 to 1."""
    squeeze, found = ResizeWhole(side), []
    with torch.inference_mode():
        for start in range(0, len(paths), 64):
            pictures = [squeeze(dict(img=read_image(str(data / path))))['img'] for path in paths[start : start + 64]]
            batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            found.append(backbone(batch)[-1].mean(dim=(2, 3)).numpy())
    return np.concatenate(found)


def scores(
    backbone: nn.Module, data: Path, images: dict[str, BreakHisName], parts: list[list[str]], side: int
) -> tuple[float, float, float]:
    """ILA and PLA of a linear probe as means over magnifications, and the AUC of all test images; from 0 to 1.

    Args:
        backbone: In evaluation mode.
        data: What the paths are relative to.
        images: Path to what its name says.
        parts: Paths of training, validation and test.
        side: Of the pictures.
    """
    features = [features_of(backbone, data, paths, side) for paths in parts]
    labels = [np.array([CLASSES.index(images[path].label) for path in paths]) for paths in parts]
    train, val = (Rows(*both) for both in zip(features[:2], labels[:2], strict=True))
    values = linear_probe(train, val, features[2], len(CLASSES)).values
    correct = values.argmax(axis=1) == labels[2]
    names = [images[path] for path in parts[2]]
    found = []
    for number in MAGNIFICATIONS:
        at = np.array([name.magnification == number for name in names])
        patients = [name.patient for name, here in zip(names, at, strict=True) if here]
        found.append((image_level_accuracy(correct[at]), patient_level_accuracy(correct[at], patients)))
    ila, pla = np.mean(found, axis=0)
    return float(ila), float(pla), macro_auc(labels[2], values)


def compare(data: Path, folder: Path, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """(seeds, 3) ILA, PLA and AUC of each method."""
    images = find_breakhis(data)
    lists = fold_lists(images, draw_folds({name.folder for name in images.values()}), 'the draw')
    found: dict[str, list] = {method: [] for method in METHODS}
    for seed in range(args.seeds):
        parts = [lists[f'fold{seed}/{part}'] for part in ('train_60', 'val_20', 'test_20')]
        listed = folder / f'fold{seed}.txt'
        listed.write_text('\n'.join(parts[0]))
        for method, both in found.items():
            work = folder / f'{method.split()[0]}{seed}'
            backbone = pretrained(method, data, listed, seed, work, args)
            both.append(scores(backbone, data, images, parts, args.size))
            told = ', '.join(f'{name} {value:.3f}' for name, value in zip(SCORES, both[-1], strict=True))
            print(f'fold {seed}, {method}: {told}', flush=True)
    return {method: np.array(both) for method, both in found.items()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder, 'drawn')
        if not args.data:
            write_layout('breakhis-82', data, args.places, (args.height * 3 // 2, args.height))
        found = compare(data, Path(folder), args)
    lines, results = [], {}
    for method, both in found.items():
        mean, deviation = 100 * both.mean(axis=0), 100 * both.std(axis=0, ddof=min(1, len(both) - 1))
        results |= {
            f'{method} {name}, %': spread((100 * values).tolist()) for name, values in zip(SCORES, both.T, strict=True)
        }
        lines.append([method, *(f'{m:.1f} ± {d:.1f}' for m, d in zip(mean, deviation, strict=True))])
    head = ['', *(f'{name} (%)' for name in SCORES)]
    told = f'- Command: `{command()}`\n- Commit: {commit(ROOT)}\n- Mean ± standard deviation of {args.seeds} folds'
    publish(f'{table(head, lines)}\n\n{told}', args, results)


if __name__ == '__main__':
    main()
