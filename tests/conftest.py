"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parents[1]


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


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
