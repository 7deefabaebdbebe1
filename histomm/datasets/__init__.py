"""Data sets, samplers and transforms."""

from . import bcss, transforms
from .nuclei import NucleiDataset
from .patch_collection import PatchCollection
from .patch_dataset import PatchDataset
from .samplers import SampleIndex, SeededSampler
from .value_patches import ValuePatchDataset

__all__ = [
    'NucleiDataset',
    'PatchCollection',
    'PatchDataset',
    'SampleIndex',
    'SeededSampler',
    'ValuePatchDataset',
    'bcss',
    'transforms',
]
