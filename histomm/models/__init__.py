"""Registered models: they hold parameters and state, and call ``histomm.functional``."""

from .matchers import DenseView, FeatureMatcher, LocationMatcher, Matches, PreciseLocationMatcher
from .necks import DenseNeck
from .queue import FeatureQueue
from .selfsup import DenseMoCo
from .teacher import EMATeacher

__all__ = [
    'DenseMoCo',
    'DenseNeck',
    'DenseView',
    'EMATeacher',
    'FeatureMatcher',
    'FeatureQueue',
    'LocationMatcher',
    'Matches',
    'PreciseLocationMatcher',
]
