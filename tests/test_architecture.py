"""Who may import whom, what pre-training needs, and how light the package is."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import REPO, command_options, draw_patches, pretraining_options

LEVELS = {
    'functional': 0,
    'wsi': 1,
    'datasets': 2,
    'models': 2,
    'engine': 3,
    'evaluation': 3,
    'visualization': 3,
    'doctor': 4,
}
"""Rooms of histomm from the lowest; a room imports its own level and what is below."""

PURE = {'functional', 'wsi'}
"""Rooms that know no registry and import nothing of histomm but themselves."""

BESIDE = {'wsi': {'histomm.atomic_file'}}
"""Modules beside the rooms that such a room may import; they import the standard library alone."""

LIBRARIES = {'functional': {'torch', 'scipy'}}
"""What a room may import beside the standard library, where that is limited; scipy for the Hungarian algorithm."""

FORBIDDEN = {'wsi': {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg'}}
WHERE_USED = {'mmdet', 'mmseg', 'mmcv.ops', 'mmcv._ext', 'pycocotools'}
"""What nothing may import at the top of a module: it is not needed by pre-training, and may be missing."""


def imported(source: str, module: str) -> list[tuple[str, bool]]:
    """Every module that ``source`` imports by its full name, and whether at the top of the module.

    Args:
        source: Text of a module.
        module: Its name; relative imports refer to it. Packages end in ``.__init__``.
    """
    tree, found = ast.parse(source), []
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(module.split('.')[: -node.level]) if node.level else ''
            base = '.'.join(part for part in (base, node.module) if part)
            names = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        found += [(name, id(node) not in inner) for name in names]
    return found


def room(name: str) -> str | None:
    """Room of a module of histomm; ``None`` for what stands beside the rooms, such as the registry."""
    parts = name.split('.')
    return parts[1] if parts[0] == 'histomm' and len(parts) > 1 and parts[1] in LEVELS else None


def violations(source: str, module: str) -> list[str]:
    """Imports of a module that its room forbids."""
    own, found = room(module), []
    for name, at_top in imported(source, module):
        library = name.partition('.')[0]
        if library == 'histomm':
            other = room(name)
            low = own in PURE and other != own and name.rpartition('.')[0] not in BESIDE.get(own, ())
            high = own and other and LEVELS[other] > LEVELS[own]
            beside = own is None and other and '__init__' not in module
            wrong = low or high or (beside and at_top)
        elif library in ('tools', 'configs', 'tests'):
            wrong = True
        else:
            limited = own in LIBRARIES and library not in LIBRARIES[own] | sys.stdlib_module_names
            wrong = limited or library in FORBIDDEN.get(own, ())
            wrong |= at_top and any(f'{name}.'.startswith(f'{part}.') for part in WHERE_USED)
        if wrong:
            found.append(f'{module} imports {name}')
    return found


def modules() -> dict[str, Path]:
    """All modules of histomm by name."""
    root = REPO / 'histomm'
    files = [path for path in root.rglob('*.py') if '.mim' not in path.parts]
    return {'.'.join(path.relative_to(REPO).with_suffix('').parts): path for path in files}


def test_imports_point_downwards():
    found = {name: path.read_text() for name, path in modules().items()}
    assert {'functional', 'models', 'datasets', 'engine', 'evaluation'} <= {room(name) for name in found}
    assert [line for name, source in found.items() for line in violations(source, name)] == []


def test_what_stands_beside_imports_the_standard_library_alone():
    for name in set().union(*BESIDE.values()):
        libraries = {found.partition('.')[0] for found, _ in imported(modules()[name].read_text(), name)}
        assert libraries <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ('module', 'source', 'wrong'),
    [
        ('histomm.functional.a', 'import numpy', True),
        ('histomm.functional.a', 'import math, torch.nn.functional', False),
        ('histomm.functional.a', 'from .geometry import cell_edges', False),
        ('histomm.functional.a', 'from ..registry import MODELS', True),
        ('histomm.functional.a', 'from histomm.registry import MODELS', True),
        ('histomm.wsi.reader', 'import numpy', False),
        ('histomm.wsi.reader', 'def f():\n    import torch', True),
        ('histomm.wsi.reader', 'from histomm.functional import geometry', True),
        ('histomm.wsi.stores', 'from histomm.atomic_file import atomic_path', False),
        ('histomm.functional.a', 'from histomm.atomic_file import atomic_path', True),
        ('histomm.models.a', 'from histomm.functional import info_nce', False),
        ('histomm.models.a', 'from histomm.engine import hooks', True),
        ('histomm.models.a', 'from histomm import functional', False),
        ('histomm.datasets.a', 'from histomm import visualization', True),
        ('histomm.datasets.transforms.a', 'from ...evaluation.knn import knn_predict', True),
        ('histomm.engine.a', 'from histomm.evaluation import rankme', False),
        ('histomm.engine.a', 'from histomm.doctor import findings', True),
        ('histomm.engine.a', 'from tools.train import main', True),
        ('histomm.engine.a', 'import mmdet.models', True),
        ('histomm.engine.a', 'from mmcv import ops', True),
        ('histomm.engine.a', 'def f():\n    import mmdet.models', False),
        ('histomm.engine.a', 'from mmcv.transforms import BaseTransform', False),
        ('histomm.config_file', 'from histomm.engine import launch', True),
    ],
)
def test_the_rule_sees_what_it_should(module, source, wrong):
    assert bool(violations(source, module)) == wrong


# ---- without mmdet, mmseg and compiled ops

BARE = """
import importlib, importlib.util, pkgutil, runpy, sys

