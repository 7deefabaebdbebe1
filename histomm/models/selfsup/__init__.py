"""Self-supervised algorithms, one a file."""

from .dense_moco import DenseMoCo

__all__ = ['DenseMoCo']
