"""Pre-train four methods with equal budgets on a folder of real tissue, carry each to GlaS, and print the table.

The folder is scanned for images of at least ``--tile`` pixels; masks, annotations and the GlaS test images are left
out. They are cut into tiles, each method is pre-trained on the tiles, and Mask R-CNN is fine-tuned on the 85 GlaS
training images from each backbone and from scratch, and evaluated on test B. Each stage that has finished is skipped
when the command is given again. Without options each stage runs as the configs have it, which wants a GPU.

    python tools/benchmarks/real_tissue.py --data-root DIR --glas DIR/glas/Warwick_QU_Dataset --seeds 0 1 2
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import cv2
from mmengine.config import Config

from histomm.datasets import PatchDataset
from histomm.datasets.transforms.loading import read_image

REPO = Path(__file__).resolve().parents[2]
METHODS = {
    'MoCo-v2': 'configs/mocov2/mocov2_r18_nct.py',
    'DenseCL': 'configs/densecl/moco_densecl_r18_nct.py',
    'VICRegL^m': 'configs/vicregl/moco_vicregl_r18_nct.py',
    'PLM': 'configs/plm/moco_plm_r18_nct.py',
}
# What is no tissue image, or must not be seen before the evaluation.
EXCLUDE = ('*_anno.*', '*mask*', '*testA_*', '*testB_*', '*/original_bmp_sample/*')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', type=Path, required=True, help='folder of images to pre-train on')
    parser.add_argument('--glas', type=Path, required=True, help='Warwick-QU folder')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/real_tissue'))
    parser.add_argument('--tile', type=int, default=224, help='side of the tiles, pixels')
    parser.add_argument('--glas-config', type=Path, default=REPO / 'configs/glas/mask-rcnn_r18_fpn_glas.py')
    parser.add_argument(
        '--pretrain-options', nargs='+', default=[], help='cfg-options of all pre-trainings, beside the shipped configs'
    )
    parser.add_argument('--finetune-options', nargs='+', default=[], help='cfg-options of all fine-tunings')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the fine-tuning')
    return parser.parse_args(argv)


def run(script: str, *arguments: object) -> None:
    """Run one of the repository's tools, shown before it runs."""
    command = [sys.executable, str(REPO / script), *map(str, arguments)]
    print('$ python', script, *command[2:], flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def cut_tiles(data_root: Path, out: Path, side: int) -> int:
    """Write non-overlapping tiles of every image below ``data_root``; the number of tiles."""
    dataset = PatchDataset(data_root=str(data_root), exclude=EXCLUDE)
    for path in (Path(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))):
        image = read_image(str(path))
        inside = path.relative_to(data_root).with_suffix('')
        folder = out / inside.parts[0]
        folder.mkdir(parents=True, exist_ok=True)
        for y in range(0, image.shape[0] - side + 1, side):
            for x in range(0, image.shape[1] - side + 1, side):
                tile = cv2.cvtColor(image[y : y + side, x : x + side], cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(folder / f'{"_".join(inside.parts[1:])}_{x}_{y}.png'), tile)
    return sum(1 for _ in out.rglob('*.png'))


def pretrain(args: argparse.Namespace, config: str, work_dir: Path) -> Path:
    """Pre-train with one method; the extracted backbone."""
    backbone = work_dir / 'backbone_openmmlab.pth'
    if backbone.is_file():
        return backbone
    run(
        'tools/train.py', REPO / config, '--work-dir', work_dir, '--resume', '--cfg-options',
        f'train_dataloader.dataset.data_root={args.work_dir / "tiles"}',
        'default_hooks.knn=None',
        *args.pretrain_options,
    )  # fmt: skip
    run('tools/model_converters/extract_backbone.py', work_dir, '--out', work_dir, '--formats', 'openmmlab')
    return backbone


def finetune(args: argparse.Namespace, backbone: Path | None, seed: int, work_dir: Path) -> dict[str, float]:
    """Fine-tune Mask R-CNN from a backbone or from scratch; AP of boxes and masks on test B, in percent."""
    found = finished_ap(work_dir)
    if found is None:
        weights = []
        if backbone:
            weights = [
                'model.backbone.init_cfg.type=histomm.VerifiedPretrained',
                f'model.backbone.init_cfg.checkpoint={backbone}',
            ]
        glas = args.work_dir / 'glas'
        run(
            'tools/train.py', args.glas_config, '--work-dir', work_dir, '--cfg-options', *weights,
            f'randomness.seed={seed}',
            f'train_dataloader.dataset.data_root={glas}/',
            f'val_dataloader.dataset.data_root={glas}/',
            'val_dataloader.dataset.ann_file=annotations/testB.json',
            f'val_evaluator.0.ann_file={glas}/annotations/testB.json',
            *args.finetune_options,
        )  # fmt: skip
        found = finished_ap(work_dir)
    return found


def finished_ap(work_dir: Path) -> dict[str, float] | None:
    """AP in percent after the last iteration; None for a run that did not get there, whatever it measured before."""
    scalars = max(work_dir.glob('*/vis_data/scalars.json'), default=None)
    pointer = work_dir / 'last_checkpoint'
    if scalars is None or not pointer.is_file():
        return None
    iterations = Config.fromfile(scalars.with_name('config.py')).train_cfg.max_iters
    row = json.loads(scalars.read_text().splitlines()[-1])
    if Path(pointer.read_text().strip()).name != f'iter_{iterations}.pth' or 'coco/bbox_mAP' not in row:
        return None
    return {name: 100 * row[f'coco/{name}_mAP'] for name in ('bbox', 'segm')}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.work_dir = args.work_dir.resolve()
    tiles = args.work_dir / 'tiles'
    if not (args.work_dir / 'tiles.done').is_file():
        args.work_dir.mkdir(parents=True, exist_ok=True)
        count = cut_tiles(args.data_root.resolve(), tiles, args.tile)
        (args.work_dir / 'tiles.done').write_text(str(count))
    if not (args.work_dir / 'glas').exists():
        (args.work_dir / 'glas').mkdir()
        for source in args.glas.resolve().iterdir():
            (args.work_dir / 'glas' / source.name).symlink_to(source)
        run('tools/dataset_converters/glas.py', args.work_dir / 'glas')
    print(f'{(args.work_dir / "tiles.done").read_text()} tiles')

    backbones: dict[str, Path | None] = {'scratch': None}
    for name, config in METHODS.items():
        backbones[name] = pretrain(args, config, args.work_dir / Path(config).stem)
    rows = []
    for name, backbone in backbones.items():
        folder = args.work_dir / f'glas_{backbone.parent.name if backbone else "scratch"}'
        found = [finetune(args, backbone, seed, folder / f'seed{seed}') for seed in args.seeds]
        rows.append((name, *([row[kind] for row in found] for kind in ('bbox', 'segm'))))
    print('\n| backbone | AP_det | AP_seg |\n|---|---|---|')
    for name, det, seg in rows:
        print(f'| {name} | {_spread(det)} | {_spread(seg)} |')


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


if __name__ == '__main__':
    main()
