"""Commit, machine and versions, held against what git, the system and pip say."""

import os
import re
import subprocess
import sys

import torch

from histomm.engine.provenance import commit, machine, processor, versions


def test_commit_is_that_of_git_and_tells_of_changes(tmp_path):
    def git(*command):
        who = '-c', 'user.name=somebody', '-c', 'user.email=somebody@example.org'
        done = subprocess.run(['git', *who, *command], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert commit(tmp_path) == 'unknown (no git checkout)'
    git('init')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/a.py').touch()
    git('add', 'tools')
    git('commit', '-m', 'one')
    (tmp_path / 'notes').touch()  # does not run
    assert commit(tmp_path) == git('rev-parse', '--short', 'HEAD')
    (tmp_path / 'tools/a.py').write_text('1')
    assert commit(tmp_path) == git('rev-parse', '--short', 'HEAD') + ' with changes'


def test_without_git_the_commit_is_unknown(repo, monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert commit(repo) == 'unknown (no git checkout)'


def test_machine():
    assert re.match(rf'{len(os.sched_getaffinity(0))} cores of \w', processor())
    assert machine().startswith(processor())
    assert machine().endswith(', no GPU') != torch.cuda.is_available()


def test_versions():
    found = dict(part.rsplit(' ', 1) for part in versions().split(', '))
    assert found['Python'] == sys.version.split()[0]
    assert torch.__version__.startswith(found['torch'])
