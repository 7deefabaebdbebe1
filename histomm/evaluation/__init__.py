"""Metrics and probes."""

from .gland_scores import (
    GlandScores,
    GlandTerms,
    gland_scores,
    gland_terms,
    hausdorff_distance,
    object_dice,
    object_f1,
    object_hausdorff,
)
from .instance_masks import predicted_label_map
from .instance_metric import GlandMetric, InstanceOverlapMetric
from .jaccard_dice import JaccardDiceMetric
from .knn import knn_predict
from .overlap_scores import (
    OverlapScores,
    OverlapTerms,
    aggregated_jaccard,
    overlap_scores,
    overlap_terms,
    panoptic_quality,
)
from .representation import feature_std, rankme

__all__ = [
    'GlandMetric',
    'GlandScores',
    'GlandTerms',
    'InstanceOverlapMetric',
    'JaccardDiceMetric',
    'OverlapScores',
    'OverlapTerms',
    'aggregated_jaccard',
    'feature_std',
    'gland_scores',
    'gland_terms',
    'hausdorff_distance',
    'knn_predict',
    'object_dice',
    'object_f1',
    'object_hausdorff',
    'overlap_scores',
    'overlap_terms',
    'panoptic_quality',
    'predicted_label_map',
    'rankme',
]
