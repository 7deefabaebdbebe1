"""Versions, devices, compiled parts, and distributions that get in each other's way."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from .findings import Report

NEEDED = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'numpy', 'opencv-python')
WANTED = {
    'onedl-mmdetection': 'detection and instance segmentation',
    'onedl-mmsegmentation': 'semantic segmentation',
    'timm': 'timm backbones',
    'openslide-python': 'whole-slide images',
    'safetensors': 'weights in the safetensors format',
    'tensorboard': 'curves while training',
}
# maintained distribution -> upstream ones that install the same import name
UPSTREAM = {
    'onedl-mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite'),
    'onedl-mmengine': ('mmengine', 'mmengine-lite'),
    'onedl-mmdetection': ('mmdet',),
    'onedl-mmsegmentation': ('mmsegmentation',),
    'onedl-mmpretrain': ('mmpretrain',),
}
OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
PROBE = Path(__file__).with_name('probe.py')


def installed(name: str) -> str | None:
    """Version of a distribution, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _mmcv_name() -> str:
    present = [name for name in ('onedl-mmcv', *UPSTREAM['onedl-mmcv']) if installed(name)]
    return present[0] if present else 'onedl-mmcv'


def check_versions(report: Report) -> None:
    """List the distributions; one that histomm cannot do without is a fault where missing."""
    report.row('python', f'{platform.python_version()}  {sys.executable}')
    report.row('histomm', installed('histomm') or 'not installed, run from a checkout')
    for name in (*NEEDED, *WANTED):
        found = next((other for other in (name, *UPSTREAM.get(name, ())) if installed(other)), None)
        if found is None and name == 'opencv-python':
            found = next((other for other in OPENCV if installed(other)), None)
        report.row(name, 'missing' if found is None else f'{installed(found)}{"" if found == name else f" ({found})"}')
        if found is None and name in NEEDED:
            report.fault(name, 'not installed', 'run `make setup` (docs/install.md)')
        elif found is None:
            report.notice(name, f'not installed, needed for {WANTED[name]}', 'run `make setup` if you want that')


def check_devices(report: Report) -> None:
    """List cores, memory and GPUs."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30
    report.row('cpu', f'{cores} cores, {memory:.0f} GiB of memory')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        report.row(f'gpu {index}', f'{device.name}, {device.total_memory / 2**30:.0f} GiB')
    if count == 0:
        report.row('gpu', f'none in sight of torch {torch.__version__}')


def check_clashes(report: Report) -> None:
    """Find distributions that overwrite each other's files without a word from pip."""
    for ours, others in UPSTREAM.items():
        for other in others:
            if installed(ours) and installed(other):
                report.fault(
                    other,
                    f'{other} {installed(other)} and {ours} {installed(ours)} are both installed into one folder',
                    f'make a fresh environment (`make distclean setup`), or uninstall both and install {ours} again',
                )
            elif installed(other):
                report.notice(
                    other,
                    f'{other} {installed(other)} stands in for {ours}, which histomm is tried with',
                    f'`pip uninstall {other}` and install {ours} if something fails to import',
                )
    present = [name for name in OPENCV if installed(name)]
    if len(present) > 1:
        report.fault(
            'opencv',
            ' and '.join(f'{name} {installed(name)}' for name in present) + ' are both installed into one folder',
            f'`pip uninstall {" ".join(present)}`, then `pip install opencv-python`',
        )


def check_torchvision(report: Report) -> None:
    """Compare the torch that torchvision asks for with the one that is there, and run torchvision's own ops."""
    if not (installed('torch') and installed('torchvision')):
        return
    asked = [re.match(r'torch\s*\(?==\s*([\w.]+)', line) for line in requires('torchvision') or []]
    wanted = next((match[1] for match in asked if match), None)
    found = installed('torch').split('+')[0]
    if wanted and wanted.split('+')[0] != found:
        what = f'torchvision {installed("torchvision")} was made for torch {wanted}, found torch {found}'
        report.fault('torchvision', what, 'install a matching pair: `pip install torch torchvision` from one index')
        return
    works, line = run_probe('torchvision')
    report.row('torchvision ops', line)
    if not works:
        report.fault('torchvision', line, 'install torch and torchvision from the same index')


def check_opencv(report: Report) -> None:
    """Import OpenCV, which needs system libraries, and code a picture."""
    if not any(installed(name) for name in OPENCV):
        return
    works, line = run_probe('opencv')
    report.row('opencv works', line)
    if not works and 'libG' in line:
        report.fault('opencv', line, 'install its system libraries: `apt-get install libgl1 libglib2.0-0`')
    elif not works:
        report.fault('opencv', line, 'reinstall it: `pip install --force-reinstall --no-deps opencv-python`')


def check_ops(report: Report, need_ops: bool) -> None:
    """Run mmcv's compiled ops; without them histomm still pre-trains, so their absence alone is a notice.

    Args:
        report: Where to write.
        need_ops: Whether the absence of the ops is a fault.
    """
    if installed(_mmcv_name()) is None:
        return
    rebuild = 'build them for this torch: `python tools/setup/install_mmcv.py`'
    if find_spec('mmcv._ext') is None:
        report.row('compiled ops', 'none')
        tell = report.fault if need_ops else report.notice
        tell('compiled ops', 'mmcv was built without ops, which mmdet and some of mmseg need', rebuild)
        return
    works, line = run_probe('ops')
    report.row('compiled ops', line if works else 'broken')
    built_for = ops_built_for()
    if not works:
        reason = f'built for another torch ({line})' if 'undefined symbol' in line else line
        report.fault('compiled ops', reason, rebuild)
    elif built_for and built_for != torch_version():
        report.fault('compiled ops', f'built for torch {built_for}, found torch {torch_version()}', rebuild)


def ops_built_for() -> str | None:
    """The torch that the set-up built mmcv for, or None where something else installed it."""
    note = Path(sys.prefix) / '.histomm' / 'mmcv-built-for'
    match = re.match(r'torch([^-]+)-', note.read_text()) if note.is_file() else None
    return match[1] if match else None


def torch_version() -> str:
    """Version of torch with its local part, such as ``2.14.1+cu130``."""
    import torch

    return str(torch.__version__)


def run_probe(name: str) -> tuple[bool, str]:
    """Run one check of ``probe.py`` in an interpreter of its own, with this one's search path.

    Returns:
        Whether it succeeded, and its last line.
    """
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, str(PROBE), name], env=env, capture_output=True, text=True)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode < 0:
        return False, f'the interpreter was killed by signal {-done.returncode}'
    return done.returncode == 0, lines[-1] if lines else f'exit status {done.returncode}'


def check_environment(report: Report, need_ops: bool = False) -> None:
    """All checks that need no config.

    Args:
        report: Where to write.
        need_ops: Whether the absence of mmcv's compiled ops is a fault.
    """
    check_versions(report)
    check_clashes(report)
    if not installed('torch'):
        return
    check_devices(report)
    check_opencv(report)
    check_torchvision(report)
    check_ops(report, need_ops)
