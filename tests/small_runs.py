"""Shipped configs on drawn data, cut down to what a test can afford. The configs themselves stay as they are."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import draw_patch, write_layout
from histomm.engine.launch import load_config

REPO = Path(__file__).resolve().parents[1]


def shipped_configs() -> list[str]:
    """Paths of all configs that can be trained, relative to ``configs``."""
    root = REPO / 'configs'
    return sorted(str(path.relative_to(root)) for path in root.rglob('*.py') if '_base_' not in path.parts)


def draw_patches(root: Path, num: int = 9, size: int = 64) -> Path:
    """Drawn patches in the layout of NCT-CRC-HE-100K, with a list file of all of them."""
    out = root / 'patches'
    paths = write_layout('nct', out, num, size, seed=0)
    names = [Path(path).resolve().relative_to(out.resolve()).as_posix() for path in paths]
    (out / 'train_80k.txt').write_text(''.join(f'{name}\n' for name in names))
    # Labels that are classes of every classifier, and values of every regressor.
    (out / 'labels.csv').write_text('path,label\n' + ''.join(f'{name},{i % 2}\n' for i, name in enumerate(names)))
    return out


def draw_coco(root: Path, layout: str = 'glas') -> Path:
    """Drawn glands in the layout of GlaS or CRAG, with COCO annotations."""
    out = root / layout
    write_layout(layout, out, 6, (160, 128), seed=0)
    assert not load_tool(f'tools/dataset_converters/{layout}.py').main([str(out)])
    return out


def draw_bcss(root: Path) -> Path:
    """Drawn regions of BCSS, cut into patches of 64 pixels."""
    out = root / 'BCSS'
    write_layout('bcss', root / 'BCSS_rois', 9, (200, 130), seed=0)
    arguments = [str(root / 'BCSS_rois'), '--out', str(out), '--patch', '128', '--size', '64']
    assert not load_tool('tools/dataset_converters/bcss.py').main(arguments)
    return out


def draw_monuseg(root: Path) -> Path:
    """Drawn nuclei as the converter of MoNuSeg writes them, with a list of all images, as TNBC has it."""
    out = root / 'MoNuSeg'
    write_layout('monuseg', root / 'MoNuSeg_raw', 6, 64, seed=0)
    arguments = [str(root / 'MoNuSeg_raw'), '--out', str(out)]
    assert not load_tool('tools/dataset_converters/monuseg.py').main(arguments)
    (out / 'all.txt').write_text((out / 'train.txt').read_text() + (out / 'test.txt').read_text())
    return out


def draw_scales(root: Path) -> Path:
    """Drawn tissue at three magnifications, a folder each, with four tiles of 64 pixels."""
    out = root / 'tiles_by_scale'
    for step, scale in ((4, '10x'), (2, '20x'), (1, '40x')):
        (out / scale).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(draw_patch('TUM', 64 * step, index=number)[::step, ::step]).save(
                out / scale / f'{number}.png'
            )
    return out


def draw_magnification_sets(root: Path) -> Path:
    """Eight drawn places at four magnifications, in the layout of BreakHis, with a list of all pictures."""
    out = root / 'BreaKHis_v1'
    write_layout('breakhis', out, 8, (70, 46), seed=0)
    paths = sorted(path.relative_to(out).as_posix() for path in out.rglob('*.png'))
    rows = ''.join(f'{path},{"benign" if "/benign/" in path else "malignant"}\n' for path in paths)
    (out / 'labels.csv').write_text(f'path,label\n{rows}')
    return out


def draw_tiles(root: Path) -> Path:
    """Drawn pictures of DigestPath, cut into tiles of 64 pixels."""
    out = root / 'DigestPath2019'
    write_layout('digestpath2019', root / 'DigestPath_raw', 8, (96, 64), seed=0)
    arguments = [str(root / 'DigestPath_raw'), '--out', str(out), '--side', '64']
    assert not load_tool('tools/dataset_converters/digestpath2019.py').main(arguments)
    return out


def pretraining_options(patches: Path, batch_size: int = 4, epochs: int = 1, samples: int | None = None) -> dict:
    """Settings that make a pre-training config run for seconds."""
    return {
        'train_dataloader.dataset.data_root': str(patches),
        'train_dataloader.dataset.exclude_patients': '',
        'train_dataloader.batch_size': batch_size,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.pin_memory': False,
        'train_dataloader.dataset.indices': samples or batch_size,
        'train_dataloader.dataset.pipeline.1.views.0.pipeline.0.size': 64,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.knn.dataset.data_root': str(patches),
        'default_hooks.knn.dataset.indices': 9,
        'model.queue_len': 64,
    }


def draw_slides(root: Path) -> Path:
    """Two drawn slides, and the table of their tiles of 64 pixels."""
    from histomm.wsi.tile_table import concat_tiles, tiles_of_slide, write_tiles

    out = root / 'drawn_slides'
    paths = write_layout('slides', out, 2, 320, seed=0)
    corners = np.stack(np.meshgrid([0, 64, 128, 192], [0, 64, 128, 192]), axis=-1).reshape(-1, 2)
    tables = [tiles_of_slide(path.name, corners, 64, 0.5, np.ones(len(corners))) for path in paths]
    write_tiles(out / 'tiles.parquet', concat_tiles(tables, {}))
    return out


def slide_options(slides: Path) -> dict:
    """Settings that make a config of tiles of slides run for seconds."""
    return pretraining_options(slides / 'slides') | {
        'train_dataloader.dataset.tiles': str(slides / 'tiles.parquet'),
    }


def magnification_options(sets: Path, batch_size: int = 4, epochs: int = 1) -> dict:
    """Settings that make a config of sets over magnifications run for seconds."""
    return pretraining_options(sets, batch_size, epochs) | {
        # the weights and momenta of a ResNet-50 take longer to write than the step
        'default_hooks.checkpoint.interval': 10,
        'default_hooks.checkpoint.save_last': False,
    }


def fold_options(sets: Path, epochs: int = 1) -> dict:
    """Settings that make a classifier of patients at several magnifications run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(sets),
            f'{name}_dataloader.dataset.list_file': 'labels.csv',
            f'{name}_dataloader.dataset.pipeline.1.size': 72,
            f'{name}_dataloader.dataset.pipeline.2.{"size" if name == "train" else "crop_size"}': 64,
            f'{name}_dataloader.batch_size': 4,
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options | {
        'train_dataloader.dataset.indices': 4,
        'val_dataloader.dataset.indices': 4,
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 10,
    }


def slide_magnification_options(slides: Path) -> dict:
    """Settings that make a config of magnifications of slides run for seconds."""
    return magnification_options(slides / 'slides', batch_size=2) | {
        'train_dataloader.dataset.tiles': str(slides / 'tiles.parquet'),
        'train_dataloader.dataset.magnifications': [10, 20],
        'train_dataloader.dataset.size': 32,
        'train_dataloader.dataset.pipeline.1.pipeline.5.size': 32,
    }


def vote_options(images: Path, epochs: int = 1) -> dict:
    """Settings that make a config of patches that vote run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(images),
            f'{name}_dataloader.dataset.list_file': 'labels.csv',
            f'{name}_dataloader.dataset.patch': 32,
            f'{name}_dataloader.dataset.pipeline.1.size': 32,
            f'{name}_dataloader.batch_size': 4,
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options | {
        'train_dataloader.dataset.indices': 4,
        'val_dataloader.dataset.indices': 8,
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'test_evaluator.0.bootstrap': 20,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        # a ResNet-50 takes longer to write than to train for a step
        'default_hooks.checkpoint.interval': 10,
        'default_hooks.checkpoint.save_last': False,
        'default_hooks.checkpoint.save_best': None,
    }


def patch_contrast_options(patches: Path, epochs: int = 1) -> dict:
    """Settings that make a config of patch contrast run for seconds."""
    return {
        'train_dataloader.dataset.data_root': str(patches),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.pin_memory': False,
        'train_dataloader.dataset.indices': 4,
        'train_dataloader.dataset.pipeline.1.size': 48,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'model.patch_size': 16,
        'model.patch_stride': 8,
    }


def nuclei_options(nuclei: Path, epochs: int = 1) -> dict:
    """Settings that make a config of patch contrast that validates on nuclei run for seconds."""
    options = patch_contrast_options(nuclei, epochs)
    for name in ('val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(nuclei),
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options


def classification_options(patches: Path, epochs: int = 1) -> dict:
    """Settings that make a config of labelled patches run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(patches),
            f'{name}_dataloader.dataset.list_file': 'labels.csv',
            f'{name}_dataloader.dataset.pipeline.1.scale': 64,
            f'{name}_dataloader.dataset.pipeline.2.crop_size': 64,
            f'{name}_dataloader.batch_size': 4,
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options | {
        'train_dataloader.dataset.indices': 4,
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'test_evaluator.bootstrap': 20,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
    }


