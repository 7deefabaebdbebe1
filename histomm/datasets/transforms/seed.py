"""Seeded draws for transforms of other packages, which use the global generators."""

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from histomm.datasets.transforms.base import view_generator
from histomm.randomness import preserved_randomness
from histomm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedGlobalRandom(BaseTransform):
    """Runs transforms of other packages with global generators seeded by (seed, epoch, sample index, view).

    The transforms of mmcv, mmdet and mmseg draw from the global generators of numpy and Python, some from torch's, so
    that a sample looks different with another number of workers or after a resume. Here the three are seeded for the
    transforms inside, and have their former state again afterwards. Samples must come from
    :class:`~histomm.datasets.samplers.SeededSampler`.

    Required, modified and added keys are those of the transforms inside.

    Args:
        transforms: Configs of the transforms, in order.
    """

    def __init__(self, transforms: list[dict]) -> None:
        self.transforms = Compose(transforms)

    def transform(self, results: dict) -> dict | None:
        """Apply the transforms; ``None`` if one of them rejects the sample."""
        words = view_generator(results, results.get('view', 0)).integers(0, 2**32, size=4, dtype=np.uint32)
        with preserved_randomness():
            random.seed(int(words[0]))
            np.random.seed(words[1])
            torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
            return self.transforms(results)
