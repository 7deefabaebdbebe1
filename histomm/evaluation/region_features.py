"""Features of regions out of their stored tokens, a file a slide, as bags for slide-level work."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from histomm.engine.hooks.features import pool_features
from histomm.evaluation.encoder import Encoder
from histomm.evaluation.feature_store import FeatureWriter
from histomm.wsi.locks import LockedError, file_lock
from histomm.wsi.token_store import TokenStore


class Bag(NamedTuple):
    """What is to be written for one slide."""

    path: Path
    """Feature file."""
    slide: str
    """Its name."""
    rows: np.ndarray
    """(n,) int64, its regions in the store."""


def bags(store: TokenStore, out: Path) -> list[Bag]:
    """A feature file below ``out`` for each slide of a store, named as the slide without its suffix.

    Raises:
        ValueError: two slides would share a file.
    """
    files = [out / f'{Path(name).with_suffix("")}.h5' for name in store.slides]
    if len(set(files)) < len(files):
        raise ValueError(f'{store.root}: slides that differ in their suffix alone would share a file; rename some')
    starts = np.searchsorted(store.region_slides, np.arange(len(files) + 1))
    rows = [np.arange(start, end) for start, end in pairwise(starts)]
    return [Bag(*parts) for parts in zip(files, store.slides, rows, strict=True)]


class RegionEmbedder:
    """Vectors of whole regions: the class token of a network whose input are all tokens of a region.

    Args:
        encoder: Holds the network and says what it is.
        store: The tokens.
        batch_size: Regions at a time.
        device: Of the network.
        dtype: Precision of autocast; ``None`` for float32.
    """

    def __init__(
        self,
        encoder: Encoder,
        store: TokenStore,
        batch_size: int = 64,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.store, self.batch_size, self.dtype = store, batch_size, dtype
        self.device = device or torch.device('cpu')
        self.network: nn.Module = encoder.network.to(self.device)
        self.settings = {name: encoder.settings.get(name) for name in ('model', 'weights', 'architecture')} | {
            'preprocessing': {'tokens': store.digest},
            'feature': 'region',
            'precision': str(dtype or torch.float32).removeprefix('torch.'),
        }

    @torch.inference_mode()
    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Vectors (n, C) float32 of regions of the store."""
        parts = []
        for start in range(0, len(rows), self.batch_size):
            tokens = torch.from_numpy(self.store.read(rows[start : start + self.batch_size])).to(self.device).float()
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                parts.append(pool_features(self.network(tokens)).cpu())
        return torch.cat(parts).numpy()

    def coords(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) int64, upper left corners of the regions in level-0 pixels."""
        return self.store.coords[rows]


class PatchTokens:
    """The tokens themselves as vectors of patches, region after region, row by row.

    Args:
        store: The tokens.
    """

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.settings = {
            'weights': store.settings.get('encoder'),
            'preprocessing': {'tokens': store.digest},
            'feature': 'patch',
        }

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Vectors (n·H·W, D) float32 of the patches of regions of the store."""
        tokens = self.store.read(rows).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(tokens.reshape(-1, self.store.dim), np.float32)

    def coords(self, rows: np.ndarray) -> np.ndarray:
        """(n·H·W, 2) int64, upper left corners of the patches in level-0 pixels, rounded down."""
        height, width = self.store.grid
        y, x = np.mgrid[0:height, 0:width]
        steps = np.stack([x.ravel() / width, y.ravel() / height], axis=1)
        corners = self.store.coords[rows][:, None] + steps * self.store.spans[rows][:, None]
        return np.floor(corners.reshape(-1, 2) + 1e-6).astype(np.int64)


def write_bag(bag: Bag, features: RegionEmbedder | PatchTokens, provenance: dict | None = None) -> tuple[int, bool]:
    """Write the feature file of a slide unless it is there; how many rows it has, and whether they are new.

    Raises:
        ValueError: the file is there, of other features.
    """
    coords = features.coords(bag.rows)
    data = {'data': 'regions', 'number': len(coords), 'names': hashlib.sha256(coords.tobytes()).hexdigest()}
    writer = FeatureWriter(bag.path, {**features.settings, **data}, len(coords), max(1, len(coords)))
    missing = writer.missing()
    for start, _ in missing:
        writer.write(start, features(bag.rows))
    writer.finish([bag.slide] * len(coords), coords, provenance=provenance)
    return len(coords), bool(missing)


def write_bags(
    todo: list[Bag], features: RegionEmbedder | PatchTokens, provenance: dict | None = None
) -> Iterator[tuple[Bag, int, bool, str]]:
    """Write the feature files of many slides; each with its rows, whether they are new, and why it was left out."""
    for bag in todo:
        bag.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(bag.path.with_name(f'.{bag.path.name}.lock')):
                yield bag, *write_bag(bag, features, provenance), ''
        except LockedError as error:
            yield bag, 0, False, str(error)
