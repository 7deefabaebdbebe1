"""Drawn tissue, pre-training, fine-tuning and a report, in some minutes on two CPU cores.

Every stage is one command of this repository, printed before it runs. Stages that are finished are skipped, an
interrupted training goes on from its last checkpoint, and a changed command runs anew, with all that follow it.
"""

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

REPO = Path(__file__).resolve().parents[1]
PRETRAIN_CONFIG = 'configs/demo/moco_plm_r18_nct_demo.py'
FINETUNE_CONFIG = 'configs/demo/mask-rcnn_r18_fpn_glas_demo.py'
EXTRACT = 'tools/model_converters/extract_backbone.py'
NUM_PATCHES, NUM_GLANDS, GLAND_SIZE = 900, 99, '387x261'
RECORD, COMMANDS = 'demo.json', 'commands.txt'
PROGRESS_SECONDS = 10
LEAD = (
    'MoCo-v2 with precise location matching, pre-trained on drawn tissue, then Mask R-CNN on drawn glands, once from '
    'scratch and once from the pre-trained backbone, with the same seed and budget. The budget is a toy: the page '
    'shows that everything works and what it looks like, not how good the method is.'
)


@dataclass(frozen=True)
class Stage:
    """One command of the demonstration.

    Attributes:
        name: Short name.
        command: Arguments after the Python interpreter.
        outputs: What it writes, removed when it must run anew.
    """

    name: str
    command: tuple[str, ...]
    outputs: tuple[Path, ...]

    @property
    def logs_progress(self) -> bool:
        """Whether it trains or tests, and so says more than a console should show."""
        return self.command[0] in ('tools/train.py', 'tools/test.py')

    def text(self) -> str:
        """The command as one types it in the repository."""
        return shlex.join(('python', *self.command))


def stages(work_dir: Path, seed: int) -> list[Stage]:
    """All stages in order."""
    nct, glas = work_dir / 'data' / 'nct', work_dir / 'data' / 'glas'
    pretrain, weights, matching = work_dir / 'pretrain', work_dir / 'weights', work_dir / 'matching.png'
    backbone = weights / 'plm_openmmlab.pth'
    patches = f'train_dataloader.dataset.data_root={nct}', f'default_hooks.knn.dataset.data_root={nct}'
    glands = f'train_dataloader.dataset.data_root={glas}', *_data('val', glas)
    picture = (
        *('tools/analysis/visualize_matching.py', nct / 'NORM' / 'NORM-0003.tif', '--config', PRETRAIN_CONFIG),
        *('--checkpoint', backbone, '--seed', seed, '--out', matching),
    )
    plan = [
        _stage('draw patches', _draw('nct', nct, NUM_PATCHES, seed), nct),
        _stage('draw glands', (*_draw('glas', glas, NUM_GLANDS, seed), '--size', GLAND_SIZE), glas),
        _stage('convert glands', ('tools/dataset_converters/glas.py', glas), glas / 'annotations'),
        _stage('pre-train', (*_train(PRETRAIN_CONFIG, pretrain, seed), *patches), pretrain),
        _stage('extract backbone', (EXTRACT, pretrain, '--out', weights, '--name', 'plm'), weights),
        _stage('draw matched cells', picture, matching),
    ]
    runs = {'from scratch': work_dir / 'scratch', 'pre-trained': work_dir / 'pretrained'}
    for name, run in runs.items():
        kind = 'model.backbone.init_cfg.type=histomm.VerifiedPretrained'
        init = (kind, f'model.backbone.init_cfg.checkpoint={backbone}') if name == 'pre-trained' else ()
        command = *_train(FINETUNE_CONFIG, run, seed), *glands, *init
        plan.append(_stage(f'fine-tune {name}', command, run))
    for name, run in runs.items():
        plan.append(_stage(f'test {name}', _test(run, glas), run / 'test.segm.json', run / 'test.bbox.json'))
    return [*plan, _report(work_dir, pretrain, runs, glas, matching)]


def _stage(name: str, command: Sequence[object], *outputs: Path) -> Stage:
    return Stage(name, tuple(str(part) for part in command), outputs)


def _draw(layout: str, out: Path, number: int, seed: int) -> tuple:
    return 'tools/make_synthetic.py', '--layout', layout, '--out', out, '--num', number, '--seed', seed


def _train(config: str, work_dir: Path, seed: int) -> tuple:
    return 'tools/train.py', config, '--work-dir', work_dir, '--resume', '--cfg-options', f'randomness.seed={seed}'


def _data(part: str, glas: Path) -> tuple[str, str]:
    """Options that point one of val and test to the drawn glands."""
    annotations = glas / 'annotations' / 'test.json'
    return f'{part}_dataloader.dataset.data_root={glas}', f'{part}_evaluator.0.ann_file={annotations}'


def _test(run: Path, glas: Path) -> tuple:
    iterations = Config.fromfile(REPO / FINETUNE_CONFIG).train_cfg.max_iters
    options = *_data('test', glas), f'test_evaluator.0.outfile_prefix={run / "test"}'
    checkpoint = run / f'iter_{iterations}.pth'
    return 'tools/test.py', FINETUNE_CONFIG, checkpoint, '--work-dir', run / 'test', '--cfg-options', *options


