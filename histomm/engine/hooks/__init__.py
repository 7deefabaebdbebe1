"""Hooks."""

from .checkpoint import AtomicCheckpointHook, latest_good_checkpoint
from .confidence_recorder import ConfidenceRecorder
from .data_wait import DataWaitHook
from .empty_epoch import EmptyEpochHook
from .feature_monitor import FeatureMonitorHook
from .fixed_lr import FixedLRHook
from .gradients import FrozenModuleHook, PerParameterClipHook
from .nonfinite import NonFiniteLossHook
from .online_knn import OnlineKNNHook
from .precise_bn import PreciseBNHook
from .profile import ProfileHook
from .prototypes import PrototypeHook
from .seed import SeedHook
from .unreadable import UnreadableFilesHook

__all__ = [
    'AtomicCheckpointHook',
    'ConfidenceRecorder',
    'DataWaitHook',
    'EmptyEpochHook',
    'FeatureMonitorHook',
    'FixedLRHook',
    'FrozenModuleHook',
    'NonFiniteLossHook',
    'OnlineKNNHook',
    'PerParameterClipHook',
    'PreciseBNHook',
    'ProfileHook',
    'PrototypeHook',
    'SeedHook',
    'UnreadableFilesHook',
    'latest_good_checkpoint',
]
