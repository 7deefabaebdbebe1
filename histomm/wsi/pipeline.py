"""From one slide to its tiles: tissue, plan, pixels, picture; resumable, and locked against other runs.

A folder of tiles holds::

    settings.json            what all its tiles were made with
    tiles.parquet            tiles of all slides, see :mod:`~histomm.wsi.tile_table`
    failures.csv             slides without tiles for a fault, with the reason; absent where there are none
    masks/<slide>.png        tissue, 255 or 0
    pictures/<slide>.jpg     tissue and tiles over the slide
    tiles/<slide>…           pixels, see :mod:`~histomm.wsi.stores`
    slides/<slide>.json      how far the slide is, and counts
    slides/<slide>.parquet   its tiles

A slide is done once its JSON says so, and that is written last. What a killed run left of a slide is made anew, except
for its mask.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from histomm.atomic_file import remove_partial_of, write_atomic
from histomm.wsi.locks import LockedError, file_lock
from histomm.wsi.quality import drop_reason
from histomm.wsi.reader import Slide, open_slide
from histomm.wsi.stores import Add, encode, open_store
from histomm.wsi.tile_reading import read_tiles
from histomm.wsi.tile_records import SlideJob, SlideReport, read_record, record_path, slide_table_path, write_record
from histomm.wsi.tile_settings import TileSettings
from histomm.wsi.tile_table import tiles_of_slide, write_tiles
from histomm.wsi.tiling import foreground_share, four_points, native_mpp, random_order
from histomm.wsi.tissue import TissueMask, find_tissue

Picture = Callable[[Slide, TissueMask, np.ndarray, np.ndarray, tuple[float, float]], np.ndarray]
"""Draws as uint8 RGB: slide, tissue, tiles taken and dropped, given by their corners (n, 2) and span in level-0 px."""

_STOPPING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_COARSER = 0.9  # scanners of one magnification differ by so much
_AT_ONCE = 64  # tiles that are read together


@dataclass(frozen=True)
class Tiler:
    """Tiles one slide at a call; can be pickled, and called by any number of processes for the same folder.

    Attributes:
        out: Folder of the tiles, claimed by :func:`~histomm.wsi.tile_settings.claim_folder`.
        settings: Its settings.
        picture: What draws the picture of a slide, importable by its name; ``None`` for no pictures.
    """

    out: Path
    settings: TileSettings
    picture: Picture | None = None

    def __call__(self, job: SlideJob) -> SlideReport:
        """Tile a slide unless that is done; faults are reported, not raised."""
        try:
            with file_lock(self.out / '.locks' / f'{job.name}.lock'):
                return self._once(job)
        except LockedError as error:
            return SlideReport(job.name, 'busy', reason=str(error))
        except Exception as error:  # whatever is wrong with a slide, the others go on
            stop = isinstance(error, OSError) and error.errno in _STOPPING
            return SlideReport(job.name, 'failed', reason=_reason(error), stop=stop)

    def _once(self, job: SlideJob) -> SlideReport:
        source = job.source()
        report, made_of = read_record(record_path(self.out, job.name)) or (SlideReport(job.name, 'new'), None)
        if report.status == 'done':
            if made_of != source:
                raise ValueError(
                    f'{job.path}: its tiles are those of a slide with {made_of}, now it has {source}; remove '
                    f'{record_path(self.out, job.name)} to tile it anew, or choose another folder'
                )
            return report
        try:
            report = self._tile(job, has_mask=made_of == source)
        except Exception as error:
            write_record(self.out, SlideReport(job.name, 'failed', reason=_reason(error)), source)
            raise
        write_record(self.out, report, source)
        return report

    def _tile(self, job: SlideJob, has_mask: bool) -> SlideReport:
        picture = self.out / 'pictures' / f'{job.name}.jpg'
        for path in (record_path(self.out, job.name), slide_table_path(self.out, job.name), picture):
            remove_partial_of(path)
        # Mask and picture look at the whole slide: what cannot be read is white there where it may be skipped.
        broken = 'white' if self.settings.skip_broken else 'error'
        with open_slide(job.path, job.mpp) as slide, open_slide(job.path, job.mpp, broken=broken) as whole:
            tiler = self._for_slide(slide)
            tiler._check_resolution(slide)
            tissue = tiler._tissue(whole, job, has_mask)
            plan = tiler._plan(slide, job, tissue)
            kept, dropped = tiler._pixels(slide, job, plan)
            corners = plan.corners[kept]
            if self.picture is not None:
                lost = plan.corners[sorted(row for rows in dropped.values() for row in rows)]
                drawn = self.picture(whole, tissue, corners, lost, tiler.settings.grid().span(slide))
                write_atomic(encode(drawn, 'jpg', 85), picture)
        settings = tiler.settings
        table = tiles_of_slide(job.name, corners, settings.size, settings.mpp, plan.share[kept], settings.as_json())
        write_tiles(slide_table_path(self.out, job.name), table)
        return replace(
            plan.report, status='done', tiles=len(kept), dropped={name: len(rows) for name, rows in dropped.items()}
        )

    def _for_slide(self, slide: Slide) -> 'Tiler':
        """A tiler whose ``mpp`` is the slide's own, where that is wanted."""
        settings = self.settings
        if settings.native is None:
            return self
        try:
            return replace(self, settings=replace(settings, mpp=native_mpp(slide.mpp, settings.mpp, settings.native)))
        except ValueError as error:
            raise ValueError(f'{slide.path}: {error}') from None

    def _check_resolution(self, slide: Slide) -> None:
        wanted = self.settings.mpp
        if not self.settings.upsample and wanted < _COARSER * slide.mpp:
            raise ValueError(
                f'{slide.path}: its pixels are {slide.mpp:.4g} µm, so that tiles of {wanted} µm per px would be '
                'interpolated; choose coarser tiles, allow it with --upsample, or leave the slide out'
            )

    def _tissue(self, slide: Slide, job: SlideJob, has_mask: bool) -> TissueMask:
        """The mask, of the file where a run got so far before."""
        settings, path = self.settings, self.out / 'masks' / f'{job.name}.png'
        finder, scales = settings.finder(), slide.scale(settings.tissue_mpp)
        if finder is None:
            whole = [int(np.ceil(side / scale)) for side, scale in zip(slide.size, scales, strict=True)]
            return TissueMask(np.ones(whole[::-1], bool), *scales)
        stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if has_mask and path.is_file() else None
        if stored is not None:
            return TissueMask(stored > 0, *scales)
        remove_partial_of(path)
        tissue = find_tissue(slide, finder, settings.tissue_mpp, settings.min_piece, settings.min_hole)
        mask = np.repeat(np.uint8(tissue.mask)[..., None] * 255, 3, axis=2)
        write_atomic(encode(mask, 'png', 0), path)
        write_record(self.out, SlideReport(job.name, 'tissue'), job.source())
        return tissue

    def _plan(self, slide: Slide, job: SlideJob, tissue: TissueMask) -> '_Plan':
        """Tiles with enough tissue; in random order where a limit is to be met."""
        settings = self.settings
        grid = settings.grid()
        corners = grid.corners(slide)
        share = foreground_share(tissue, corners, grid.span(slide))
        enough = share >= settings.min_foreground
        if settings.four_points:
            enough = four_points(tissue, corners, grid.span(slide))
        wanted = np.flatnonzero(enough & (share > 0))
        report = SlideReport(job.name, 'planned', len(corners), len(wanted), tissue=float(tissue.mask.mean()))
        if settings.max_tiles is not None:
            wanted = wanted[random_order(len(wanted), job.name, settings.seed)]
            if not self._may_drop():
                wanted = np.sort(wanted[: settings.max_tiles])
        return _Plan(corners[wanted], share[wanted], report)

    def _pixels(self, slide: Slide, job: SlideJob, plan: '_Plan') -> tuple[np.ndarray, dict[str, list[int]]]:
        """Rows of the plan that are taken, their pixels stored; and those that were dropped, for what."""
        settings = self.settings
        if not len(plan.corners) or (settings.store == 'table' and not self._may_drop()):
            return np.arange(len(plan.corners)), {}
        if settings.store == 'table':
            return self._select(slide, plan, None)
        options = (settings.store, settings.as_json(), settings.jpeg_quality, settings.shard_size)
        with open_store(self.out / 'tiles', job.name, *options) as add:
            return self._select(slide, plan, add)

    def _may_drop(self) -> bool:
        """Whether pixels decide which tiles are taken."""
        return bool(self.settings.filters) or (self.settings.skip_broken and self.settings.store != 'table')

    def _select(self, slide: Slide, plan: '_Plan', add: Add | None) -> tuple[np.ndarray, dict[str, list[int]]]:
        kept: list[int] = []
        dropped: dict[str, list[int]] = {}
        most = len(plan.corners) if self.settings.max_tiles is None else self.settings.max_tiles
        start = 0
        while start < len(plan.corners) and len(kept) < most:
            rows = range(start, min(start + min(_AT_ONCE, most - len(kept)), len(plan.corners)))
            for row, tile in zip(rows, self._read(slide, plan.corners[rows.start : rows.stop]), strict=True):
                reason = 'unreadable' if tile is None else drop_reason(tile, self.settings.filters)
                if tile is None or reason is not None:
                    dropped.setdefault(str(reason), []).append(row)
                    continue
                kept.append(row)
                if add is not None:
                    add(int(plan.corners[row, 0]), int(plan.corners[row, 1]), float(plan.share[row]), tile)
            start = rows.stop
        return np.array(kept, int), dropped

    def _read(self, slide: Slide, corners: np.ndarray) -> Sequence[np.ndarray | None]:
        """Pixels of tiles; ``None`` for those that cannot be read, where they may be skipped."""
        size, mpp = self.settings.size, self.settings.mpp
        try:
            return read_tiles(slide, corners, size, mpp)
        except ValueError:
            if not self.settings.skip_broken:
                raise
        return [self._read_one(slide, x, y) for x, y in corners.tolist()]

    def _read_one(self, slide: Slide, x: int, y: int) -> np.ndarray | None:
        try:
            return slide.read(x, y, self.settings.size, self.settings.size, self.settings.mpp)
        except ValueError:
            return None


@dataclass(frozen=True)
class _Plan:
    corners: np.ndarray
    share: np.ndarray
    report: SlideReport


def _reason(error: Exception) -> str:
    """One line about an error; its kind too where that says more than the message."""
    text = ' '.join(str(error).split()) or 'no message'
    return text if isinstance(error, ValueError | OSError) else f'{type(error).__name__}: {text}'
