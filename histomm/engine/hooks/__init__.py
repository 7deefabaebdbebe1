"""Hooks."""

from .checkpoint import AtomicCheckpointHook, latest_good_checkpoint
from .data_wait import DataWaitHook
from .feature_monitor import FeatureMonitorHook
from .nonfinite import NonFiniteLossHook
from .online_knn import OnlineKNNHook
from .seed import SeedHook

__all__ = [
    'AtomicCheckpointHook',
    'DataWaitHook',
    'FeatureMonitorHook',
    'NonFiniteLossHook',
    'OnlineKNNHook',
    'SeedHook',
    'latest_good_checkpoint',
]