def _report(work_dir: Path, pretrain: Path, runs: dict[str, Path], glas: Path, matching: Path) -> Stage:
    command = (
        'tools/analysis/report.py',
        '--out',
        work_dir / 'report.html',
        '--title',
        'PLM on drawn tissue',
        '--lead',
        LEAD,
        '--pretrain',
        pretrain,
        '--finetune',
        *(f'{name}={run}' for name, run in runs.items()),
        '--ann',
        glas / 'annotations' / 'test.json',
        '--images',
        glas,
        '--matching',
        matching,
        '--commands',
        work_dir / COMMANDS,
    )
    return _stage('report', command, work_dir / 'report.html')


class Record:
    """What was started and finished in a work directory, kept in a file there.

    Args:
        work_dir: The demonstration's folder.
    """

    def __init__(self, work_dir: Path) -> None:
        self.path = work_dir / RECORD
        self.stages: dict[str, dict] = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def finished(self, stage: Stage) -> bool:
        """Whether this very command has run to its end and its results are there."""
        entry = self.stages.get(stage.name, {})
        there = all(output.exists() for output in stage.outputs)
        return there and entry.get('command') == stage.text() and 'seconds' in entry

    def begin(self, stage: Stage, later: Sequence[Stage]) -> None:
        """Note the start; results of another command, and of all later stages, are forgotten and removed."""
        stale = [other for other in later if other.name in self.stages]
        if self.stages.get(stage.name, {}).get('command') != stage.text():
            stale.append(stage)
        for other in stale:
            for output in other.outputs:
                shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
            self.stages.pop(other.name, None)
        self.stages[stage.name] = {'command': stage.text()}
        self._write()

    def end(self, stage: Stage, seconds: float) -> None:
        """Note the end."""
        self.stages[stage.name]['seconds'] = round(seconds, 1)
        self._write()

    def seconds(self) -> float:
        """Of all finished stages together."""
        return sum(entry.get('seconds', 0) for entry in self.stages.values())

    def commands(self) -> str:
        """What was run, with the seconds it took."""
        return '\n\n'.join(
            f'# {name}' + (f': {entry["seconds"]:.0f} s' if 'seconds' in entry else '') + f'\n{entry["command"]}'
            for name, entry in self.stages.items()
        )

    def _write(self) -> None:
        partial = self.path.with_suffix('.partial')
        partial.write_text(json.dumps(self.stages, indent=1))
        os.replace(partial, self.path)


def run(stage: Stage, log: Path) -> float:
    """Run a stage, with its whole output in ``log``, and give its seconds.

    Raises:
        SystemExit: it failed; the end of its output is printed.
    """
    start = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open('w') as file,
        subprocess.Popen(
            [sys.executable, *stage.command], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        shown = 0.0
        for line in process.stdout:
            file.write(line)
            text = _console(stage, line)
            if text and (not stage.logs_progress or time.monotonic() - shown > PROGRESS_SECONDS):
                print(f'    {text}', flush=True)
                shown = time.monotonic()
    if process.returncode:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-25:])
        sys.exit(
            f'{tail}\ndemo: the stage {stage.name!r} ended with status {process.returncode}, see {log}. '
            'Mend it and run the demonstration again: what is finished is skipped.'
        )
    return time.monotonic() - start


def _console(stage: Stage, line: str) -> str:
    """What to show of a line: all that small tools say, and the progress of training and testing."""
    if not stage.logs_progress:
        return line.rstrip()
    found = re.search(r'(?:Epoch|Iter)\((?:train|val|test)\).*', line)
    return ' '.join(found.group().split())[:140] if found else ''


def check_installation() -> None:
    """Say early what is missing, not after the pre-training."""
    for module, what in (('mmdet', 'onedl-mmdetection'), ('mmcv._ext', 'the compiled ops of onedl-mmcv')):
        if importlib.util.find_spec(module) is None:
            sys.exit(f'demo: {what} is not installed for {sys.executable}; run make setup, and make demo')


def prepare(work_dir: Path, fresh: bool) -> None:
    """Make the folder, empty if it shall be fresh; other people's folders are left alone."""
    if work_dir.exists() and any(work_dir.iterdir()) and not (work_dir / RECORD).is_file():
        sys.exit(f'demo: {work_dir} holds something else; choose a new folder with --work-dir')
    if fresh and work_dir.exists():
        shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=REPO / 'work_dirs' / 'demo')
    parser.add_argument('--seed', type=int, default=0, help='of data, weights and training')
    parser.add_argument('--fresh', action='store_true', help='begin anew')
    parser.add_argument('--dry-run', action='store_true', help='print the commands and run none')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_installation()
    work_dir = args.work_dir.resolve()
    shown = work_dir.relative_to(REPO) if work_dir.is_relative_to(REPO) else work_dir
    plan = stages(shown, args.seed)
    if args.dry_run:
        print('\n'.join(stage.text() for stage in plan))
        return
    prepare(work_dir, args.fresh)
    record = Record(work_dir)
    for number, stage in enumerate(plan, start=1):
        if record.finished(stage):
            print(f'[{number}/{len(plan)}] {stage.name}: finished before', flush=True)
            continue
        print(f'[{number}/{len(plan)}] {stage.name}\n  $ {stage.text()}', flush=True)
        record.begin(stage, plan[number:])
        if stage.name == 'report':
            (work_dir / COMMANDS).write_text(record.commands())
        seconds = run(stage, work_dir / 'logs' / f'{number:02d}_{stage.name.replace(" ", "_")}.log')
        record.end(stage, seconds)
        print(f'  {seconds:.0f} s', flush=True)
    print(f'The whole took {record.seconds():.0f} s. The report: {shown / "report.html"}')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('demo: interrupted; run it again to go on')
