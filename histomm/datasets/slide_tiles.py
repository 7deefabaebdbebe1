"""Tiles read from whole slides while training runs, without writing them to files."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from histomm.datasets.patch_dataset import PatchDataset
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.registry import DATASETS
from histomm.wsi.reader import Slide, SlideCache, mpp_of, read_mpp_table
from histomm.wsi.tile_reading import read_tiles

if TYPE_CHECKING:
    from histomm.wsi.tile_table import TileTable


class TileRows:
    """Rows of a tile table as samples, kept in arrays so that loader processes share them.

    Attributes:
        slide: (n,) int32, number of the slide in ``names``.
        x: (n,) int64, left border in level-0 pixels.
        y: (n,) int64, upper border in level-0 pixels.
        size: (n,) int32, side in pixels at ``mpp``.
        mpp: (n,) float64, µm per pixel.
        names: Names of the slides in the table.
        root: Folder of the slides.
    """

    def __init__(self, table: 'TileTable', root: str) -> None:
        self.names, codes = np.unique(table.slide.astype(str), return_inverse=True)
        self.slide = codes.reshape(-1).astype(np.int32)
        self.x, self.y, self.size, self.mpp, self.root = table.x, table.y, table.size, table.mpp, root

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict:
        """Sample without pixels."""
        return dict(img_path=os.path.join(self.root, self.name(index)), tile=(int(self.x[index]), int(self.y[index])))

    def name(self, index: int) -> str:
        """Name of the slide of a tile."""
        return str(self.names[self.slide[index]])

    def kind(self, index: int) -> tuple[int, int, float]:
        """What tiles that are read together have in common: slide, side and resolution."""
        return int(self.slide[index]), int(self.size[index]), float(self.mpp[index])

    def select(self, rows: np.ndarray) -> 'TileRows':
        """Some of the rows."""
        chosen = copy(self)
        for name in ('slide', 'x', 'y', 'size', 'mpp'):
            setattr(chosen, name, getattr(self, name)[rows])
        return chosen


@DATASETS.register_module()
class SlideTileDataset(PatchDataset):
    """Tiles of slides for pre-training, in place of a :class:`PatchDataset` of the same tiles as files.

    Each sample has ``img``, the tile as (size, size, 3) uint8 RGB, ``img_path``, the slide, ``tile``, (x, y) of its
    upper left corner in level-0 pixels, and ``sample_idx``; ``LoadPatch`` in the pipeline leaves the pixels as they
    are. A loader process keeps the slides that it used last open. Tiles of a batch that follow each other and lie
    together are read at once; :class:`NeighbourhoodSampler` gives them in this order. Pixels do not depend on that.

    Args:
        data_root: Folder of the slides.
        tiles: Tile table, or several, as ``tools/wsi/tile_slides.py`` writes them.
        mpp_table: CSV with the columns slide,mpp for slides whose file does not say how large its pixels are.
        min_foreground: Leave out tiles with a smaller share of tissue.
        max_open: Slides that a loader process keeps open.
        icc: Convert colours to sRGB by the profile of the slide, where it has one.
        exclude: Patterns of slides to leave out, matched against their name in the table; see :class:`PatchDataset`.
        exclude_patients: Files of TCGA participants to leave out; see :class:`PatchDataset`.
        patient_overlap: See :class:`PatchDataset`.
        unreadable: What to do with a tile that cannot be read: 'raise', or 'skip'; see :class:`PatchDataset`.
        indices: Use only these tiles, or the first so many.
        pipeline: Transforms.
        test_mode: As in mmengine.
        lazy_init: As in mmengine.
        max_refetch: How many replacements may be unreadable in a row.

    Raises:
        FileNotFoundError: a table, a slide that it names, or a list of participants is missing.
        PatientOverlapError: ``patient_overlap`` is 'raise' and a slide is of a participant to leave out.
        ValueError: no tiles are left, or a table is damaged.
    """

    def __init__(
        self,
        data_root: str,
        tiles: str | Sequence[str],
        mpp_table: str = '',
        min_foreground: float = 0.0,
        max_open: int = 16,
        icc: bool = False,
        exclude: Sequence[str] = (),
        exclude_patients: str | Sequence[str] = (),
        patient_overlap: str = 'exclude',
        unreadable: str = 'raise',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 100,
    ) -> None:
        self.tiles = [os.fspath(path) for path in ([tiles] if isinstance(tiles, str | os.PathLike) else tiles)]
        self.mpp_table, self.min_foreground = os.fspath(mpp_table), min_foreground
        self._cache = SlideCache(max_open, icc)
        self._ready: dict[int, np.ndarray] = {}
        super().__init__(
            data_root=data_root,
            exclude=exclude,
            exclude_patients=exclude_patients,
            patient_overlap=patient_overlap,
            unreadable=unreadable,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def full_init(self) -> None:
        """Read the tables; rows stay in arrays, which loader processes share."""
        self.serialize_data = False
        super().full_init()

    def load_data_list(self) -> 'TileRows':
        """All tiles that are to be used, in the order of the tables; called once by ``full_init``."""
        from histomm.wsi.tile_table import concat_tiles
        from histomm.wsi.tile_table import read_tiles as read_table

        if not self.tiles:
            raise ValueError('SlideTileDataset: tiles is empty, expected a tile table')
        table = concat_tiles([read_table(path) for path in self.tiles], {})
        kept = np.isin(table.slide.astype(str), self._slides(table.slides))
        table = table.select(np.flatnonzero(kept & (table.foreground >= self.min_foreground)))
        if not len(table):
            raise ValueError(
                f'SlideTileDataset: no tiles are left of those in {", ".join(self.tiles)}; lower min_foreground or '
                'exclude fewer slides'
            )
        self._mpp = read_mpp_table(self.mpp_table) if self.mpp_table else {}
        return TileRows(table, self.roots[0])

    def _slides(self, names: list[str]) -> list[str]:
        """Names of the slides to use; all their files exist."""
        items = [(name, None) for name in names]
        names = [name for name, _ in self._without_patients(self._kept(items, part=0))]
        missing = [name for name in names if not os.path.exists(os.path.join(self.roots[0], name))]
        if missing:
            raise FileNotFoundError(
                f'SlideTileDataset: {len(missing)} of {len(names)} slides that {", ".join(self.tiles)} names are not '
                f'in {self.roots[0]}, such as {missing[0]}; correct data_root'
            )
        return names

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> 'TileRows':
        if isinstance(indices, int):
            indices = range(len(self.data_list))[:indices] if indices >= 0 else range(len(self.data_list))[indices:]
        return self.data_list.select(np.asarray(indices, np.int64))

    def positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of the slide, and level-0 x and y of each tile, each (n,)."""
        self.full_init()
        return self.data_list.slide, self.data_list.x, self.data_list.y

    def __getitems__(self, indices: Sequence[int]) -> list:
        """Samples of a batch; tiles of one slide that follow each other are read together."""
        self.full_init()
        samples = []
        for _, run in groupby(indices, key=self.data_list.kind):
            run = list(run)
            self._ready = self._read_together(run) if len(run) > 1 else {}
            samples += [self[index] for index in run]
        return samples

    def _sample(self, idx: int) -> dict | None:
        info = self.get_data_info(idx)
        image = self._ready.pop(int(idx), None)
        return self.pipeline({**info, 'img': self._read(int(idx)) if image is None else image})

    def _slide(self, idx: int) -> Slide:
        return self._opened(self.data_list, idx)

    def _opened(self, rows: TileRows, row: int) -> Slide:
        name = rows.name(row)
        return self._cache.get(os.path.join(self.roots[0], name), mpp_of(self._mpp, name))

    def _read(self, idx: int) -> np.ndarray:
        rows = self.data_list
        size = int(rows.size[idx])
        try:
            return self._slide(idx).read(int(rows.x[idx]), int(rows.y[idx]), size, size, float(rows.mpp[idx]))
        except (ValueError, OSError) as error:
            raise UnreadableImageError(str(error)) from error

    def why_unreadable(self, idx: int) -> str | None:
        """Why a tile cannot be read, or ``None``."""
        try:
            self._read(idx)
        except UnreadableImageError as error:
            return f'is not readable at {self.data_list[idx]["tile"]} ({error})'
        return None

    def _read_together(self, run: Sequence[int]) -> dict[int, np.ndarray]:
        """Tiles of one slide by their index; none if a part is damaged, and each is then read by itself."""
        rows = self.data_list
        corners = np.stack([rows.x[run], rows.y[run]], axis=1)
        try:
            images = read_tiles(self._slide(run[0]), corners, int(rows.size[run[0]]), float(rows.mpp[run[0]]))
        except (ValueError, OSError):
            return {}
        return dict(zip(map(int, run), images, strict=True))
