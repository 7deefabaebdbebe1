"""Packaging of histomm: what it is called, what it needs, and its configs and tools under ``histomm/.mim``.

``configs``, ``tools`` and ``model-index.yml`` there are links into the checkout; wheels and source archives carry the
files themselves, so that ``histomm::plm/moco_plm_r18_nct.py`` resolves wherever histomm is installed.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith('#')]


def version():
    return re.search(r"__version__ = '([^']+)'", (ROOT / 'histomm' / 'version.py').read_text())[1]


def mim_files():
    mim = ROOT / 'histomm' / '.mim'
    files = [file for folder in (mim / 'configs', mim / 'tools') for file in folder.rglob('*') if file.is_file()]
    files = [mim / 'model-index.yml', *files]
    return [str(file.relative_to(ROOT / 'histomm')) for file in files if '__pycache__' not in file.parts]


core = [line for line in requirements('mminstall') if 'mmsegmentation' not in line]
extras = {
    'detection': requirements('nodeps') + requirements('detection'),
    'segmentation': [line for line in requirements('mminstall') if 'mmsegmentation' in line],
    'optional': requirements('optional'),
    'tests': requirements('tests'),
}
extras['all'] = sorted({line for lines in extras.values() for line in lines})

setup(
    name='histomm',
    version=version(),
    description='Self-supervised learning on histopathology images, as an OpenMMLab package',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['histomm', 'histomm.*']),
    package_data={'histomm': mim_files()},
    python_requires='>=3.10',
    install_requires=core + requirements('runtime'),
    extras_require=extras,
    zip_safe=False,
)
