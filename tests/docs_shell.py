"""Runs the commands of the documents in one process, on drawn data and for a step where they train."""

import argparse
import glob
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from bag_files import CLASSES, draw_bags
from docs_pages import Block, words
from region_stores import FEW_STEPS, draw_tokens, token_options
from small_runs import (
    REPO,
    bag_options,
    classification_options,
    command_options,
    detection_options,
    draw_coco,
    draw_patches,
    fitting,
    fold_options,
    nuclei_options,
    pretraining_options,
    segmentation_options,
    supervised_options,
    tile_options,
    vote_options,
)

from histomm.config_file import read_config
from histomm.datasets.synthetic import write_layout
from histomm.datasets.transforms import read_image

PARSED_ONLY = {
    'tools/benchmarks': 'takes minutes; run small by tests/tools/test_benchmarks.py and others',
    'tools/eval_bags.py': 'trains ten times; run small by tests/tools/test_eval_bags.py',
    'tools/reproduce.py': 'takes minutes; run by tests/tools/test_reproduce.py',
    'tools/setup/install_mmcv.py': 'compiles mmcv; run by make setup, and in parts by tests/tools/test_install_mmcv.py',
}
"""Scripts, and a folder of them, whose options are parsed and which are not run, each with the reason."""

ACTIVATE = '.venv/bin/activate'
"""What ``source`` may name: the environment that ``make setup`` makes."""

_EMPTY = {'default_hooks.precise_bn.interval', 'default_hooks.precise_bn.num_iters'}
_PLACES = re.compile(r'data_root|ann_file|list_file')


class Parsed(Exception):
    """Raised in place of running, with the arguments that a script has understood."""


