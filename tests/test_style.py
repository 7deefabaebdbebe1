"""Lint, format and types of the whole checkout."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    'command',
    [['ruff', 'check', '.'], ['ruff', 'format', '--check', '.'], ['mypy', 'histomm/functional', 'histomm/wsi']],
    ids=' '.join,
)
def test_passes(command, repo):
    done = subprocess.run([sys.executable, '-m', *command], cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
