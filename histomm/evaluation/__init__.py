"""Metrics and probes."""

from .bootstrap import Interval, bootstrap_interval, bootstrap_intervals
from .channel_choice import choose_channel, summarize_restarts
from .classification import classification_scores, confusion_matrix, confusion_scores, macro_auc, mean_absolute_error
from .classification_metric import ClassificationMetric, RegressionMetric
from .confidence_metric import ConfidenceMetric
from .confidence_scores import ChannelScores, channel_scores
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
from .nuclei_post import clean_mask, dice, split_nuclei
from .overlap_scores import (
    OverlapScores,
    OverlapTerms,
    aggregated_jaccard,
    overlap_scores,
    overlap_terms,
    panoptic_quality,
)
from .patient_metric import MajorityVoteMetric, PatientAccuracyMetric
from .patient_scores import image_level_accuracy, majority_vote, patient_level_accuracy
from .representation import feature_std, rankme
from .splits import Split, kfold_splits, label_fraction, split_parts
from .survival_metric import SurvivalMetric, concordance_index

__all__ = [
    'ChannelScores',
    'ClassificationMetric',
    'ConfidenceMetric',
    'GlandMetric',
    'GlandScores',
    'GlandTerms',
    'InstanceOverlapMetric',
    'Interval',
    'JaccardDiceMetric',
    'MajorityVoteMetric',
    'OverlapScores',
    'OverlapTerms',
    'PatientAccuracyMetric',
    'RegressionMetric',
    'Split',
    'SurvivalMetric',
    'aggregated_jaccard',
    'bootstrap_interval',
    'bootstrap_intervals',
    'channel_scores',
    'choose_channel',
    'classification_scores',
    'clean_mask',
    'concordance_index',
    'confusion_matrix',
    'confusion_scores',
    'dice',
    'feature_std',
    'gland_scores',
    'gland_terms',
    'hausdorff_distance',
    'image_level_accuracy',
    'kfold_splits',
    'knn_predict',
    'label_fraction',
    'macro_auc',
    'majority_vote',
    'mean_absolute_error',
    'object_dice',
    'object_f1',
    'object_hausdorff',
    'overlap_scores',
    'overlap_terms',
    'panoptic_quality',
    'patient_level_accuracy',
    'predicted_label_map',
    'rankme',
    'split_nuclei',
    'split_parts',
    'summarize_restarts',
]
