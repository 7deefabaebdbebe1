"""Heads of pre-training and of downstream tasks."""

from .cross_correlation_head import CrossCorrelationHead
from .dropout_head import DropoutLinearHead
from .regression_head import RegressionHead
from .unet_head import UNetDecoder

__all__ = ['CrossCorrelationHead', 'DropoutLinearHead', 'RegressionHead', 'UNetDecoder']
