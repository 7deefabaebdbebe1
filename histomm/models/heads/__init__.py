"""Heads of downstream tasks."""

from .unet_head import UNetDecoder

__all__ = ['UNetDecoder']
