"""Files and folders are whole or absent, and nothing of a failed write stays."""

import os

import pytest

from histomm.atomic_file import atomic_folder, atomic_path, remove_partial_of, write_atomic


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


def fail(path):
    path.write_bytes(b'half')
    raise OSError(28, 'No space left on device')


def test_file(tmp_path):
    path = tmp_path / 'new' / 'a.bin'
    with atomic_path(path) as partial:
        partial.write_bytes(b'one')
        assert names(path.parent) == [f'.a.bin.{os.getpid()}.partial']
    assert path.read_bytes() == b'one'
    with pytest.raises(OSError, match='No space left'), atomic_path(path) as partial:
        fail(partial)
    assert path.read_bytes() == b'one'
    write_atomic(b'two', path)
    assert path.read_bytes() == b'two'
    assert names(path.parent) == ['a.bin']


def test_folder(tmp_path):
    path = tmp_path / 'new' / 'a'
    with atomic_folder(path) as partial:
        (partial / 'one').touch()
        assert not path.exists()
    with pytest.raises(OSError, match='No space left'), atomic_folder(path) as partial:
        fail(partial / 'two')
    assert names(path.parent) == ['a', 'a/one']
    with atomic_folder(path) as partial:
        (partial / 'three').touch()
    assert names(path.parent) == ['a', 'a/three']


def test_traces_of_one_name_are_removed(tmp_path):
    (tmp_path / '.a.svs.12.partial').touch()
    (tmp_path / '.a.svs.34.partial').mkdir()
    (tmp_path / '.a.svs.34.partial' / 'tile').touch()
    kept = ['.a.svs.b.svs.12.partial', '.a.svs.partial', '.axsvs.12.partial', 'a.svs']
    for name in kept:
        (tmp_path / name).touch()
    remove_partial_of(tmp_path / 'a.svs')
    assert names(tmp_path) == sorted(kept)
    remove_partial_of(tmp_path / 'none' / 'a.svs')
