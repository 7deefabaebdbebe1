"""Where the random draws of transforms come from."""

import logging
from functools import cache

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from histomm.datasets.samplers import SampleIndex


def view_generator(results: dict, view: int = 0) -> np.random.Generator:
    """Generator for one view of one sample, seeded by (seed, epoch, sample index, view).

    Views count from 1; 0 is for draws that concern the sample as a whole.

    A sample that was not drawn by :class:`~histomm.datasets.samplers.SeededSampler` carries no epoch; its generator is
    then seeded from numpy's global state, so that views still differ from epoch to epoch. In a loader worker, where
    that state is the worker's, this is warned about once.
    """
    index = results.get('sample_idx')
    if isinstance(index, SampleIndex):
        return np.random.default_rng([index.seed, index.epoch, index.drawn, view])
    if get_worker_info() is not None:
        _warn_of_worker_state()
    return np.random.default_rng([*np.random.randint(0, 2**31, size=4).tolist(), view])


@cache
def _warn_of_worker_state() -> None:
    print_log(
        'the augmentation depends on the number of loader workers, because the samples carry no seed; '
        'use the sampler histomm.SeededSampler, and no torch Subset around the data set',
        'current',
        logging.WARNING,
    )


class RandomTransform(BaseTransform):
    """Base of transforms that draw: they ask :meth:`generator` for their view's generator, never a global one."""

    @staticmethod
    def generator(results: dict) -> np.random.Generator:
        """The generator of the current view; made on first use and kept in ``results['rng']``."""
        if 'rng' not in results:
            results['rng'] = view_generator(results, results.get('view', 0))
        return results['rng']
