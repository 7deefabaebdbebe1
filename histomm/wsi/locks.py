"""A lock file that one process holds at a time, on one machine or on several that share a folder."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == 'posix':
    import fcntl


class LockedError(RuntimeError):
    """Somebody else holds the lock."""


@contextmanager
def file_lock(path: str | Path, patience: float = 0) -> Iterator[None]:
    """Hold a lock for the time of the block.

    The operating system knows who holds it and releases it when that process ends, however it ends: there are no stale
    locks. The file says who holds it, for people; it is removed at the end, and one that a killed process has left is
    taken over. Machines that share a folder see each other's locks where its file system has them (NFS from version 4
    on, Lustre mounted with ``flock``).

    Args:
        path: Lock file; its folder is made where it does not exist.
        patience: Seconds to wait for whoever holds it.

    Raises:
        LockedError: somebody else holds it.
        OSError: the file system has no locks.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while (descriptor := _acquire(path, last_try=time.monotonic() >= deadline)) is None:
        time.sleep(0.02)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, last_try: bool) -> int | None:
    """Descriptor of the locked file, or ``None`` where it is held and there will be another try."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path)
            with suppress(FileNotFoundError):  # whoever held it has removed it since it was opened
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, LockedError) and not last_try:
                return None
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    if os.name != 'posix':
        raise OSError(errno.ENOTSUP, 'tiling needs the file locks of Linux or macOS', str(path))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors='replace').strip() or 'another process'
        raise LockedError(f'{path} is held by {holder}') from None
    except OSError as error:
        what = f'the file system has no locks ({error.strerror}); choose a folder on another one'
        raise OSError(error.errno, what, str(path)) from error