def bag_options(bags: Path, epochs: int = 1) -> dict:
    """Settings that make a config of bags run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(bags),
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options | {
        'train_cfg.max_epochs': epochs,
        'test_evaluator.bootstrap': 20,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 10,
        'default_hooks.checkpoint.save_last': False,
    }


def supervised_options(nuclei: Path, epochs: int = 1) -> dict:
    """Settings that make a config trained with masks of nuclei run for seconds."""
    options = nuclei_options(nuclei, epochs)
    del options['train_dataloader.dataset.pipeline.1.size']
    return options | {'train_dataloader.dataset.pipeline.2.size': 48}


def scale_options(tiles: Path, nuclei: Path, epochs: int = 1) -> dict:
    """Settings that make a config trained with tiles by scale run for seconds."""
    return nuclei_options(nuclei, epochs) | {
        'train_dataloader.dataset.data_root': str(tiles),
        'train_dataloader.batch_size': 6,
        'train_dataloader.dataset.indices': 12,
        'train_cfg.val_interval': 1,
        'model.backbone.channels': 8,
        'model.classifier.depth': 18,
    }


def detection_options(glas: Path, iters: int = 1) -> dict:
    """Settings that make a detection config run for seconds."""
    return {
        'train_dataloader.dataset.data_root': f'{glas}/',
        'val_dataloader.dataset.data_root': f'{glas}/',
        'test_dataloader.dataset.data_root': f'{glas}/',
        'val_evaluator.0.ann_file': f'{glas}/annotations/test.json',
        'test_evaluator.0.ann_file': f'{glas}/annotations/test.json',
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False,
        'train_dataloader.dataset.pipeline.2.transforms.0.scale': [(400, 96), (400, 128)],
        'val_dataloader.dataset.pipeline.1.scale': (400, 96),
        'train_cfg.max_iters': iters,
        'train_cfg.val_interval': iters,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': iters,
        'default_hooks.precise_bn.interval': iters,
        'default_hooks.precise_bn.num_iters': 1,
        'model.train_cfg.rpn_proposal.nms_pre': 50,
        'model.train_cfg.rpn_proposal.max_per_img': 20,
        'model.train_cfg.rcnn.sampler.num': 16,
        'model.test_cfg.rpn.nms_pre': 50,
        'model.test_cfg.rpn.max_per_img': 20,
    }


def segmentation_options(bcss: Path, epochs: int = 1) -> dict:
    """Settings that make a semantic segmentation config run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(bcss),
            f'{name}_dataloader.dataset.indices': 4,
            f'{name}_dataloader.batch_size': 2,
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
            f'{name}_dataloader.dataset.pipeline.{2 if name == "train" else 1}.scale': 64,
        }
    return options | {
        'train_dataloader.pin_memory': False,
        'train_dataloader.dataset.pipeline.3.size': 64,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
    }


def tile_options(tiles: Path, epochs: int = 1) -> dict:
    """Settings that make a config of semantic segmentation of whole tiles run for seconds."""
    options = {}
    for name in ('train', 'val', 'test'):
        options |= {
            f'{name}_dataloader.dataset.data_root': str(tiles),
            f'{name}_dataloader.dataset.indices': 2,
            f'{name}_dataloader.batch_size': 2,
            f'{name}_dataloader.num_workers': 0,
            f'{name}_dataloader.persistent_workers': False,
        }
    return options | {
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
    }


def small_config(path: str | Path, work_dir: Path, options: dict) -> Config:
    """A config with those of ``options`` that it has the fields for."""
    return load_config(str(path), str(work_dir), fitting(Config.fromfile(str(path)), options), 'none')


SOME_METHODS = {
    'train_dataloader.dataset.pipeline.1.pipeline.5.size': 64,
    'train_dataloader.dataset.pipeline.1.views.1.pipeline.0.size': 64,
    'train_dataloader.dataset.pipeline.1.views.2.pipeline.0.size': 48,
    'train_dataloader.dataset.pipeline.1.views.3.pipeline.0.size': 48,
    'model.start_epoch': 0,
    'model.dense.queue_len': 64,
}
"""What makes those configs small, too, that name these fields themselves."""


NARROW = {
    'histomm.DINO': {'model.neck.hid_channels': 32, 'model.neck.out_channels': 64},
    'histomm.SLPD': {'model.neck.hid_channels': 32, 'model.neck.out_channels': 64},
    'histomm.VICReg': {'model.neck.hid_channels': 32, 'model.neck.out_channels': 32},
    'mmpretrain.LatentPredictHead': {
        'model.neck.hid_channels': 32,
        'model.neck.out_channels': 32,
        'model.head.predictor.in_channels': 32,
        'model.head.predictor.hid_channels': 32,
        'model.head.predictor.out_channels': 32,
    },
    'histomm.CrossCorrelationHead': {
        'model.neck.hid_channels': 32,
        'model.neck.out_channels': 32,
        'model.head.in_channels': 32,
    },
}
"""What makes the wide projectors of these models, or of those with these heads, narrow."""


def fitting(cfg: Config, options: dict) -> dict:
    """Those of ``options`` that the config has the fields for, and of ``SOME_METHODS`` those that it names."""
    found = {name: value for name, value in options.items() if has_field(cfg, name, itself=name.startswith('model.'))}
    narrow = NARROW.get(cfg.model.get('head', {}).get('type', cfg.model.type), {})
    return found | {name: value for name, value in SOME_METHODS.items() if has_field(cfg, name, itself=True)} | narrow


def has_field(cfg: Config, dotted: str, itself: bool = False) -> bool:
    """Whether the config has what the option sets, or, for a name that is new, what holds it, if not ``itself``."""
    node, parts = cfg, dotted.split('.')
    for part in parts if itself else parts[:-1]:
        if isinstance(node, (list, tuple)):
            node = node[int(part)] if int(part) < len(node) else None
        else:
            node = node.get(part)
        if node is None:
            return False
    return True


def command_options(options: dict) -> list[str]:
    """The options as ``tools/train.py --cfg-options`` takes them."""
    return [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
