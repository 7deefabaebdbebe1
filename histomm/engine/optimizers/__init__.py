"""Optimisers that neither torch nor mmpretrain has in the form that the papers use."""

from .lamb import LAMB
from .lars import LARS

__all__ = ['LAMB', 'LARS']
