"""Backbones."""

from .confidence_net import ConfidenceNet
from .dilated_resnet import DilatedResNet
from .resnet_with_stem import ResNetWithStem
from .vits import PatchViT, RegionViT

__all__ = ['ConfidenceNet', 'DilatedResNet', 'PatchViT', 'RegionViT', 'ResNetWithStem']
