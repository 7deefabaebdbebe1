"""Whether data are what they were: digests of names, sizes and contents, wherever they lie."""

import hashlib
import json
import os
from pathlib import Path

from histomm.engine.fileio import write_atomic

from .recipe import RecipeError

READ_WHOLE = 64 * 2**20
"""Bytes up to which a file is compared as a whole; of longer ones, such as slides, size and both ends are."""

END = 2**20


def digest_of(content: object) -> str:
    """Digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()[:16]


class Contents:
    """Digests of files and folders.

    Contents count because images of one size without compression (BMP, TIFF) are files of one size. They are read again
    only when a name, a size or a time of change is another than when they were read last.

    Args:
        path: File that remembers the digests.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        self._new = False

    def digest(self, path: Path) -> str:
        """Of a file, or of all files in a folder that are not hidden; links are followed.

        Raises:
            RecipeError: a file cannot be read.
        """
        files = [(name, place, os.stat(place)) for name, place in _files(path)]
        state = digest_of([str(path), [(name, stat.st_size, stat.st_mtime_ns) for name, _, stat in files]])
        if state not in self._known:
            contents = [(name, stat.st_size, _content(place, stat.st_size)) for name, place, stat in files]
            self._known[state], self._new = digest_of(contents), True
        return self._known[state]

    def keep(self) -> None:
        """Write the digests that are new."""
        if self._new:
            write_atomic(json.dumps(self._known).encode(), self.path)
            self._new = False


def _files(path: Path) -> list[tuple[str, str]]:
    """Name and place of each file; links that lead nowhere are none."""
    if path.is_file():
        return [(path.name, str(path))]
    found = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        places = [os.path.join(folder, name) for name in names if not name.startswith('.')]
        found += [(os.path.relpath(place, path), place) for place in places if os.path.isfile(place)]
    return sorted(found)


def _content(place: str, size: int) -> str:
    try:
        with open(place, 'rb') as file:
            content = file.read(END if size > READ_WHOLE else READ_WHOLE)
            if size > READ_WHOLE:
                file.seek(-END, os.SEEK_END)
                content += file.read()
    except OSError as error:
        raise RecipeError(f'{place}: cannot be read, {error.strerror}; it is among the data of a stage') from error
    return hashlib.sha256(content).hexdigest()[:16]
