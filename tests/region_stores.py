"""Stores of drawn tokens of regions, and what makes configs that train on them small."""

from pathlib import Path

import numpy as np

from histomm.wsi.token_store import TokenStoreWriter

KINDS = 4
"""Kinds of tissue in drawn tokens."""


FEW_STEPS = {'train_dataloader.dataset.indices': 8, 'train_dataloader.dataset.pipeline.0.views.1.num': 2}
"""Two steps on two slides with two small crops, where a config only has to run."""


def draw_tokens(
    root: Path, dim: int = 384, slides: int = 4, regions: int = 4, grid: int = 16, dtype: str = 'float16', seed: int = 0
) -> Path:
    """A store of slides whose tokens are noise around the centre of a kind of tissue.

    The regions of a slide are of one kind each; in even slides two kinds are common, in odd ones the other two.
    ``slides.csv`` beside the index has slide, patient and label, 'A' or 'B'.
    """
    out = root / f'tokens_{dim}'
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(KINDS, dim))
    writer = TokenStoreWriter(out, dim, (grid, grid), dtype, dict(encoder='drawn', region=16 * grid, patch=16, mpp=0.5))
    rows = ['slide,patient,label']
    for number in range(slides):
        common = rng.random(regions) < 0.75
        kinds = rng.integers(0, 2, regions) + 2 * (common == (number % 2 == 1))
        tokens = centres[kinds][:, None] + 0.5 * rng.normal(size=(regions, grid**2, dim))
        coords = np.stack([np.arange(regions) * 16 * grid, np.full(regions, number)], axis=1)
        writer.write(f'slide_{number}.tif', coords, tokens, (16 * grid, 16 * grid))
        rows.append(f'slide_{number}.tif,patient_{number},{"AB"[number % 2]}')
    writer.finish()
    (out / 'slides.csv').write_text('\n'.join([*rows, '']))
    return out


def token_options(store: Path, batch_size: int = 4, epochs: int = 1) -> dict:
    """Settings that make a config of tokens of regions run for seconds."""
    return {
        'train_dataloader.dataset.data_root': str(store),
        'train_dataloader.batch_size': batch_size,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.prototypes.warm_epoch': -1,
        'default_hooks.prototypes.min_regions': 1,
        'model.neck.hid_channels': 32,
        'model.neck.out_channels': 64,
    }


def write_regions(
    root: Path, sizes: dict[str, int], dim: int = 8, grid: int = 5, kinds: int = 3, seed: int = 0
) -> Path:
    """A store with so many regions of each slide; a region is of one of some kinds, which its tokens show."""
    writer = TokenStoreWriter(root, dim, (grid, grid), 'float32')
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(kinds, dim))
    for slide, size in sizes.items():
        kind = rng.integers(kinds, size=size)
        tokens = means[kind][:, None] + 0.3 * rng.normal(size=(size, grid * grid, dim))
        corners = np.stack([np.arange(size), np.zeros(size)], axis=1).astype(int)
        writer.write(slide, corners, tokens, (4096, 4096))
    writer.finish()
    return root


def region_options(store: Path, dim: int = 8, large: int = 4, epochs: int = 1) -> dict:
    """Settings that make a config of tokens of regions run for a second: a network of two blocks on 12 numbers."""
    return token_options(store, epochs=epochs) | {
        'train_dataloader.dataset.dim': dim,
        'train_dataloader.dataset.pipeline.0.views.0.pipeline.0.size': large,
        'train_dataloader.dataset.pipeline.0.views.1.pipeline.0.size': 2,
        'train_dataloader.dataset.pipeline.0.views.1.num': 2,
        'default_hooks.prototypes.crop_size': large,
        'default_hooks.prototypes.batch_size': 5,
        'model.backbone.in_channels': dim,
        'model.backbone.grid_size': large,
        'model.backbone.arch.embed_dims': 12,
        'model.backbone.arch.num_layers': 2,
        'model.backbone.arch.num_heads': 2,
        'model.backbone.arch.feedforward_channels': 24,
        'model.neck.in_channels': 12,
        'model.neck.bottleneck_channels': 16,
    }
