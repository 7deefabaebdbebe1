"""Multiple instance learning: aggregators of bags, and what is learned of them."""

from .bag_model import BagClassifier, BagModel, BagSurvival
from .dsmil import DSMIL, from_authors
from .gated_attention import GatedABMIL, GatedAttention
from .output import BagOutput
from .pooling import MaxMIL, MeanMIL
from .vit_wsi import ViTWSI

__all__ = [
    'DSMIL',
    'BagClassifier',
    'BagModel',
    'BagOutput',
    'BagSurvival',
    'GatedABMIL',
    'GatedAttention',
    'MaxMIL',
    'MeanMIL',
    'ViTWSI',
    'from_authors',
]
