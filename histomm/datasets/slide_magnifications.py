"""Pictures around one point of a slide at several magnifications, read while training runs."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from mmengine.logging import print_log

from histomm.datasets.patients import tcga_participant
from histomm.datasets.slide_tiles import SlideTileDataset, TileRows
from histomm.datasets.transforms.loading import UnreadableImageError
from histomm.registry import DATASETS
from histomm.wsi.reader import Slide

OBJECTIVE = 10.0
"""µm per pixel times magnification, by custom: 40× is 0.25 µm, 20× is 0.5 µm."""
_AS_FINE = 1.05  # a scanner's 40× may be at 0.2527 µm; so much coarser a slide still has what is asked for


@DATASETS.register_module()
class SlideMagnificationDataset(SlideTileDataset):
    """Pictures around one point of a slide at several magnifications, so that all do show the same place.

    For contrast across magnifications, in place of a :class:`~histomm.datasets.MagnificationSetDataset`. Each tile of
    the table is a sample: its middle is the point that all pictures are cut around, ``size`` × ``size`` pixels at each
    magnification. A sample has ``img_path``, the slide, ``img_paths`` (magnification to slide, in growing order),
    ``read_picture``, a function from a magnification to its pixels, (size, size, 3) uint8 RGB, ``tile``, ``patient``
    and ``sample_idx``. ``MagnificationPairSampler`` draws two magnifications, and ``MagnificationViews`` has only these
    read. The middles agree to half a pixel of the level that is read, see :meth:`histomm.wsi.reader.Slide.read`.

    Args:
        data_root: Folder of the slides.
        tiles: Tile table, or several, as ``tools/wsi/tile_slides.py`` writes them; their size and resolution say
            where the middle of a tile is, and nothing else.
        magnifications: Two or more, of the objective: 40 stands for 0.25 µm per pixel.
        resolutions: µm per pixel of each of ``magnifications``, where that is not the custom.
        size: Side of the pictures in pixels.
        border: Points whose picture at the lowest magnification reaches beyond the slide: 'exclude' leaves them out and
            logs how many, 'white' keeps them, and what lies beyond is white.
        **kwargs: Of :class:`SlideTileDataset`. With ``unreadable='skip'`` slides that cannot be opened, have no pixel
            size or are too coarse are left out as well, and named in the log.

    Raises:
        ValueError: a slide without pixel size, or coarser than the highest magnification asks for; a bad argument, no
            points left, or what :class:`SlideTileDataset` raises.
    """

    def __init__(
        self,
        data_root: str,
        tiles: str | Sequence[str],
        magnifications: Sequence[float] = (5, 10, 20, 40),
        resolutions: Sequence[float] | None = None,
        size: int = 224,
        border: str = 'exclude',
        **kwargs: Any,
    ) -> None:
        found = [OBJECTIVE / number for number in magnifications if number > 0] if resolutions is None else resolutions
        self.resolutions = dict(sorted(zip(magnifications, found, strict=False)))
        """Magnification to µm per pixel, in growing order of the magnification."""
        lengths = {len(magnifications), len(found), len(self.resolutions)}
        falling = np.diff([*self.resolutions.values(), 0]) < 0
        if len(lengths) > 1 or len(magnifications) < 2 or not falling.all():
            raise ValueError(
                f'SlideMagnificationDataset: magnifications are {tuple(magnifications)} and resolutions {resolutions}, '
                'expected two or more positive numbers, none twice, and for each a positive one, smaller for higher '
                'magnifications'
            )
        if border not in ('exclude', 'white') or size < 1:
            raise ValueError(
                f"SlideMagnificationDataset: border is {border!r} and size {size}, expected 'exclude' or 'white', and "
                'at least 1 pixel'
            )
        self.size, self.border = size, border
        super().__init__(data_root, tiles, **kwargs)

    def load_data_list(self) -> TileRows:
        """All points that are to be used, in the order of the tables; called once by ``full_init``."""
        rows = self._usable(super().load_data_list())
        inside = np.ones(len(rows), bool)
        for number in np.unique(rows.slide):
            mine = np.flatnonzero(rows.slide == number)
            slide = self._opened(rows, int(mine[0]))
            centres = _centres(rows, mine, slide)
            reach = self.size * np.array(slide.scale(max(self.resolutions.values()))) / 2
            inside[mine] = ((centres >= reach) & (centres + reach <= slide.size)).all(axis=1)
        self._cache.close()
        return rows if self.border == 'white' else self._select(rows, inside)

    def _usable(self, rows: TileRows) -> TileRows:
        """Rows of slides that open and are fine enough; the first other one is an error, unless they may be skipped."""
        problems = {}
        for number, first in zip(*np.unique(rows.slide, return_index=True), strict=True):
            try:
                self._check_resolution(self._opened(rows, int(first)))
            except (ValueError, OSError) as error:
                if self.unreadable == 'raise':
                    raise
                problems[int(number)] = str(error)
        if not problems:
            return rows
        told = f'{self._name}: {len(problems)} slides cannot be used: {"; ".join(problems.values())}'
        kept = ~np.isin(rows.slide, list(problems))
        if not kept.any():
            raise ValueError(f'{told}; none is left')
        print_log(f'{told}; they were left out', 'current', logging.WARNING)
        return rows.select(np.flatnonzero(kept))

    def _select(self, rows: TileRows, inside: np.ndarray) -> TileRows:
        lowest = min(self.resolutions)
        told = (
            f'{self._name}: {int((~inside).sum())} of {len(rows)} points have pictures at {lowest}X that reach beyond '
            'the slide'
        )
        if not inside.any():
            raise ValueError(f"{told}, and none is left; lower size, leave out {lowest}X, or set border='white'")
        if not inside.all():
            print_log(f'{told}, and were left out', 'current', logging.WARNING)
        return rows.select(np.flatnonzero(inside))

    def _check_resolution(self, slide: Slide) -> None:
        """The slide says how large its pixels are, and they are as small as the highest magnification wants."""
        highest = max(self.resolutions)
        wanted = self.resolutions[highest]
        if max(slide.mpp_xy) > wanted * _AS_FINE:
            raise ValueError(
                f'{self._name}: {slide.path} has {slide.mpp:.4g} µm per pixel, expected {wanted:.4g} or less for '
                f'{highest}X; leave the slide out by exclude, or the magnification'
            )

    def __getitems__(self, indices: Sequence[int]) -> list:
        """Samples of a batch."""
        return [self[index] for index in indices]

    def _sample(self, idx: int) -> dict | None:
        info = self.get_data_info(idx)
        name = self.data_list.name(int(idx))
        more = dict(
            img_paths=dict.fromkeys(self.resolutions, info['img_path']),
            patient=tcga_participant(name) or name,
            read_picture=partial(self._picture, int(idx)),
        )
        return self.pipeline({**info, **more})

    def _picture(self, idx: int, magnification: float) -> np.ndarray:
        mpp = self.resolutions[magnification]
        try:
            slide = self._slide(idx)
            reach = self.size * np.array(slide.scale(mpp)) / 2
            left, upper = _centres(self.data_list, np.array([idx]), slide)[0] - reach
            return slide.read(left, upper, self.size, self.size, mpp)
        except (ValueError, OSError) as error:
            raise UnreadableImageError(str(error)) from error

    def _read(self, idx: int) -> np.ndarray:
        return self._picture(idx, min(self.resolutions))


def _centres(rows: TileRows, chosen: np.ndarray, slide: Slide) -> np.ndarray:
    """Middles (x, y) of tiles of one slide in level-0 pixels, (n, 2)."""
    sides = (rows.size[chosen] * rows.mpp[chosen])[:, None] / np.array(slide.mpp_xy)
    return np.stack([rows.x[chosen], rows.y[chosen]], axis=1) + sides / 2
