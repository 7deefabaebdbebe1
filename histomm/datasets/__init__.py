"""Data sets, samplers and transforms."""

from .samplers import SampleIndex, SeededSampler

__all__ = ['SampleIndex', 'SeededSampler']
