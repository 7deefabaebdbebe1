"""Backbones."""

from .confidence_net import ConfidenceNet
from .resnet_with_stem import ResNetWithStem

__all__ = ['ConfidenceNet', 'ResNetWithStem']
