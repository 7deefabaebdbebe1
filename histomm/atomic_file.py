"""Writing files that are either whole or absent."""

import os
import re
import shutil
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
    _flush_folder(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a hidden folder to write to, beside ``path``; it becomes ``path`` where the block ends without error.

    A folder that is there already is replaced. What a failed block has written is removed. The files are not flushed
    one by one: the folder is whole after a killed process, not after a power cut.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}{PARTIAL_SUFFIX}')
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    if os.name == 'posix':  # a name is on the disk only once its folder is; other systems cannot open a folder
        folder = os.open(path, os.O_RDONLY)
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


def remove_partial_of(path: str | Path) -> None:
    """Remove what interrupted writes of ``path`` left; nobody else may be writing it."""
    path = Path(path)
    trace = re.compile(rf'\.{re.escape(path.name)}\.\d+{re.escape(PARTIAL_SUFFIX)}')
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        if trace.fullmatch(left.name):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
