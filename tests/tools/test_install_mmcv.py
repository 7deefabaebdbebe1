"""The set-up of mmcv: what a build is keyed by, when the compilers are wrapped, when it builds and when it does not."""

import os
import subprocess
from pathlib import Path

import pytest
from tool_modules import load_tool


@pytest.fixture
def module():
    return load_tool('tools/setup/install_mmcv.py')


@pytest.fixture
def torch_stand_in(module, tmp_path, monkeypatch):
    """A folder in the place of torch; returns a function that writes its version and its demand on the compiler."""
    folder = tmp_path / 'torch'
    (folder / 'include' / 'ATen').mkdir(parents=True)
    monkeypatch.setattr(module, 'torch_folder', lambda: folder)
    for name in ('FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'CUDA_VISIBLE_DEVICES', 'CXX', 'PYTORCH_NVCC'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, 'glob', lambda pattern: [])

    def write(version='2.14.1+cu130', standard=20):
        (folder / 'version.py').write_text(f"from typing import Optional\n__version__ = '{version}'\ncuda = None\n")
        lines = ['#pragma once', f'#error C++{standard} or later compatible compiler is required to use ATen.']
        (folder / 'include' / 'ATen' / 'ATen.h').write_text('\n'.join(lines))

    write()
    return write


@pytest.mark.parametrize('name', ['cxx20', 'nvcc20'])
def test_wrapper_raises_the_standard_and_nothing_else(repo, tmp_path, name):
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    compiler.chmod(0o755)
    env = {**os.environ, 'HISTOMM_CXX': str(compiler), 'HISTOMM_NVCC': str(compiler)}
    given = ['-O2', '-std=c++17', '-DX="a b"', "-DY='q'", '-std=c++14', '', '$HOME', '-c', 'my file.cpp']
    done = subprocess.run([repo / 'tools/setup' / name, *given], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split('\n')[:-1] == [arg.replace('c++17', 'c++20') for arg in given]


def test_key_names_all_that_a_build_depends_on(module, torch_stand_in, monkeypatch):
    monkeypatch.setattr(module.sys.implementation, 'cache_tag', 'cpython-311')
    assert module.build_key() == 'torch2.14.1+cu130-cpython-311-cpu'
    torch_stand_in(version='2.13.0+cpu')
    assert module.build_key() == 'torch2.13.0+cpu-cpython-311-cpu'
    monkeypatch.setattr(module, 'glob', lambda pattern: ['/dev/nvidia0'])
    assert module.build_key() == 'torch2.13.0+cpu-cpython-311-cuda'
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert module.build_key() == 'torch2.13.0+cpu-cpython-311-cpu'
    monkeypatch.setenv('FORCE_CUDA', '1')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0;9.0+PTX')
    assert module.build_key() == 'torch2.13.0+cpu-cpython-311-cuda-8.0_9.0+PTX'


def test_compilers_are_wrapped_only_where_torch_asks(module, torch_stand_in, monkeypatch):
    monkeypatch.setenv('CXX', 'clang++')
    env = module.compiler_environment()
    assert Path(env['CXX']).name == 'cxx20'
    assert Path(env['PYTORCH_NVCC']).name == 'nvcc20'
    assert env['HISTOMM_CXX'] == 'clang++'
    assert env['MAX_JOBS'] == str(len(os.sched_getaffinity(0)))
    torch_stand_in(standard=17)
    env = module.compiler_environment()
    assert env['CXX'] == 'clang++'
    assert 'PYTORCH_NVCC' not in env


@pytest.fixture
def machine(module, torch_stand_in, tmp_path, monkeypatch):
    """pip and the proof in a play: ``works`` tells whether the next proofs succeed, ``did`` what pip was asked."""

    class Machine:
        works: list[bool]
        did: list[str]

        def run(self, *works):
            self.works, self.did = list(works), []
            module.main()
            return self.did

    play = Machine()

    def pip(command, *args, env=None):
        name = 'onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl'
        if command == 'wheel':
            (Path(args[args.index('--wheel-dir') + 1]) / name).touch()
        if command == 'wheel' or '--force-reinstall' in args:
            play.did.append('build' if command == 'wheel' else 'install')

    monkeypatch.setattr(module, 'pip', pip)
    monkeypatch.setattr(module, 'prove', lambda: play.works.pop(0))
    monkeypatch.setattr(module, 'check_compilers', lambda: None)
    monkeypatch.setattr(module.sys, 'argv', ['install_mmcv.py', 'onedl-mmcv==2.3.6'])
    monkeypatch.setattr(module.sys, 'prefix', str(tmp_path / 'venv'))
    (tmp_path / 'venv').mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    play.note = tmp_path / 'venv' / '.histomm' / 'mmcv-built-for'
    return play


def test_builds_once_for_each_torch(machine, torch_stand_in):
    assert machine.run(True) == ['build', 'install']
    assert machine.note.read_text().startswith('torch2.14.1+cu130-')
    assert machine.run(True) == ['install']
    torch_stand_in(version='2.15.0')
    assert machine.run(True) == ['build', 'install']
    assert machine.note.read_text().startswith('torch2.15.0-')


def test_kept_wheel_that_does_not_work_is_built_again(machine):
    machine.run(True)
    assert machine.run(False, True) == ['install', 'build', 'install']
    assert machine.run(True) == ['install']


def test_build_that_does_not_work_fails_loudly_and_is_not_kept(machine):
    with pytest.raises(SystemExit, match='do not work'):
        machine.run(False)
    assert not machine.note.exists()
    assert machine.run(True) == ['build', 'install']
