"""What tiles depend on: one set of settings for a folder of tiles."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from histomm.atomic_file import write_atomic
from histomm.wsi import quality, stores
from histomm.wsi.locks import file_lock
from histomm.wsi.tiling import Grid
from histomm.wsi.tissue import ClamTissue, HsvTissue, OtsuTissue, TissueFinder

TISSUE = {'otsu': OtsuTissue, 'hsv': HsvTissue, 'clam': ClamTissue}
"""Finders of tissue by name; 'none' takes the whole slide."""

SETTINGS = 'settings.json'
"""File of the settings in a folder of tiles."""


class SettingsError(ValueError):
    """A setting is out of range, or not that of the folder."""


@dataclass(frozen=True)
class TileSettings:
    """All that the tiles of a slide depend on, beside the slide.

    Args:
        size: Side of a tile in px at ``mpp``.
        mpp: µm per px of the tiles.
        overlap: How many px at ``mpp`` neighbours share.
        partial: Take tiles that end beyond the border of the slide; what is beyond is white.
        tissue: 'otsu', 'hsv', 'clam', or 'none' to take the whole slide.
        tissue_options: Arguments of the finder, see :mod:`~histomm.wsi.tissue`.
        tissue_mpp: Resolution of the mask in µm per px.
        min_piece: Smaller pieces of tissue are dropped, µm².
        min_hole: Smaller holes in tissue are filled, µm².
        min_foreground: Least share of a tile that is tissue, 0..1; tiles without any are never taken.
        four_points: Take a tile where one of four points in it is tissue, whatever its share; the rule of CLAM.
        max_tiles: Most tiles of a slide, drawn at random; ``None`` for all.
        seed: Of that draw, with the name of the slide.
        filters: Filters of quality with their limits, see :mod:`~histomm.wsi.quality`.
        upsample: Interpolate tiles of slides that are coarser than ``mpp``; otherwise such slides fail.
        skip_broken: Leave out tiles that cannot be read, and count them; otherwise they fail the slide.
        store: 'table' for the table alone, or one of :data:`~histomm.wsi.stores.KINDS`.
        jpeg_quality: 1..100, of the stores that hold JPEG.
        shard_size: Most tiles in a shard of WebDataset.
        excluded: Participants whose slides were left out.
        native: Take, for ``mpp``, the resolution next to it that the slide has without resampling: its own, or 2, 4, …
            times as coarse; slides that miss it by a larger share than this fail. ``None`` resamples.

    Raises:
        SettingsError: a value is out of range.
    """

    size: int = 224
    mpp: float = 0.5
    overlap: int = 0
    partial: bool = False
    tissue: str = 'otsu'
    tissue_options: dict[str, Any] = field(default_factory=dict)
    tissue_mpp: float = 8.0
    min_piece: float = 2e4
    min_hole: float = 2e4
    min_foreground: float = 0.5
    four_points: bool = False
    max_tiles: int | None = None
    seed: int = 0
    filters: dict[str, float] = field(default_factory=dict)
    upsample: bool = False
    skip_broken: bool = False
    store: str = 'table'
    jpeg_quality: int = 90
    shard_size: int = 10_000
    excluded: tuple[str, ...] = ()
    native: float | None = None

    def __post_init__(self) -> None:
        try:
            self.grid()
            self.finder()
            quality.check_limits(self.filters)
        except (TypeError, ValueError) as error:
            raise SettingsError(str(error)) from error
        if self.tissue_mpp <= 0 or self.min_piece < 0 or self.min_hole < 0:
            raise SettingsError(
                f'tissue_mpp, min_piece and min_hole are {self.tissue_mpp}, {self.min_piece} and {self.min_hole}, '
                'expected a positive number and two that are not negative'
            )
        if not 0 <= self.min_foreground <= 1:
            raise SettingsError(f'min_foreground is {self.min_foreground}, expected 0 to 1')
        if self.native is not None and not 0 <= self.native < 0.5:
            raise SettingsError(f'native is {self.native}, expected 0 to less than 0.5')
        if self.max_tiles is not None and self.max_tiles < 1:
            raise SettingsError(f'max_tiles is {self.max_tiles}, expected at least 1')
        if self.seed < 0 or self.shard_size < 1 or not 1 <= self.jpeg_quality <= 100:
            raise SettingsError(
                f'seed, shard_size and jpeg_quality are {self.seed}, {self.shard_size} and {self.jpeg_quality}, '
                'expected 0 or more, 1 or more, and 1 to 100'
            )
        if self.store not in ('table', *stores.KINDS):
            raise SettingsError(f'store is {self.store!r}, expected table or one of {", ".join(stores.KINDS)}')

    def grid(self) -> Grid:
        """The grid of the tiles."""
        return Grid(self.size, self.mpp, self.overlap, self.partial)

    def finder(self) -> TissueFinder | None:
        """A new finder of tissue; ``None`` where the whole slide is taken."""
        if self.tissue == 'none':
            return None
        if self.tissue not in TISSUE:
            raise ValueError(f'tissue is {self.tissue!r}, expected none or one of {", ".join(TISSUE)}')
        return TISSUE[self.tissue](**self.tissue_options)

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        return json.loads(json.dumps(asdict(self)))


def claim_folder(out: Path, settings: TileSettings) -> None:
    """Give a folder to these settings, or see that it has them already.

    Raises:
        SettingsError: ``out`` was made with other settings, or holds other files.
    """
    wanted, path = settings.as_json(), out / SETTINGS
    if out.exists() and (not out.is_dir() or (_visible(out) and not path.exists())):
        raise SettingsError(f'{out} holds other files or is a file; choose a new or empty folder')
    with file_lock(out / '.locks' / SETTINGS, patience=10):
        if not path.exists():
            write_atomic(json.dumps(wanted, indent=1).encode(), path)
            return
    found = {**TileSettings().as_json(), **json.loads(path.read_text())}  # what an older version did not know
    differing = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if differing:
        changes = ', '.join(f'{name} {found.get(name)} there and {wanted.get(name)} now' for name in differing)
        raise SettingsError(f'{out} was made with other settings: {changes}; repeat them or choose another folder')


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith('.')]
