"""Registered models: they hold parameters and state, and call ``histomm.functional``."""

from .backbones import ConfidenceNet, DilatedResNet, PatchViT, RegionViT, ResNetWithStem
from .data_preprocessors import BagDataPreprocessor, BatchViews, TokenDataPreprocessor, ViewDataPreprocessor
from .dense_branch import DenseBranch, DenseMaps
from .gather import gather_with_grad
from .heads import CrossCorrelationHead, UNetDecoder
from .matchers import DenseView, FeatureMatcher, LocationMatcher, Matches, PreciseLocationMatcher
from .mil import DSMIL, BagClassifier, BagSurvival, GatedABMIL, MaxMIL, MeanMIL, ViTWSI
from .necks import DenseNeck, DINONeck, MapProjector
from .optional_weights import PretrainedIfPresent
from .queue import FeatureQueue
from .selfsup import (
    DINO,
    SLPD,
    ConCL,
    DenseMoCo,
    PatchContrast,
    PixelReconstruction,
    ScalePretext,
    SimCLR,
    VICReg,
    with_dense_branch,
)
from .soft_threshold import SoftThreshold
from .supervised_confidence import SupervisedConfidence
from .teacher import EMATeacher
from .transfer import TransferReport, VerifiedPretrained, load_backbone

__all__ = [
    'DINO',
    'DSMIL',
    'SLPD',
    'BagClassifier',
    'BagDataPreprocessor',
    'BagSurvival',
    'BatchViews',
    'ConCL',
    'ConfidenceNet',
    'CrossCorrelationHead',
    'DINONeck',
    'DenseBranch',
    'DenseMaps',
    'DenseMoCo',
    'DenseNeck',
    'DenseView',
    'DilatedResNet',
    'EMATeacher',
    'FeatureMatcher',
    'FeatureQueue',
    'GatedABMIL',
    'LocationMatcher',
    'MapProjector',
    'Matches',
    'MaxMIL',
    'MeanMIL',
    'PatchContrast',
    'PatchViT',
    'PixelReconstruction',
    'PreciseLocationMatcher',
    'PretrainedIfPresent',
    'RegionViT',
    'ResNetWithStem',
    'ScalePretext',
    'SimCLR',
    'SoftThreshold',
    'SupervisedConfidence',
    'TokenDataPreprocessor',
    'TransferReport',
    'UNetDecoder',
    'VICReg',
    'VerifiedPretrained',
    'ViTWSI',
    'ViewDataPreprocessor',
    'gather_with_grad',
    'load_backbone',
    'with_dense_branch',
]
