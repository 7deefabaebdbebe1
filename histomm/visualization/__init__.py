"""Pictures of data, matches and results, and the page that gathers them."""

from .instances import draw_outlines
from .report import Item, Report

__all__ = ['Item', 'Report', 'draw_outlines']
