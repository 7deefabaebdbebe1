"""Tokens of regions of slides: each region cut into patches, each patch through an encoder.

L patches of p×p pixels make a region of √L·p pixels; D numbers a patch.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from histomm.evaluation.encoder import Encoder
from histomm.evaluation.extraction import one_thread
from histomm.models.weights import read_checkpoint
from histomm.wsi.locks import LockedError, file_lock
from histomm.wsi.reader import SlideCache, mpp_of
from histomm.wsi.tile_table import TileTable
from histomm.wsi.token_store import TokenStoreWriter

NETWORKS = {'teacher': 'teacher.module.backbone', 'student': 'backbone'}
"""Where a checkpoint of DINO has its two encoders."""


class SlideTokens(NamedTuple):
    """What became of a slide."""

    slide: str
    """Its name."""
    status: str
    """'done', in this run; 'there' already; 'busy', as another run works on it; or 'failed', for ``reason``."""
    regions: int = 0
    """How many it has."""
    reason: str = ''
    """Why it failed."""


class _Region(NamedTuple):
    index: int
    patches: Tensor | None
    span: tuple[float, float]
    reason: str


def backbone_prefix(checkpoint: str | Path, network: str = 'auto') -> str:
    """Where a checkpoint has the encoder that is asked for.

    Args:
        checkpoint: File or work directory.
        network: 'teacher', 'student', or 'auto': the teacher where there is one, else the backbone.
    """
    if network != 'auto':
        return NETWORKS[network]
    state, _ = read_checkpoint(checkpoint)
    return NETWORKS['teacher' if any(name.startswith(f'{NETWORKS["teacher"]}.') for name in state) else 'student']


def token_settings(encoder: Encoder, regions: TileTable, patch: int, dtype: torch.dtype | None) -> dict[str, Any]:
    """What tokens depend on beside the slides, for their store.

    Args:
        encoder: Makes the tokens.
        regions: Where the regions lie.
        patch: Side of a patch in pixels.
        dtype: Precision of the network; ``None`` for float32.

    Raises:
        ValueError: there is no region, or the regions are no whole number of patches of one size.
    """
    sizes = np.unique(regions.size).tolist()
    if len(sizes) != 1 or sizes[0] % patch:
        found = f'are {" and ".join(map(str, sizes[:5]))} px' if sizes else 'are none'
        raise ValueError(
            f'the regions of the tile table {found}, expected one side, a multiple of {patch} px, the patch; tile the '
            'slides with such a --size, or change --patch'
        )
    return {
        'encoder': encoder.settings['weights'],
        'architecture': encoder.settings.get('architecture'),
        'normalisation': {'mean': encoder.mean.flatten().tolist(), 'std': encoder.std.flatten().tolist()},
        'region': sizes[0],
        'patch': patch,
        'mpp': regions.settings.get('mpp', float(np.median(regions.mpp))),
        'precision': str(dtype or torch.float32).removeprefix('torch.'),
    }


class RegionPatches(Dataset):
    """Regions of slides, cut into patches row by row.

    Args:
        root: Folder of the slides.
        regions: Where they lie.
        patch: Side of a patch in pixels.
        mpp: µm per level-0 pixel of slides whose file does not say, see :func:`~histomm.wsi.slide_files.mpp_of`.
    """

    def __init__(self, root: str | Path, regions: TileTable, patch: int, mpp: dict | None = None) -> None:
        self.root, self.regions, self.patch, self.mpp = os.fspath(root), regions, patch, mpp or {}
        self.cache = SlideCache(max_open=4)

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, index: int) -> _Region:
        """Patches (L, 3, p, p) uint8 RGB, and width and height in level-0 pixels; or why they cannot be read."""
        rows = self.regions
        name, size, mpp = str(rows.slide[index]), int(rows.size[index]), float(rows.mpp[index])
        try:
            slide = self.cache.get(os.path.join(self.root, name), mpp_of(self.mpp, name))
            image = slide.read(int(rows.x[index]), int(rows.y[index]), size, size, mpp)
            span = tuple(size * scale for scale in slide.scale(mpp))
        except (ValueError, OSError) as error:  # whatever is wrong with a slide, the others go on
            return _Region(index, None, (0.0, 0.0), ' '.join(str(error).split()))
        return _Region(index, torch.from_numpy(cut_patches(image, self.patch)), span, '')


def cut_patches(region: np.ndarray, patch: int) -> np.ndarray:
    """Patches (L, 3, p, p) of a region (√L·p, √L·p, 3), row by row, as a copy."""
    rows, columns = region.shape[0] // patch, region.shape[1] // patch
    grid = region.reshape(rows, patch, columns, patch, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(grid).reshape(rows * columns, 3, patch, patch)


class _Claims(Sampler):
    """Numbers of the regions to read, slide after slide; a slide is locked when its first region is asked for."""

    def __init__(self, regions: TileTable, writer: TokenStoreWriter) -> None:
        order = np.argsort(regions.slide.astype(str), kind='stable')
        names, starts = np.unique(regions.slide[order].astype(str), return_index=True)
        parts = np.split(order, starts[1:])
        self.rows = {str(name): part.tolist() for name, part in zip(names, parts, strict=True)}
        self.writer = writer
        self.locks: dict[str, ExitStack] = {}
        self.passed: list[SlideTokens] = []

    def __iter__(self) -> Iterator[int]:
        for slide, rows in self.rows.items():
            lock = ExitStack()
            try:
                lock.enter_context(file_lock(self.writer.lock_path(slide)))
            except LockedError as error:
                self.passed.append(SlideTokens(slide, 'busy', len(rows), str(error)))
                continue
            if self.writer.has(slide):
                lock.close()
                self.passed.append(SlideTokens(slide, 'there', len(rows)))
                continue
            self.locks[slide] = lock
            yield from rows

    def release(self, slide: str) -> None:
        """Give back the lock of a slide."""
        self.locks.pop(slide).close()

    def close(self) -> None:
        """Give back all locks."""
        for slide in list(self.locks):
            self.release(slide)


@dataclass
class _Slide:
    """What has been computed of a slide."""

    tokens: list[np.ndarray] = field(default_factory=list)
    span: tuple[float, float] = (0.0, 0.0)
    seen: int = 0
    reason: str = ''

    def add(self, region: _Region, tokens: np.ndarray | None) -> None:
        self.seen += 1
        if tokens is None:
            self.reason = self.reason or region.reason
        else:
            self.tokens.append(tokens)
            self.span = region.span


def extract_tokens(
    encoder: Encoder,
    patches: RegionPatches,
    writer: TokenStoreWriter,
    batch_size: int = 256,
    workers: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[SlideTokens]:
    """Compute the tokens of all slides that ``writer`` does not have, and say what became of each slide.

    Args:
        encoder: Makes the tokens.
        patches: The regions.
        writer: Takes the tokens; :meth:`~histomm.wsi.token_store.TokenStoreWriter.finish` is left to the caller.
        batch_size: Patches at a time.
        workers: Processes that read regions; 0 reads in this one.
        device: Of the network.
        dtype: Precision of the network; ``None`` for float32.
    """
    encoder = encoder.to(device or torch.device('cpu'))
    claims = _Claims(patches.regions, writer)
    loader = DataLoader(
        patches,
        sampler=claims,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=one_thread if workers else None,
    )
    under_way: dict[str, _Slide] = {}
    try:
        for region in loader:
            while claims.passed:
                yield claims.passed.pop(0)
            name = str(patches.regions.slide[region.index])
            slide = under_way.setdefault(name, _Slide())
            wanted = region.patches is not None and not slide.reason
            slide.add(region, _encoded(encoder, region.patches, batch_size, dtype) if wanted else None)
            if slide.seen == len(claims.rows[name]):
                yield _stored(writer, name, patches.regions.select(np.array(claims.rows[name])), under_way.pop(name))
                claims.release(name)
        yield from claims.passed
    finally:
        claims.close()


def _encoded(encoder: Encoder, patches: Tensor, batch_size: int, dtype: torch.dtype | None) -> np.ndarray:
    """Tokens (L, D) float32."""
    patches = patches.to(encoder.mean.device)  # as bytes: a quarter of what float32 takes
    return torch.cat([encoder(part, dtype).cpu() for part in patches.split(batch_size)]).numpy()


def _stored(writer: TokenStoreWriter, name: str, regions: TileTable, slide: _Slide) -> SlideTokens:
    if slide.reason:
        return SlideTokens(name, 'failed', slide.seen, slide.reason)
    try:
        writer.write(name, np.stack([regions.x, regions.y], axis=1), np.stack(slide.tokens), slide.span)
    except ValueError as error:
        return SlideTokens(name, 'failed', slide.seen, str(error))
    return SlideTokens(name, 'done', slide.seen)


def _as_it_is(region: _Region) -> _Region:
    return region
