"""Optimisers that neither torch nor mmpretrain has in the form that the papers use."""

from .lars import LARS

__all__ = ['LARS']
