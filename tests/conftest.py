"""Fixtures that several test files share."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin
from yapf.yapflib import yapf_api

REPO = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest."""
    items.sort(key=lambda item: item.get_closest_marker('long') is None)


@pytest.fixture(scope='session')
def repo() -> Path:
    """Root of the checkout."""
    return REPO


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder of real tissue; tests that want it are skipped where it is absent."""
    root = Path(os.environ.get('HISTOMM_REAL_DATA', REPO.parent / 'shared' / 'data')).resolve()
    if not (root / 'MANIFEST.md').is_file():
        pytest.skip(f'no real tissue at {root}; set HISTOMM_REAL_DATA')
    return root


@pytest.fixture
def small_disk(tmp_path):
    """A file system that can grow."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def resize(size, how='remount,'):
        command = ['mount', '-t', 'tmpfs', '-o', f'{how}size={size}', 'tmpfs', str(folder)]
        return subprocess.run(command, capture_output=True).returncode

    if shutil.which('mount') is None or resize('400k', ''):
        pytest.skip('mounting a file system is not permitted here')
    yield folder, resize
    with contextlib.suppress(OSError):
        subprocess.run(['umount', '-l', str(folder)], check=False)


@pytest.fixture(scope='session', autouse=True)
def _configs_formatted_once():
    """A run has mmengine format its config some seven times, which takes longer than training for a step."""
    original, found = yapf_api.FormatCode, {}

    def once(text, **options):
        key = (text, repr(options))
        if key not in found:
            found[key] = original(text, **options)
        return found[key]

    yapf_api.FormatCode = once
    yield
    yapf_api.FormatCode = original


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_run_of_another_test():
    """mmengine keeps loggers and visualizers by class, name and second: a run of the same second would get them."""
    kinds = [ManagerMixin]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind is not DefaultScope:
            kind._instance_dict.clear()