class Shell:
    """A folder that looks like a checkout with data in it, and what can be typed there.

    Args:
        folder: Empty folder.
        monkeypatch: Of the test.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        (folder / 'tools').symlink_to(REPO / 'tools')
        shutil.copytree(REPO / 'configs', folder / 'configs')
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))
        self.programs: dict[str, Callable[[dict, list[str]], None]] = {
            'python': self.python,
            'bash': self.bash,
            'make': self.make,
            'pip': self.pip,
            'apt-get': self.apt_get,
            'source': self.source,
            'tensorboard': self.tensorboard,
        }

    # ---- blocks

    def block(self, block: Block) -> None:
        """Write the block to the file it names, or do what it says."""
        if block.file:
            Path(block.file).write_text(block.text)
            read_config(block.file)
        elif block.language == 'bash':
            for command in block.commands():
                self.command(command)
        elif block.language == 'python':
            names: dict = {'__name__': '__main__'}
            exec(compile(block.text, block.where, 'exec'), names)
            self.build_backbone(names)
        elif block.language == 'yaml':
            weights = yaml.safe_load(block.text)['MODEL']['WEIGHTS']  # the one for Detectron2
            assert Path(weights).is_file()
        else:
            assert block.language == 'text', f'{block.where}: a block of {block.language!r}'

    def command(self, command: str, check_only: bool = False) -> None:
        """Run a command, or check that it could be."""
        variables, parts = words(command)
        parts = [found for part in parts for found in sorted(glob.glob(part)) or [part]]
        if check_only and parts[0] == 'python' and parts[1] != '-c':
            self.parse(parts[1:])
        else:
            self.programs[parts[0]](variables, parts[1:])

    @staticmethod
    def build_backbone(names: dict) -> None:
        """Load what a piece of a config hands over, into mmdet's ResNet."""
        config = names.get('backbone') or names.get('model')
        if not isinstance(config, dict):
            return
        from mmdet.models import ResNet

        config = dict(config.get('backbone', config))
        assert config.pop('type') == 'ResNet'
        config.pop('_delete_', None)
        ResNet(**config).init_weights()

    # ---- python

    def python(self, variables: dict, args: list[str]) -> None:
        """``python -c CODE`` and ``python tools/….py``."""
        if args[0] == '-c':
            exec(args[1], {'__name__': '__main__'})
        elif not can_run(args):
            self.parse(args)
        elif args[0] == 'tools/train.py':
            self.script(small_training(args))
        elif args[0] == 'tools/make_synthetic.py':
            small = {'slides': ('2', '1024'), 'subtypes': ('3', '512')}
            num, size = next((small[name] for name in small if name in args), ('9', '64'))
            self.script([*args, '--num', num, '--size', size])
        elif args[0] in ('tools/dataset_converters/bach_wsi.py', 'tools/dataset_converters/digestpath2019.py'):
            self.script([*args, '--side', '128'])
        elif '--portions' in args:
            self.script([*args, '--portions', '1', '2'])
        else:
            self.script(args)

    def script(self, args: list[str]) -> None:
        """Run a script to its end; a status that is not 0 is a failure."""
        assert (REPO / args[0]).is_file(), f'{args[0]} does not exist'
        self.monkeypatch.setattr(sys, 'argv', args)
        self.monkeypatch.syspath_prepend(str((REPO / args[0]).parent))
        status = None
        try:
            runpy.run_path(args[0], run_name='__main__')
        except SystemExit as end:
            status = end.code
        assert not status, f'{args}: {status}'

    def parse(self, args: list[str]) -> argparse.Namespace:
        """What the script makes of its arguments."""
        original = argparse.ArgumentParser.parse_args

        def parse_only(parser, given=None, namespace=None):
            raise Parsed(original(parser, given, namespace))

        with self.monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, 'parse_args', parse_only)
            with pytest.raises(Parsed) as parsed:
                self.script(args)
        return parsed.value.args[0]

    # ---- other programs

    def bash(self, variables: dict, args: list[str]) -> None:
        """Launchers: they run for real, but what they would start is written down and parsed instead.

        ``tests/tools/test_train.py`` trains two processes through one of them.
        """
        programs, record = self.folder / 'bin', self.folder / 'started.json'
        programs.mkdir(exist_ok=True)
        for name in ('python', 'srun'):
            (programs / name).write_text(
                f'#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(record)!r}, "w"))\n'
            )
            (programs / name).chmod(0o755)
        path = f'{programs}{os.pathsep}{os.environ["PATH"]}'
        subprocess.run(['bash', *args], env={**os.environ, **variables, 'PATH': path}, check=True)
        started = json.loads(record.read_text())
        if 'slurm' in args[0]:
            at = started.index('python')
            assert all(word.startswith('-') for word in started[:at] if word != variables.get('PARTITION', 'gpu'))
            assert started[at + 1] == '-u'
            script = started[at + 2 :]
        else:
            from torch.distributed.run import get_args_parser

            assert started[:2] == ['-m', 'torch.distributed.run']
            launcher = get_args_parser().parse_args(started[2:])
            script = [launcher.training_script, *launcher.training_script_args]
        parsed = self.parse(script)
        assert parsed.launcher == ('slurm' if 'slurm' in args[0] else 'pytorch')
        read_config(parsed.config).merge_from_dict(parsed.cfg_options or {})

    @staticmethod
    def make(variables: dict, args: list[str]) -> None:
        """Targets and variables exist, and so do the scripts and lists that the targets would use."""
        makefile = (REPO / 'Makefile').read_text()
        for name in (arg.partition('=')[0] for arg in args if '=' in arg):
            assert f'\n{name} ?=' in makefile, f'make knows no variable {name}'
        dry = ['make', '-n', '--no-print-directory', *args]
        if not any(arg.startswith('VENV=') for arg in args):
            dry.append('VENV=no/such/environment')
        wanted = [arg for arg in dry if not arg.startswith(('CONSTRAINTS=my', 'PYTHON='))]
        done = subprocess.run(wanted, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        used = set(re.findall(r'(?<![\w/])(?:tools|requirements)/[\w./-]+\.\w+', done.stdout))
        assert {name for name in used if not (REPO / name).is_file()} == set()

    @staticmethod
    def pip(variables: dict, args: list[str]) -> None:
        """pip knows the options, and the requirements exist; installing is the business of ``make setup``."""
        from pip._internal.commands import create_command

        options, _ = create_command(args[0]).parser.parse_args(args[1:])
        assert all((REPO / name).is_file() for name in getattr(options, 'requirements', []))

    @staticmethod
    def apt_get(variables: dict, args: list[str]) -> None:
        """The packages are those that the CI installs on a bare machine."""
        known = (REPO / '.ci/run').read_text()
        assert args[0] == 'install'
        assert [name for name in args[1:] if name not in known] == []

    @staticmethod
    def source(variables: dict, args: list[str]) -> None:
        """Activating the environment of ``make setup``."""
        assert args == [ACTIVATE]

    @staticmethod
    def tensorboard(variables: dict, args: list[str]) -> None:
        """The folder has curves that TensorBoard can read; the server is not started."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        assert args[0] == '--logdir'
        files = list(Path(args[1]).rglob('events.out.tfevents.*'))
        assert files
        curves = EventAccumulator(str(files[0])).Reload().Tags()['scalars']
        assert {'loss', 'feature_std', 'rankme', 'data_wait'} <= {name.rpartition('/')[2] for name in curves}


def can_run(args: list[str]) -> bool:
    """Whether a script runs in the tests of pages.

    ``--amp`` is run where there is a GPU; on a CPU tests/test_speed_curves.py trains with it.
    """
    waits_for_gpu = '--amp' in args and not torch.cuda.is_available()
    return not waits_for_gpu and not {args[0], os.path.dirname(args[0])} & set(PARSED_ONLY)


# ---- training for a step


def small_training(args: list[str]) -> list[str]:
    """The arguments of ``tools/train.py`` with settings that make it a run of seconds, on the data of the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', default=[])
    options, others = parser.parse_known_args(args)
    cfg = read_config(others[1])
    if cfg.train_dataloader.dataset.type == 'histomm.RegionTokenDataset':
        small = token_options(Path()) | FEW_STEPS
    elif cfg.model.type == 'histomm.PatchContrast':
        small = nuclei_options(Path())
    elif cfg.model.type.startswith('histomm.Bag'):
        small = bag_options(Path())
    elif cfg.train_dataloader.dataset.type == 'histomm.GridPatchDataset':
        small = vote_options(Path())
    elif cfg.model.type == 'histomm.SupervisedConfidence':
        small = supervised_options(Path())
    elif cfg.model.type == 'mmpretrain.ImageClassifier' and cfg.val_evaluator.type == 'histomm.PatientAccuracyMetric':
        small = fold_options(Path())
    elif cfg.model.type == 'mmpretrain.ImageClassifier':
        small = classification_options(Path())
    elif cfg.model.type.startswith(('histomm.', 'mmpretrain.')):
        small = pretraining_options(Path(), epochs=2 if '--resume' in others else 1, samples=8)
    elif cfg.train_dataloader.dataset.type == 'BaseSegDataset':
        small = tile_options(Path())
    elif cfg.model.type == 'EncoderDecoder':
        small = segmentation_options(Path())
    else:
        small = {name: value for name, value in detection_options(Path()).items() if name not in _EMPTY}
        small |= {'default_hooks.precise_bn': None}
    small = {name: value for name, value in fitting(cfg, small).items() if not _PLACES.search(name)}
    return [*others, '--cfg-options', *options.cfg_options, *command_options(small)]


# ---- data


def draw_own_data() -> None:
    """What docs/own_data.md speaks of: class folders, lists, a region to tile, gland masks."""
    patches = draw_patches(Path('data'), num=18).rename('data/my_patches')
    paths = sorted(str(path.relative_to(patches)) for path in patches.rglob('*.tif'))
    (patches / 'train.txt').write_text(''.join(f'{path}\n' for path in paths))
    rows = ''.join(f'{path},{path.partition("/")[0]}\n' for path in paths)
    (patches / 'patches.csv').write_text(f'file,tissue\n{rows}')
    shutil.copytree(patches / 'TUM', 'data/more_patches')
    for slide in ('my_slides/TCGA-A7-A0D9-01Z', 'my_slides/TCGA-A2-A0YE-01Z', 'more_slides/TCGA-AR-A1AS-01Z'):
        shutil.copytree(patches / 'TUM', f'data/{slide}')
    Path('data/BCSS').mkdir()
    Path('data/BCSS/participants.txt').write_text('TCGA-A7-A0D9\n')
    Path('data/my_regions').mkdir()
    region = cv2.resize(cv2.cvtColor(read_image(str(patches / paths[0])), cv2.COLOR_RGB2BGR), (600, 520))
    cv2.imwrite('data/my_regions/region.png', region)
    glands, own = draw_coco(Path('data')), Path('data/my_glands')
    for kind in ('images', 'masks'):
        (own / kind).mkdir(parents=True)
    for mask in glands.rglob('*_anno.*'):
        image = mask.with_name(mask.name.replace('_anno', ''))
        for source, kind in ((image, 'images'), (mask, 'masks')):
            cv2.imwrite(str(own / kind / f'{image.stem}.png'), cv2.imread(str(source), cv2.IMREAD_UNCHANGED))


def draw_published_data() -> None:
    """NCT-CRC-HE-100K as a few drawn patches, one of them once more under the name of a real one."""
    root = draw_patches(Path('data')).rename('data/NCT-CRC-HE-100K')
    shutil.copy(next(root.glob('TUM/*.tif')), root / 'TUM/TUM-AAAAATRK.tif')


def draw_collection() -> None:
    """A folder of patches, and a folder of data sets, one of them at three resolutions."""
    patches = draw_patches(Path('data'), num=18)
    for name in ('TCGA-BRCA', 'TUPAC16', 'IDCGrade/10x', 'IDCGrade/20x', 'IDCGrade/40x'):
        shutil.copytree(patches / 'TUM', f'data/collection/{name}')


def draw_for_detection(layout: str, folder: str) -> None:
    """A data set of glands as it is distributed, and a backbone that counts as pre-trained."""
    drawn = draw_coco(Path('data'), layout)
    shutil.rmtree(drawn / 'annotations')
    drawn.rename(f'data/{folder}')
    pretend_pretraining(Path('work_dirs/moco_plm_r18_nct'))


def draw_for_segmentation() -> None:
    """Regions of BCSS as they are distributed, and a backbone that counts as pre-trained."""
    write_layout('bcss', 'data/BCSS_rois', 9, 64)
    pretend_pretraining(Path('work_dirs/moco_plm_r18_tcga-brca'))


def draw_for_classification() -> None:
    """NCT-CRC-HE-100K and its companion as they are distributed, and a backbone that counts as pre-trained."""
    write_layout('nct', 'data/NCT-CRC-HE-100K', 36, 64, seed=0)
    write_layout('nct', 'data/CRC-VAL-HE-7K', 18, 64, seed=1)
    pretend_pretraining(Path('work_dirs/mocov2_r18_nct'))


def draw_for_downstream(*layouts: tuple) -> None:
    """Data sets as they are distributed, and a backbone that counts as pre-trained.

    Args:
        layouts: Arguments of ``write_layout`` for each; folders are below ``data``.
    """
    for name, folder, *arguments in layouts:
        write_layout(name, f'data/{folder}', *arguments)
    pretend_pretraining(Path('work_dirs/simclr_r18_patches'))


def draw_bach() -> None:
    """Photographs and slides of BACH."""
    draw_for_downstream(('bach', 'BACH', 20, 64), ('bach-wsi', 'slides', 3, 1024))
    Path('data/slides/WSI').rename('data/BACH/WSI')


def draw_ucsb() -> None:
    """Breast cancer cells of UCSB, and a ResNet-50 that counts as pre-trained."""
    write_layout('ucsb', 'data/BreastCancerCell_dataset', 20, 48)
    pretend_pretraining(Path('work_dirs/mpcs_r50_breakhis_ordered'), 50)


def draw_for_features(shell: Shell) -> None:
    """Labelled patches, a pre-trained backbone in two formats, and tiles of a drawn slide."""
    import numpy as np
    import tifffile

    from histomm.wsi.tile_table import tiles_of_slide, write_tiles

    draw_for_classification()
    extract = 'python tools/model_converters/extract_backbone.py work_dirs/mocov2_r18_nct'
    shell.command(f'{extract} --out work_dirs/backbone --name own')
    Path('data/slides').mkdir()
    first = next(Path('data/CRC-VAL-HE-7K').rglob('*.tif'))
    pixels = np.tile(read_image(str(first)), (2, 3, 1))
    size = dict(resolution=(20000, 20000), resolutionunit='CENTIMETER')
    tifffile.imwrite('data/slides/one.tif', pixels, tile=(64, 64), photometric='rgb', **size)
    places = np.array([(x, y) for y in (0, 64) for x in (0, 32, 64, 128)])
    write_tiles('data/tiles.parquet', tiles_of_slide('one.tif', places, 64, 0.5, np.ones(len(places))))


def pretend_pretraining(run: Path, depth: int = 18) -> None:
    """A work directory with random weights in place of pre-trained ones."""
    from mmpretrain.models import ResNet

    run.mkdir(parents=True)
    weights = {f'backbone.{name}': value for name, value in ResNet(depth).state_dict().items()}
    torch.save({'state_dict': weights}, run / 'epoch_200.pth')
    (run / 'last_checkpoint').write_text(str(run / 'epoch_200.pth'))


def draw_slide_bags() -> None:
    """Slides of both data sets as bags."""
    for family, classes in CLASSES.items():
        draw_bags(Path(f'data/TCGA-{family.upper()}'), 30, classes=classes)


def draw_for_dino(shell: Shell) -> None:
    """A folder of patches, and a file in the layout of HIPT's checkpoints."""
    from histomm.models import PatchViT
    from histomm.models.hipt import to_hipt

    draw_patches(Path('data'), num=18)
    weights = {f'backbone.{name}': value for name, value in PatchViT().state_dict().items()}
    torch.save({'teacher': to_hipt(weights, 'drawn')}, 'vit256_small_dino.pth')


def draw_for_slpd(shell: Shell) -> None:
    """Tokens of regions for the networks of both sizes."""
    Path('data').mkdir()
    for dim, names in ((384, ('TCGA-NSCLC_regions', 'TCGA-BRCA_regions')), (96, ('region_tokens',))):
        store = draw_tokens(Path('data'), dim)
        for name in names:
            Path('data', name).symlink_to(store.name)


def draw_for_transfer(shell: Shell) -> None:
    """A finished pre-training in ``work_dirs/moco_plm_r18_nct``, and GlaS before its conversion."""
    draw_published_data()
    shell.command('python tools/train.py configs/plm/moco_plm_r18_nct.py')
    shutil.rmtree(draw_coco(Path('data')) / 'annotations')
