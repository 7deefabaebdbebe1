"""Heads of pre-training and of downstream tasks."""

from .cosine_similarity_loss import CosineSimilarityLoss
from .cross_correlation_head import CrossCorrelationHead
from .dropout_head import DropoutLinearHead
from .regression_head import RegressionHead
from .unet_head import UNetDecoder

__all__ = ['CosineSimilarityLoss', 'CrossCorrelationHead', 'DropoutLinearHead', 'RegressionHead', 'UNetDecoder']
