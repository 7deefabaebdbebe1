"""The maths of the methods: pure torch functions, one file a subject."""

from .concepts import concept_prototypes, cut_labels, resample_rows
from .contrastive import info_nce, nt_xent
from .geometry import ViewGeometry, canonicalize, cell_boxes, cell_centers, view_to_source
from .kmeans import spherical_kmeans
from .matching import (
    feature_match,
    nearest_match,
    overlap_factors,
    overlap_matrix,
    overlap_weights,
    precise_match,
    row_shares,
)

__all__ = [
    'ViewGeometry',
    'canonicalize',
    'cell_boxes',
    'cell_centers',
    'concept_prototypes',
    'cut_labels',
    'feature_match',
    'info_nce',
    'nearest_match',
    'nt_xent',
    'overlap_factors',
    'overlap_matrix',
    'overlap_weights',
    'precise_match',
    'resample_rows',
    'row_shares',
    'spherical_kmeans',
    'view_to_source',
]
