"""With what something was made: commit, machine, versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ('histomm', 'torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmdetection', 'numpy')


def commit(root: Path) -> str:
    """Short hash of the checkout at ``root``, and whether what runs differs from it."""

    def git(*command: str) -> str:
        return subprocess.run(
            ['git', '-C', str(root), *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git('status', '--porcelain', '--', 'configs', 'histomm', 'tools')
        return git('rev-parse', '--short', 'HEAD') + (' with changes' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown (no git checkout)'


def processor() -> str:
    """Cores that this process may use, and their model."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{cores} cores of {models[0] if models else platform.processor() or platform.machine()}'


def machine() -> str:
    """Processor, and the GPUs if there are any."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    kinds = [f'{gpus.count(name)} × {name}' for name in dict.fromkeys(gpus)]
    return ', '.join([processor(), *(kinds or ['no GPU'])])


def versions() -> str:
    """Installed versions of what matters, one after the other."""
    found = [f'Python {platform.python_version()}']
    for package in PACKAGES:
        try:
            found.append(f'{package} {version(package)}')
        except PackageNotFoundError:
            continue
    return ', '.join(found)
