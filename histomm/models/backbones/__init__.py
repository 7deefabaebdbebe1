"""Backbones."""

from .confidence_net import ConfidenceNet
from .dilated_resnet import DilatedResNet
from .resnet_with_stem import ResNetWithStem

__all__ = ['ConfidenceNet', 'DilatedResNet', 'ResNetWithStem']
