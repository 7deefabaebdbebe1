"""Where the random draws of transforms come from."""

import numpy as np
from mmcv.transforms import BaseTransform

from histomm.datasets.samplers import SampleIndex


def view_generator(results: dict, view: int = 0) -> np.random.Generator:
    """Generator for one view of one sample, seeded by (seed, epoch, sample index, view).

    Views count from 1; 0 is for draws that concern the sample as a whole.

    A sample that was not drawn by :class:`~histomm.datasets.samplers.SeededSampler` carries no epoch; its generator is
    then seeded from numpy's global state, so that views still differ from epoch to epoch.
    """
    index = results.get('sample_idx')
    if isinstance(index, SampleIndex):
        return np.random.default_rng([index.seed, index.epoch, index.drawn, view])
    return np.random.default_rng([*np.random.randint(0, 2**31, size=4).tolist(), view])


class RandomTransform(BaseTransform):
    """Base of transforms that draw: they ask :meth:`generator` for their view's generator, never a global one."""

    @staticmethod
    def generator(results: dict) -> np.random.Generator:
        """The generator of the current view; made on first use and kept in ``results['rng']``."""
        if 'rng' not in results:
            results['rng'] = view_generator(results, results.get('view', 0))
        return results['rng']
