"""Projection necks."""

from .dense_neck import DenseNeck
from .map_projector import MapProjector

__all__ = ['DenseNeck', 'MapProjector']
