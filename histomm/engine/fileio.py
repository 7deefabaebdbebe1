"""Writing files that are either whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

#: Ending of the hidden file a write goes to before it is renamed; what is left of one is the trace of a killed process.
PARTIAL_SUFFIX = '.partial'


def write_atomic(data: bytes, path: str | Path) -> None:
    """Write ``data`` so that ``path`` holds either what it held before or all of it, even after a power cut.

    The bytes go to a hidden file in the same folder, which is flushed to the disk and renamed; a failed write leaves
    nothing behind, a killed process leaves a file that ends in :data:`PARTIAL_SUFFIX`.

    Args:
        data: The whole content.
        path: File to make or replace; its folder is made where it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}{PARTIAL_SUFFIX}')
    try:
        with open(partial, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == 'posix':  # the name is on the disk only once the folder is; other systems cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_partial(folder: str | Path) -> list[str]:
    """Remove what interrupted writes left in ``folder`` and return the names removed."""
    left = sorted(Path(folder).glob(f'.*{PARTIAL_SUFFIX}'))
    for path in left:
        path.unlink()
    return [path.name for path in left]


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
