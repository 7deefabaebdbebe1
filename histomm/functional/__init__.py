"""The maths of the methods: pure torch functions, one file a subject."""

from .contrastive import info_nce
from .geometry import ViewGeometry, canonicalize
from .matching import (
    feature_match,
    nearest_match,
    overlap_factors,
    overlap_matrix,
    overlap_weights,
    precise_match,
)

__all__ = [
    'ViewGeometry',
    'canonicalize',
    'feature_match',
    'info_nce',
    'nearest_match',
    'overlap_factors',
    'overlap_matrix',
    'overlap_weights',
    'precise_match',
]
