"""Wheels and source archives carry the configs, and ``scope::path`` resolves wherever histomm lies."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from mmengine.config import Config

PARTS = (
    'histomm',
    'configs',
    'tools',
    'requirements',
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'LICENSE',
    'model-index.yml',
)
SHIPPED = 'plm/moco_plm_r18_nct.py'


def run(*args: str, cwd: Path, path: Path | None = None) -> str:
    env = {**os.environ, 'PYTHONPATH': str(path) if path else ''}
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def checkout(repo, tmp_path_factory):
    """A copy, for building leaves folders behind."""
    copy = tmp_path_factory.mktemp('checkout')
    for part in PARTS:
        source = repo / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
        elif source.exists():
            shutil.copy(source, copy / part)
    return copy


def build_wheel(source: Path, out: Path) -> Path:
    run('-m', 'pip', 'wheel', '.', '-q', '--no-deps', '--no-build-isolation', '-w', str(out), cwd=source)
    return next(out.glob('histomm-*.whl'))


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory):
    return build_wheel(checkout, tmp_path_factory.mktemp('wheel'))


def configs_of(repo: Path) -> set[str]:
    return {str(path.relative_to(repo)) for path in (repo / 'configs').rglob('*.py') if '__pycache__' not in path.parts}


def test_wheel_holds_every_config_and_tool(repo, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f'histomm/.mim/{name}' for name in configs_of(repo)} <= names
    assert {'histomm/.mim/tools/train.py', 'histomm/.mim/model-index.yml', 'histomm/registry.py'} <= names
    assert not {name for name in names if name.startswith(('tests/', 'configs/', 'tools/'))}


def test_source_archive_makes_the_same_wheel(checkout, wheel, tmp_path):
    run('setup.py', '-q', 'sdist', '-d', str(tmp_path), cwd=checkout)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        assert not [member.name for member in archive if member.issym()]
        archive.extractall(tmp_path / 'source', filter='data')
    again = build_wheel(next((tmp_path / 'source').iterdir()), tmp_path / 'again')
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


RESOLVE = """
import json, sys
import histomm
from mmengine.config import Config
loaded = [Config.fromfile(path).to_dict() for path in sys.argv[1:]]
print(json.dumps(dict(where=histomm.__file__, loaded=loaded)))
"""


def without_scopes(node):
    """A config without the marks that mmengine leaves in what it inherits from another package."""
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    return [without_scopes(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize('place', ['wheel', 'checkout'])
def test_configs_of_other_people_inherit(place, repo, wheel, tmp_path):
    folder = repo
    if place == 'wheel':
        folder = tmp_path / 'site'
        zipfile.ZipFile(wheel).extractall(folder)
    bases = {'ours.py': f'histomm::{SHIPPED}', 'seg.py': 'mmseg::_base_/schedules/schedule_20k.py'}
    for name, base in bases.items():
        (tmp_path / name).write_text(f'_base_ = {base!r}\n')
    (tmp_path / 'ours.yaml').write_text(f'_base_: histomm::{SHIPPED}\nwork_dir: elsewhere\n')
    out = json.loads(run('-c', RESOLVE, 'ours.py', 'ours.yaml', 'seg.py', cwd=tmp_path, path=folder).splitlines()[-1])
    shipped = json.loads(json.dumps(Config.fromfile(repo / 'configs' / SHIPPED).to_dict()))
    assert Path(out['where']).parent == folder / 'histomm'
    assert without_scopes(out['loaded'][0]) == shipped
    assert without_scopes(out['loaded'][1]) == {**shipped, 'work_dir': 'elsewhere'}
    assert out['loaded'][2]['train_cfg']['max_iters'] == 20000


# ---- requirements


def read(repo: Path, name: str) -> dict[str, str]:
    lines = (repo / 'requirements' / f'{name}.txt').read_text().splitlines()
    lines = [line for line in map(str.strip, lines) if line and not line.startswith('#')]
    return {re.match(r'[\w.-]+', line)[0].lower().replace('_', '-'): line for line in lines}


def test_every_requirement_has_a_tried_version(repo):
    tried = read(repo, 'constraints')
    wanted = {
        name
        for file in ('build', 'mminstall', 'nodeps', 'runtime', 'detection', 'optional', 'peers', 'tests')
        for name in read(repo, file)
    }
    assert wanted <= set(tried)
    assert all('==' in line for line in tried.values())


def test_one_opencv(repo):
    files = ('constraints', 'mminstall', 'runtime', 'detection', 'optional', 'tests')
    names = {name for file in files for name in read(repo, file) if name.startswith('opencv')}
    assert names == {'opencv-python'}


def test_everything_imported_is_required(repo):
    imported = set()
    for path in [*(repo / 'histomm').rglob('*.py'), *(repo / 'tools').rglob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition('.')[0])
    files = ('build', 'mminstall', 'nodeps', 'runtime', 'detection', 'optional', 'peers')
    required = {name for file in files for name in read(repo, file)}
    local = {path.stem for path in (repo / 'tools').rglob('*.py')} | {'histomm', *sys.stdlib_module_names}
    distributions = packages_distributions()
    unknown = {
        name
        for name in imported - local
        if not required & {found.lower().replace('_', '-') for found in distributions.get(name, [name])}
    }
    assert unknown == set()


def test_installation_page_names_what_exists(repo):
    page = (repo / 'docs' / 'install.md').read_text()
    files = set(re.findall(r'(?:tools|requirements|configs)/[\w./-]+\w', page))
    assert len(files) > 5
    assert {file for file in files if not (repo / file).exists()} == set()
    targets = {word for line in re.findall(r'\bmake((?: [a-z]+)+)', page) for word in line.split()}
    known = set(re.search(r'^\.PHONY: (.*)$', (repo / 'Makefile').read_text(), re.M)[1].split())
    assert {'setup', 'wheelhouse', 'distclean'} <= targets & known
    variables = set(re.findall(r'make setup ([A-Z_]+)=', page))
    assert {name for name in variables if f'\n{name} ?=' not in (repo / 'Makefile').read_text()} == set()
