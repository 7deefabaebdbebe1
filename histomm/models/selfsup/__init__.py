"""Self-supervised algorithms, one a file."""

from .concl import ConCL
from .dense_moco import DenseMoCo

__all__ = ['ConCL', 'DenseMoCo']
