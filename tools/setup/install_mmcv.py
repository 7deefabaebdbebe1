"""Install mmcv with compiled ops, built for the torch of the environment that runs this file, and prove that they work.

The sources compile for minutes, so the wheel is kept in ``$XDG_CACHE_HOME/histomm/mmcv`` (``~/.cache`` where unset), in
a folder named after everything it depends on: torch, Python, CPU or CUDA, mmcv. pip's own cache knows nothing of torch
and is not used. A kept wheel that fails the proof is built again.

    python tools/setup/install_mmcv.py REQUIREMENT [--constraint FILE]   # build, or take the kept wheel, and prove
    python tools/setup/install_mmcv.py --key                             # print what a build depends on
    python tools/setup/install_mmcv.py REQUIREMENT --wheelhouse DIR      # take the wheel of DIR, no network
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from glob import glob
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PROBE = REPO / 'histomm' / 'doctor' / 'probe.py'


def torch_folder() -> Path:
    """Folder of the installed torch, found without importing it."""
    spec = importlib.util.find_spec('torch')
    if spec is None or spec.origin is None:
        sys.exit(f'install_mmcv: no torch in {sys.prefix}; install torch and torchvision first (make setup does)')
    return Path(spec.origin).parent


def build_key() -> str:
    """Name of everything that a build of the ops depends on, such as ``torch2.14.1+cu130-cpython-311-cpu``."""
    version = re.search(r"__version__ = '([^']+)'", (torch_folder() / 'version.py').read_text())
    if version is None:
        sys.exit(f'install_mmcv: {torch_folder() / "version.py"} names no version; reinstall torch')
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES') == ''
    on_gpu = os.environ.get('FORCE_CUDA') == '1' or bool(glob('/dev/nvidia[0-9]*') and not hidden)
    arches = re.sub(r'[^\w.+]+', '_', os.environ.get('TORCH_CUDA_ARCH_LIST', ''))
    parts = [f'torch{version[1]}', sys.implementation.cache_tag, 'cuda' if on_gpu else 'cpu', arches]
    return '-'.join(part for part in parts if part)


def compiler_environment() -> dict[str, str]:
    """Environment of the build; the compilers are wrapped where the headers of torch refuse C++17."""
    from torch.utils.cpp_extension import CUDA_HOME

    env = dict(os.environ)
    header = (torch_folder() / 'include' / 'ATen' / 'ATen.h').read_text()
    if '#error C++20' in header:
        env['HISTOMM_CXX'] = env.get('CXX', 'c++')
        env['CXX'] = str(REPO / 'tools' / 'setup' / 'cxx20')
        env['HISTOMM_NVCC'] = env.get('PYTORCH_NVCC') or (f'{CUDA_HOME}/bin/nvcc' if CUDA_HOME else 'nvcc')
        env['PYTORCH_NVCC'] = str(REPO / 'tools' / 'setup' / 'nvcc20')
    # A small toolkit has nvcc but not the headers of every CUDA library; those beside torch are looked at last.
    beside_torch = [str(folder) for folder in torch_folder().parent.glob('nvidia/*/include')]
    env['CPATH'] = os.pathsep.join(filter(None, [env.get('CPATH'), *beside_torch]))
    env.setdefault('MAX_JOBS', str(len(os.sched_getaffinity(0))))
    env['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), env['PATH']])
    return env


def check_compilers() -> None:
    """Stop before a build that cannot end well."""
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if shutil.which(compiler) is None:
        sys.exit(f'install_mmcv: no C++ compiler ({compiler}); install g++ or set CXX')
    from torch.cuda import is_available
    from torch.utils.cpp_extension import CUDA_HOME

    if CUDA_HOME is None and (is_available() or os.environ.get('FORCE_CUDA') == '1'):
        sys.exit(
            'install_mmcv: the ops need nvcc on a machine with a GPU; install the CUDA toolkit that torch was built '
            'with and set CUDA_HOME, or build for the CPU alone with CUDA_VISIBLE_DEVICES= (detectors then run there)'
        )


def pip(*args: str, env: dict[str, str] | None = None) -> None:
    """Run pip of this interpreter; its failure ends the program."""
    status = subprocess.run([sys.executable, '-m', 'pip', *args], env=env).returncode
    if status:
        sys.exit(f'install_mmcv: pip {args[0]} failed with status {status}; its reason stands above')


def prove() -> bool:
    """Whether the installed ops give the right answer; says why not."""
    done = subprocess.run([sys.executable, str(PROBE), 'ops'], capture_output=True, text=True)
    reason = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:]
    print(f'install_mmcv: ops: {reason[0] if reason else f"the interpreter died with status {done.returncode}"}')
    return done.returncode == 0


def build(requirement: str, kept: Path, constraint: list[str]) -> None:
    """Build a wheel and move it to ``kept`` in one step, so that a broken build leaves nothing there."""
    check_compilers()
    print(f'install_mmcv: compiling the ops for {build_key()}; two cores need about ten minutes', flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        options = ['--no-cache-dir', '--no-build-isolation', '--no-deps', '--wheel-dir', folder, *constraint]
        pip('wheel', *options, requirement, env=compiler_environment())
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)


def install(wheel: str, options: list[str]) -> bool:
    """Install mmcv over whatever is there, then what it depends on; whether the ops work.

    What they were built for is noted in the environment, where ``tools/doctor.py`` compares it with its torch.
    """
    pip('install', '--force-reinstall', '--no-deps', *options, wheel)
    pip('install', *options, wheel)
    works = prove()
    if works:
        note = Path(sys.prefix) / '.histomm' / 'mmcv-built-for'
        note.parent.mkdir(exist_ok=True)
        note.write_text(build_key() + '\n')
    return works


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('requirement', nargs='?', default='onedl-mmcv', help='such as onedl-mmcv>=2.3.6')
    parser.add_argument('--key', action='store_true', help='print what a build depends on, and stop')
    parser.add_argument('--constraint', help='constraints file for pip')
    parser.add_argument('--wheelhouse', help='folder of wheels to take mmcv from instead of building')
    args = parser.parse_args()
    if args.key:
        print(build_key())
        return
    constraint = ['--constraint', args.constraint] if args.constraint else []
    if args.wheelhouse:
        if not install(args.requirement, [*constraint, '--no-index', '--find-links', args.wheelhouse]):
            sys.exit(f'install_mmcv: the mmcv of {args.wheelhouse} does not fit this machine; see docs/install.md')
        return
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    kept = cache / 'histomm' / 'mmcv' / build_key() / args.requirement
    for wheel in kept.glob('onedl_mmcv-*.whl'):
        if install(str(wheel), constraint):
            return
        print(f'install_mmcv: {wheel} does not work here; building it again')
    build(args.requirement, kept, constraint)
    if not install(str(next(kept.glob('*.whl'))), constraint):
        shutil.rmtree(kept)
        sys.exit('install_mmcv: the ops were compiled but do not work; the line above says why (docs/install.md)')


if __name__ == '__main__':
    main()
