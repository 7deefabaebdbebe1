"""Writing checkpoints and files of a run that are either whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from histomm.atomic_file import PARTIAL_SUFFIX, remove_partial, write_atomic

__all__ = ['PARTIAL_SUFFIX', 'AtomicLocalBackend', 'remove_partial', 'write_atomic']


@register_backend('histomm.atomic')
class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with atomic writes, and removals that can wait until a write has succeeded.

    Use it as ``backend_args=dict(backend='histomm.atomic')`` wherever mmengine takes ``backend_args``.
    """

    def __init__(self) -> None:
        self._deferred: list[tuple[str | Path, int]] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, see :func:`write_atomic`."""
        write_atomic(obj, filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text, see :func:`write_atomic`."""
        write_atomic(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, within :meth:`deferred_removal` at its end."""
        if self._deferred is None:
            super().remove(filepath)
        else:
            self._deferred.append((filepath, os.stat(filepath).st_ino))

    @contextmanager
    def deferred_removal(self) -> Iterator[None]:
        """Hold removals back until the block ends; when it raises, nothing is removed. Blocks may nest.

        A file that the block itself replaces stays.
        """
        if self._deferred is not None:
            yield
            return
        self._deferred = []
        try:
            yield
            removals = self._deferred
        finally:
            self._deferred = None
        for filepath, inode in removals:
            if os.stat(filepath).st_ino == inode:
                self.remove(filepath)
