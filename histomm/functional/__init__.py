"""The maths of the methods: pure torch functions, one file a subject."""

from .attention import map_equivariance, map_smoothness
from .bags import attention_pool, masked_mean, masked_softmax, pad_bags
from .concepts import concept_prototypes, cut_labels, resample_rows
from .contrastive import info_nce, nt_xent, unit_rows
from .distill import dino_loss, distillation_entropies, distillation_loss, teacher_probabilities
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
from .patch_contrast import (
    ContrastTerms,
    draw_patches,
    gather_patches,
    patch_contrast_terms,
    patch_similarity,
    patch_statistics,
    window_grid,
)
from .positions import interpolate_positions
from .prototypes import best_assignment, prototype_neighbors, prototype_similarity
from .slide_prototypes import cluster_slides, member_means, nearest_elsewhere, region_targets
from .soft_threshold import share_level, soft_mask
from .survival import cox_loss, discrete_time_loss, survival_curve, time_bins
from .symmetries import dihedral, undo_dihedral
from .vicreg import vicreg_covariance, vicreg_invariance, vicreg_spread, vicreg_terms, vicreg_variance

__all__ = [
    'ContrastTerms',
    'ViewGeometry',
    'attention_pool',
    'best_assignment',
    'canonicalize',
    'cell_boxes',
    'cell_centers',
    'cluster_slides',
    'concept_prototypes',
    'cox_loss',
    'cut_labels',
    'dihedral',
    'dino_loss',
    'discrete_time_loss',
    'distillation_entropies',
    'distillation_loss',
    'draw_patches',
    'feature_match',
    'gather_patches',
    'info_nce',
    'interpolate_positions',
    'map_equivariance',
    'map_smoothness',
    'masked_mean',
    'masked_softmax',
    'member_means',
    'nearest_elsewhere',
    'nearest_match',
    'nt_xent',
    'overlap_factors',
    'overlap_matrix',
    'overlap_weights',
    'pad_bags',
    'patch_contrast_terms',
    'patch_similarity',
    'patch_statistics',
    'precise_match',
    'prototype_neighbors',
    'prototype_similarity',
    'region_targets',
    'resample_rows',
    'row_shares',
    'share_level',
    'soft_mask',
    'spherical_kmeans',
    'survival_curve',
    'teacher_probabilities',
    'time_bins',
    'undo_dihedral',
    'unit_rows',
    'vicreg_covariance',
    'vicreg_invariance',
    'vicreg_spread',
    'vicreg_terms',
    'vicreg_variance',
    'view_to_source',
    'window_grid',
]
