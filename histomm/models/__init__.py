"""Registered models: they hold parameters and state, and call ``histomm.functional``."""

from .backbones import ResNetWithStem
from .data_preprocessors import ViewDataPreprocessor
from .dense_branch import DenseBranch, DenseMaps
from .heads import UNetDecoder
from .matchers import DenseView, FeatureMatcher, LocationMatcher, Matches, PreciseLocationMatcher
from .necks import DenseNeck
from .queue import FeatureQueue
from .selfsup import ConCL, DenseMoCo
from .teacher import EMATeacher
from .transfer import TransferReport, VerifiedPretrained, load_backbone

__all__ = [
    'ConCL',
    'DenseBranch',
    'DenseMaps',
    'DenseMoCo',
    'DenseNeck',
    'DenseView',
    'EMATeacher',
    'FeatureMatcher',
    'FeatureQueue',
    'LocationMatcher',
    'Matches',
    'PreciseLocationMatcher',
    'ResNetWithStem',
    'TransferReport',
    'UNetDecoder',
    'VerifiedPretrained',
    'ViewDataPreprocessor',
    'load_backbone',
]
