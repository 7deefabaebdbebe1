"""Kinds of slide files, each behind the same few methods: see :class:`~histomm.wsi.backends.base.Backend`."""

from histomm.wsi.backends.base import Backend, SlideFormatError
from histomm.wsi.backends.opening import open_backend

__all__ = ['Backend', 'SlideFormatError', 'open_backend']
