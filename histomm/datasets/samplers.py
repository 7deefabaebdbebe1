"""A sampler whose indices carry what a sample's random draws depend on."""

import itertools
from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from histomm.registry import DATA_SAMPLERS


class SampleIndex(int):
    """An index into a data set that also knows the run's ``seed`` and the pass over the data, ``epoch``.

    It is an ``int`` everywhere an index is wanted, survives pickling to loader workers, and reaches the pipeline as
    ``results['sample_idx']`` (mmengine's ``BaseDataset`` copies it there). Transforms seed their generator from it, so
    a sample's augmentation does not depend on the worker that happens to draw it.

    Wrappers such as mmengine's ``ConcatDataset`` and ``RepeatDataset`` reckon with the index (``-``, ``%``). The result
    still knows seed and epoch, and in ``drawn`` the number that the sampler gave: the copies of a sample that is
    repeated within an epoch are augmented differently. Wrappers that look the index up in a list lose all this.
    """

    seed: int
    epoch: int
    drawn: int

    def __new__(cls, index: int, seed: int = 0, epoch: int = 0, drawn: int | None = None) -> 'SampleIndex':
        """Make an index that remembers ``seed``, ``epoch`` and ``drawn``, by default the index itself."""
        self = super().__new__(cls, index)
        self.seed = seed
        self.epoch = epoch
        self.drawn = int(index) if drawn is None else drawn
        return self

    def __sub__(self, other: int) -> 'SampleIndex':
        return SampleIndex(int(self) - int(other), self.seed, self.epoch, self.drawn)

    def __mod__(self, other: int) -> 'SampleIndex':
        return SampleIndex(int(self) % int(other), self.seed, self.epoch, self.drawn)


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """Shuffles with a permutation seeded by (seed, epoch) and yields :class:`SampleIndex`.

    Args:
        dataset: Sized data set.
        shuffle: Permute each epoch; otherwise keep the order.
        seed: Seed of permutation and augmentation, the same on all ranks. ``None`` draws one and shares it.
        infinite: Go on for ever (for iteration-based loops), epoch after epoch. The permutations and the augmentations
            are those of the finite sampler.
        round_up: Repeat the first samples so that every rank gets the same number (finite sampler only).

    Raises:
        ValueError: the data set is empty.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        infinite: bool = False,
        round_up: bool = True,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if self.size == 0:
            raise ValueError('SeededSampler: the data set is empty, expected at least one sample; check its data_root')
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.infinite = infinite
        self.round_up = round_up
        self.epoch = 0
        self._start = 0

    def _generator(self, epoch: int) -> torch.Generator:
        """One stream per (seed, epoch): a large odd multiplier keeps neighbouring seeds from sharing epochs."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)

    def _order(self, epoch: int) -> list[SampleIndex]:
        """The whole epoch in order, over all ranks."""
        if self.shuffle:
            indices = torch.randperm(self.size, generator=self._generator(epoch)).tolist()
        else:
            indices = list(range(self.size))
        return [SampleIndex(i, self.seed, epoch) for i in indices]

    def _stream(self) -> Iterator[SampleIndex]:
        for epoch in itertools.count():
            yield from self._order(epoch)

    def __iter__(self) -> Iterator[SampleIndex]:
        if self.infinite:
            start = self._start * self.world_size + self.rank
            return itertools.islice(self._stream(), start, None, self.world_size)
        order = self._order(self.epoch)
        if self.round_up and len(order) % self.world_size:
            total = -(-len(order) // self.world_size) * self.world_size
            order = list(itertools.islice(itertools.cycle(order), total))
        return iter(order[self.rank :: self.world_size])

    def __len__(self) -> int:
        """Samples of this rank in an epoch; of the whole data set for the infinite sampler, as mmengine has it."""
        if self.infinite:
            return self.size
        if self.round_up:
            return -(-self.size // self.world_size)
        return len(range(self.rank, self.size, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the finite sampler (called by mmengine's ``DistSamplerSeedHook``)."""
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Start the infinite stream at this rank's sample ``num_samples``, counted from the beginning of training."""
        if num_samples < 0:
            raise ValueError(f'SeededSampler.skip: num_samples is {num_samples}, expected 0 or more')
        self._start = num_samples
