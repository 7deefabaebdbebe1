"""Writing HDF5 files that are either whole or absent, on a full disk too."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from histomm.atomic_file import atomic_path, remove_partial_of


@contextmanager
def atomic_hdf5(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Give a file to write to, which becomes ``path`` where the block ends without error; nobody else may write it.

    What a killed process left of the same file is removed first.

    Args:
        path: File to make or replace; its folder is made where it does not exist.

    Yields:
        The file; and a function that raises the ``OSError`` of a write that has failed, as the end of the block does.
    """
    remove_partial_of(path)
    with atomic_path(path) as partial, _FaultKeepingFile(partial) as raw:
        try:
            with h5py.File(raw, 'w') as file:
                yield file, raw.check
        finally:
            raw.check()  # rather than what HDF5 says of a file that lacks a part


class _FaultKeepingFile(io.FileIO):
    """A file that keeps a failed write to itself until asked: the HDF5 library may crash where it cannot write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 'w+')
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        if self.fault is None:
            try:
                left = memoryview(data).cast('B')
                while left:
                    left = left[super().write(left) :]
            except OSError as error:
                self.fault = error
        return memoryview(data).nbytes

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault
