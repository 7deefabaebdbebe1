"""Metrics and probes."""

from .knn import knn_predict
from .representation import feature_std, rankme

__all__ = ['feature_std', 'knn_predict', 'rankme']
