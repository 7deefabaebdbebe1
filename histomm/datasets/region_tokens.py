"""Regions as grids of tokens, for pre-training and for features of regions."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from histomm.registry import DATASETS, TRANSFORMS
from histomm.wsi.token_store import TokenStore


class RegionRows:
    """Regions that were chosen of a store, kept in arrays so that loader processes share them.

    Attributes:
        rows: (n,) int64, their numbers in the store.
        slides: (n,) int64, number of the slide of each in ``names``.
        names: Names of the slides that have one, sorted.
    """

    def __init__(self, store: TokenStore, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows
        found, numbers = np.unique(store.region_slides[rows], return_inverse=True)
        self.names = [store.slides[number] for number in found]
        self.slides = numbers.reshape(-1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        """Sample without tokens."""
        x, y = self.store.coords[self.rows[index]].tolist()
        return dict(slide_index=int(self.slides[index]), slide=self.names[self.slides[index]], region=(x, y))

    def select(self, rows: np.ndarray) -> 'RegionRows':
        """Some of the regions."""
        return RegionRows(self.store, self.rows[rows])


@DATASETS.register_module()
class RegionTokenDataset(BaseDataset):
    """Regions of slides as grids of tokens, out of a store of ``tools/wsi/extract_region_tokens.py``.

    Each sample has ``img``, the tokens (H, W, D) in the stored type as a view into the store that cannot be written to;
    ``slide`` and ``slide_index``, the name of its slide and its number in ``slide_names``; ``region``, (x, y) of the
    upper left corner in level-0 pixels; and ``sample_idx``.

    Args:
        data_root: Folder of the store.
        slides_file: Use only the slides that this file names, one a line, or in the column ``slide`` of a CSV; names as
            in the store, or without suffix. Looked for below ``data_root`` first, then as written.
        dim: Numbers of a token that the model takes; other tokens are refused. ``None`` takes any.
        digest: SHA-256 of the settings of the tokens, ``TokenStore.digest``; others are refused. Empty takes any.
        indices: Use only these regions, or the first so many.
        pipeline: Transforms.
        test_mode: As in mmengine.
        lazy_init: As in mmengine.
        max_refetch: As in mmengine.

    Raises:
        FileNotFoundError: there is no store, or no file of slides.
        ValueError: the store is damaged or holds other tokens, or a slide of the file has no region in it, or may be
            several without suffix.
    """

    def __init__(
        self,
        data_root: str,
        slides_file: str = '',
        dim: int | None = None,
        digest: str = '',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self.slides_file, self.dim, self.digest = os.fspath(slides_file), dim, digest
        super().__init__(
            data_root=os.fspath(data_root),
            indices=indices,
            serialize_data=False,  # rows stay in arrays, which loader processes share
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    @property
    def store(self) -> TokenStore:
        """The store that the regions are in."""
        self.full_init()
        return self.data_list.store

    @property
    def slide_names(self) -> list[str]:
        """Names of the slides that have a region, sorted."""
        self.full_init()
        return self.data_list.names

    @property
    def region_slides(self) -> np.ndarray:
        """(n,) int64, number of the slide of each region in ``slide_names``."""
        self.full_init()
        return self.data_list.slides

    def read_tokens(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Tokens (n, D, H, W) of regions, float32; copies."""
        self.full_init()
        rows = self.data_list.rows[np.asarray(indices, np.int64).reshape(-1)]
        return torch.from_numpy(self.store.read(rows)).float()

    def load_data_list(self) -> RegionRows:
        """All regions that are to be used; called once by ``full_init``."""
        store = TokenStore(self.data_root)
        store.check(self.dim, self.digest)
        rows = np.arange(len(store))
        if self.slides_file:
            rows = np.flatnonzero(np.isin(store.region_slides, self._chosen_slides(store)))
        return RegionRows(store, rows)

    def _chosen_slides(self, store: TokenStore) -> list[int]:
        """Numbers in the store of the slides that the file names."""
        path = os.path.join(self.data_root, self.slides_file)
        path = path if os.path.isfile(path) else self.slides_file
        wanted = read_slide_names(path)
        stems = [str(Path(name).with_suffix('')) for name in store.slides]
        numbers = dict(zip(stems, range(len(stems)), strict=True))
        numbers |= {name: number for number, name in enumerate(store.slides)}
        shared = {stem for stem, count in Counter(stems).items() if count > 1} - set(store.slides)
        if unclear := [name for name in wanted if name in shared]:
            found = ' and '.join(name for name, stem in zip(store.slides, stems, strict=True) if stem == unclear[0])
            raise ValueError(f'RegionTokenDataset: {path} names {unclear[0]}, which may be {found}; add the suffix')
        missing = [name for name in wanted if name not in numbers]
        if missing:
            raise ValueError(
                f'RegionTokenDataset: {len(missing)} of {len(wanted)} slides that {path} names have no region in '
                f'{self.data_root}, such as {missing[0]}; extract their tokens, or correct the list'
            )
        if not wanted:
            raise ValueError(f'RegionTokenDataset: {path} names no slide; list some, or leave slides_file empty')
        return [numbers[name] for name in wanted]

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> RegionRows:
        if isinstance(indices, int):
            indices = range(len(self.data_list))[:indices] if indices >= 0 else range(len(self.data_list))[indices:]
        return self.data_list.select(np.asarray(indices, np.int64))

    def prepare_data(self, idx: int) -> dict:
        """Sample ``idx`` after the pipeline."""
        rows = self.data_list
        return self.pipeline({**self.get_data_info(idx), 'img': rows.store.tokens(int(rows.rows[idx]))})


def read_slide_names(path: str) -> list[str]:
    """Names of slides: one a line, or the column ``slide`` of a CSV.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a CSV has no such column.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'list of slides {path} does not exist; correct slides_file')
    with open(path, encoding='utf-8-sig', newline='') as file:
        if not path.lower().endswith('.csv'):
            return [line.strip() for line in file if line.strip()]
        rows = csv.DictReader(file)
        if 'slide' not in (rows.fieldnames or ()):
            raise ValueError(f'{path}: columns {rows.fieldnames}, expected one called slide; add it')
        return [row['slide'].strip() for row in rows]
