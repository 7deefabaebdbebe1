"""Writing files that are either whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Ending of the hidden file a write goes to before it is renamed; what is left of one is the trace of a killed process.
PARTIAL_SUFFIX = '.partial'


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a hidden file to write to, beside ``path``; it becomes ``path`` where the block ends without error.

    The file is flushed to the disk before it is renamed. A failed write leaves nothing behind, a killed process leaves
    a file that ends in :data:`PARTIAL_SUFFIX`.

    Args:
        path: File to make or replace; its folder is made where it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}{PARTIAL_SUFFIX}')
    try:
        yield partial
        with open(partial, 'rb+') as file:
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


def write_atomic(data: bytes, path: str | Path) -> None:
    """Write ``data`` so that ``path`` holds either what it held before or all of it, see :func:`atomic_path`.

    Args:
        data: The whole content.
        path: File to make or replace.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def remove_partial(folder: str | Path) -> list[str]:
    """Remove what interrupted writes left in ``folder`` and return the names removed."""
    left = sorted(Path(folder).glob(f'.*{PARTIAL_SUFFIX}'))
    for path in left:
        path.unlink()
    return [path.name for path in left]
