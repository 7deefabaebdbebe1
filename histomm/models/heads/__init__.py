"""Heads of pre-training and of downstream tasks."""

from .cross_correlation_head import CrossCorrelationHead
from .unet_head import UNetDecoder

__all__ = ['CrossCorrelationHead', 'UNetDecoder']
