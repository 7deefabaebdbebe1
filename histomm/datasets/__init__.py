"""Data sets, samplers and transforms."""

from . import bcss, transforms
from .nuclei import NucleiDataset
from .patch_dataset import PatchDataset
from .samplers import SampleIndex, SeededSampler

__all__ = ['NucleiDataset', 'PatchDataset', 'SampleIndex', 'SeededSampler', 'bcss', 'transforms']
