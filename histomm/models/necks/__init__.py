"""Projection necks."""

from .dense_neck import DenseNeck
from .dino_neck import DINONeck
from .map_projector import MapProjector

__all__ = ['DINONeck', 'DenseNeck', 'MapProjector']
