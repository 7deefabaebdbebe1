"""Optimisers and their wrappers that neither torch nor mmpretrain has in the form that is wanted here."""

from .autocast import AutocastOptimWrapper
from .lamb import LAMB
from .lars import LARS

__all__ = ['LAMB', 'LARS', 'AutocastOptimWrapper']
