"""Data sets, samplers and transforms."""

from . import bcss, transforms
from .bags import BagDataset
from .balanced_sampler import BalancedSampler
from .collate import pad_collate
from .grid_patches import GridPatchDataset
from .magnification_sets import MagnificationSetDataset
from .neighbourhood_sampler import NeighbourhoodSampler
from .nuclei import NucleiDataset
from .patch_collection import PatchCollection
from .patch_dataset import PatchDataset
from .region_tokens import RegionTokenDataset
from .samplers import SampleIndex, SeededSampler
from .slide_magnifications import SlideMagnificationDataset
from .slide_tiles import SlideTileDataset
from .stored_tiles import StoredTileDataset
from .value_patches import ValuePatchDataset

__all__ = [
    'BagDataset',
    'BalancedSampler',
    'GridPatchDataset',
    'MagnificationSetDataset',
    'NeighbourhoodSampler',
    'NucleiDataset',
    'PatchCollection',
    'PatchDataset',
    'RegionTokenDataset',
    'SampleIndex',
    'SeededSampler',
    'SlideMagnificationDataset',
    'SlideTileDataset',
    'StoredTileDataset',
    'ValuePatchDataset',
    'bcss',
    'pad_collate',
    'transforms',
]
