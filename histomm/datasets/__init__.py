"""Data sets, samplers and transforms."""

from . import bcss, transforms
from .patch_dataset import PatchDataset
from .samplers import SampleIndex, SeededSampler

__all__ = ['PatchDataset', 'SampleIndex', 'SeededSampler', 'bcss', 'transforms']
