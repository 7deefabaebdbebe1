"""A sampler that draws tiles of slides by neighbourhoods, since neighbours are read at once."""

from collections.abc import Sized

import numpy as np

from histomm.datasets.samplers import SampleIndex, SeededSampler
from histomm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class NeighbourhoodSampler(SeededSampler):
    """Shuffles neighbourhoods of tiles and yields the tiles of each one after the other, as :class:`SampleIndex`.

    Slides are cut into squares whose grid lies elsewhere in each epoch, drawn from (seed, epoch) as their order is, so
    that a tile meets different neighbours. A batch of 256 then has tiles of a few dozen neighbourhoods of many slides,
    not 256. Each rank reads neighbourhoods of its own; which one is in which batch depends on the number of ranks, not
    on the number of workers.

    Args:
        dataset: Data set with ``positions()``, such as :class:`~histomm.datasets.SlideTileDataset`.
        side: Side of a neighbourhood in level-0 pixels.
        shuffle: As in :class:`SeededSampler`; otherwise tiles come in the order of their table.
        seed: As in :class:`SeededSampler`.
        infinite: As in :class:`SeededSampler`.
        round_up: As in :class:`SeededSampler`.

    Raises:
        TypeError: the data set does not know where its samples lie.
        ValueError: the data set is empty, or ``side`` is not positive.
    """

    def __init__(
        self,
        dataset: Sized,
        side: int = 1024,
        shuffle: bool = True,
        seed: int | None = None,
        infinite: bool = False,
        round_up: bool = True,
    ) -> None:
        if not hasattr(dataset, 'positions'):
            raise TypeError(
                f'NeighbourhoodSampler: {type(dataset).__name__} does not know where its samples lie, expected '
                'a SlideTileDataset; use SeededSampler'
            )
        if side < 1:
            raise ValueError(f'NeighbourhoodSampler: side is {side}, expected a positive number of level-0 pixels')
        super().__init__(dataset, shuffle, seed, infinite, round_up)
        self.side = side
        self._slide, self._x, self._y = dataset.positions()

    def _order(self, epoch: int) -> list[SampleIndex]:
        """The whole epoch in order, over all ranks."""
        if not self.shuffle:
            return super()._order(epoch)
        rng = np.random.default_rng([self.seed, epoch])
        block = self._blocks(rng)
        place = rng.permutation(block.max() + 1)[block]
        tiles = np.argsort(place, kind='stable')
        # Rank r takes every world_size-th index: give it one piece of the order.
        order = np.empty_like(tiles)
        pieces = np.split(tiles, np.cumsum([len(tiles[r :: self.world_size]) for r in range(self.world_size - 1)]))
        for rank, piece in enumerate(pieces):
            order[rank :: self.world_size] = piece
        return [SampleIndex(i, self.seed, epoch) for i in order.tolist()]

    def _blocks(self, rng: np.random.Generator) -> np.ndarray:
        """Number of the neighbourhood of each tile, (n,) from 0."""
        shift_x, shift_y = rng.integers(self.side, size=2)
        columns, rows = (self._x + shift_x) // self.side, (self._y + shift_y) // self.side
        cells = self._slide.astype(np.int64)
        for place in (rows - rows.min(), columns - columns.min()):
            cells = cells * (place.max() + 1) + place  # one number each: arrays of millions are sorted at once
        return np.unique(cells, return_inverse=True)[1]
