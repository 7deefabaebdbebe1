"""Self-supervised algorithms, one a file."""

from .concl import ConCL
from .dense_moco import DenseMoCo
from .vicreg import VICReg

__all__ = ['ConCL', 'DenseMoCo', 'VICReg']
