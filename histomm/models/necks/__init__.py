"""Projection necks."""

from .dense_neck import DenseNeck

__all__ = ['DenseNeck']
