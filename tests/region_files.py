"""Stores of tokens of regions, small enough for tests, and the settings that go with them."""

from pathlib import Path

import numpy as np

from histomm.wsi.token_store import TokenStoreWriter


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
    return {
        'train_dataloader.dataset.data_root': str(store),
        'train_dataloader.dataset.dim': dim,
        'train_dataloader.dataset.pipeline.0.views.0.pipeline.0.size': large,
        'train_dataloader.dataset.pipeline.0.views.1.pipeline.0.size': 2,
        'train_dataloader.dataset.pipeline.0.views.1.num': 2,
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.pin_memory': False,
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'default_hooks.features.interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.prototypes.warm_epoch': -1,
        'default_hooks.prototypes.min_regions': 1,
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