class Without:
    '''A finder in whose eyes mmdet, mmseg and the compiled ops of mmcv are not installed.'''
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        missing = name.split('.')[0] in ('mmdet', 'mmseg', 'pycocotools') or name.startswith('mmcv._ext')
        return None if missing else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
assert importlib.util.find_spec('mmdet') is None and importlib.util.find_spec('mmcv._ext') is None
"""
IMPORT_ALL = """
import histomm
names = [module.name for module in pkgutil.walk_packages(histomm.__path__, 'histomm.')]
for name in names:
    if name != 'histomm.doctor.probe':
        importlib.import_module(name)
print(*names)
"""
RUN = """
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def bare(code: str, *args: str) -> tuple[int, str]:
    """Run code in an interpreter that has neither mmdet nor mmseg nor mmcv's ops; exit status and all it said."""
    done = subprocess.run(
        [sys.executable, '-c', BARE + code, *args],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_everything_imports_without_ops_and_detection():
    status, said = bare(IMPORT_ALL)
    assert status == 0, said[-2000:]
    assert {'histomm.models.selfsup.dense_moco', 'histomm.engine.launch'} <= set(said.split())


def test_pre_training_runs_without_ops_and_detection(tmp_path):
    options = pretraining_options(draw_patches(tmp_path), batch_size=4)
    config = str(REPO / 'configs/plm/moco_plm_r18_nct.py')
    status, said = bare(
        RUN, str(REPO / 'tools/train.py'), config, '--work-dir', str(tmp_path / 'run'),
        '--cfg-options', *command_options(options),
    )  # fmt: skip
    assert status == 0, said[-2000:]
    assert (tmp_path / 'run/epoch_1.pth').is_file()


def test_detection_says_what_to_install():
    status, said = bare(RUN, str(REPO / 'tools/train.py'), str(REPO / 'configs/glas/mask-rcnn_r18_fpn_glas.py'))
    assert status != 0
    assert (
        said.strip()
        .splitlines()[-1]
        .endswith(
            'uses mmdet, which is not installed; run `make setup`, or install onedl-mmdetection (docs/install.md)'
        )
    )


# ---- light


def test_importing_histomm_is_light():
    code = 'import sys, json, histomm; print(json.dumps(sorted(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    libraries = {name.partition('.')[0] for name in json.loads(done.stdout.splitlines()[-1])}
    heavy = {'torch', 'torchvision', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'cv2', 'timm', 'matplotlib', 'scipy'}
    assert libraries & heavy == set()
    assert 'mmengine' in libraries
