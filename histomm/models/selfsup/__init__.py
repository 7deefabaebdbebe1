"""Self-supervised algorithms, one a file."""

from .concl import ConCL
from .dense_moco import DenseMoCo
from .dino import DINO
from .patch_contrast import PatchContrast
from .reconstruction import PixelReconstruction
from .scale_pretext import ScalePretext
from .simclr import SimCLR
from .slpd import SLPD
from .vicreg import VICReg
from .with_dense_branch import with_dense_branch

__all__ = [
    'DINO',
    'SLPD',
    'ConCL',
    'DenseMoCo',
    'PatchContrast',
    'PixelReconstruction',
    'ScalePretext',
    'SimCLR',
    'VICReg',
    'with_dense_branch',
]
