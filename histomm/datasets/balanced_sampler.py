"""A sampler that draws all classes equally often."""

from collections import Counter
from collections.abc import Sized

import torch

from histomm.datasets.samplers import SampleIndex, SeededSampler
from histomm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class BalancedSampler(SeededSampler):
    """Draws as many samples as there are, with replacement, each class with the same chance.

    A sample of a class with n members has the chance 1 / (C · n) in each draw, as in CLAM and HIPT. Draws depend on
    (seed, epoch), and samples that come several times in an epoch are augmented differently.

    Args:
        dataset: Data set with ``get_cat_ids``, which gives one class for each index, such as
            :class:`~histomm.BagDataset`.
        seed: As in :class:`SeededSampler`.
        infinite: As in :class:`SeededSampler`.
        round_up: As in :class:`SeededSampler`.

    Raises:
        TypeError: the data set does not tell classes.
        ValueError: the data set is empty.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, infinite: bool = False, round_up: bool = True) -> None:
        if not hasattr(dataset, 'get_cat_ids'):
            raise TypeError(
                f'BalancedSampler: {type(dataset).__name__} has no get_cat_ids, which tells classes; use SeededSampler'
            )
        super().__init__(dataset, True, seed, infinite, round_up)
        kinds = [int(dataset.get_cat_ids(index)[0]) for index in range(self.size)]
        sizes = Counter(kinds)
        self._weights = torch.tensor([1 / sizes[kind] for kind in kinds], dtype=torch.float64)

    def _order(self, epoch: int) -> list[SampleIndex]:
        """The whole epoch in order, over all ranks."""
        drawn = torch.multinomial(self._weights, self.size, replacement=True, generator=self._generator(epoch)).tolist()
        return [SampleIndex(index, self.seed, epoch, place) for place, index in enumerate(drawn)]
