"""A repository in small: a command and a training that take a moment and tell what they did."""

from pathlib import Path

import pytest
import yaml

from histomm.engine.reproduce import (
    Commands,
    Launch,
    Records,
    check_plan,
    make_plan,
    read_recipe,
    run_plan,
    with_pictures,
)

COPY = """
import argparse, json, os, subprocess, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument('name')
parser.add_argument('--out', type=Path)
parser.add_argument('--of', nargs='*', default=[])
args = parser.parse_args()
root = Path(__file__).resolve().parents[1]
with open(root / 'journal', 'a') as file:
    file.write(args.name + '\\n')
print('this is', args.name)
if (root / f'sleep_{args.name}').exists():
    time.sleep(60)
args.out.mkdir(parents=True, exist_ok=True)
(args.out / 'half').write_text('')
assert not (root / f'fail_{args.name}').exists(), 'told to fail'
(args.out / 'result').write_text(args.name + ''.join(Path(path).read_text() for path in args.of))
"""

TRAIN = """
import argparse, json, os, signal, time, zipfile
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument('config')
parser.add_argument('--work-dir', type=Path)
parser.add_argument('--resume', action='store_true')
parser.add_argument('--cfg-options', nargs='+', default=[])
args = parser.parse_args()
options = dict(option.split('=', 1) for option in args.cfg_options)
root, pointer = Path(__file__).resolve().parents[1], args.work_dir / 'last_checkpoint'
last = Path(pointer.read_text()) if args.resume and pointer.exists() else None
start = int(last.stem.split('_')[1]) if last and zipfile.is_zipfile(last) else 0
with open(root / 'journal', 'a') as file:
    file.write(f'{args.work_dir.name} from {start}\\n')
end = int(options.get('train_cfg.max_iters', 3))
data = args.work_dir / f'run{len(list(args.work_dir.glob("run*")))}' / 'vis_data'
data.mkdir(parents=True)
with open(data / 'scalars.json', 'w', buffering=1) as log:
    for step in range(start + 1, end + 1):
        print('Iter(train)', step)
        log.write(json.dumps(dict(loss=1.0, step=step)) + '\\n')
        path = args.work_dir / f'iter_{step}.pth'
        with zipfile.ZipFile(path, 'w') as file:
            file.writestr('weights', 'x')
        pointer.write_text(str(path))
        if (root / f'kill_at_{step}').exists():
            (root / f'kill_at_{step}').unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    if start < end:
        value = 0.1 * int(options['randomness.seed']) + 0.5
        log.write(json.dumps({'coco/bbox_mAP': value, 'coco/segm_mAP': value / 2, 'step': end}) + '\\n')
"""

TEST = """
import argparse, json
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument('config')
parser.add_argument('checkpoint', type=Path)
parser.add_argument('--work-dir', type=Path)
parser.add_argument('--cfg-options', nargs='+')
args = parser.parse_args()
with open(Path(__file__).resolve().parents[1] / 'journal', 'a') as file:
    file.write(f'test of {args.checkpoint.name}\\n')
assert args.checkpoint.is_file()
for time, value in (('1', 0.1), ('2', 0.2)):  # a second test in the same folder counts
    (args.work_dir / time).mkdir()
    (args.work_dir / time / f'{time}.json').write_text(json.dumps({'coco/bbox_mAP': value}))
"""

CONFIG = """
default_scope = 'mmengine'
randomness = dict(seed=7)
train_cfg = dict(max_iters=3)
train_dataloader = dict(batch_size=16, dataset=dict(data_root='data'))
val_evaluator = dict(type='CocoMetric', metric=['bbox'])
test_evaluator = dict(type='CocoMetric', metric=['bbox'])
"""

RECIPE = """
title: A table
paper: Somebody 2020
table: Table 9
notes: [Mind the gap.]
seeds: 2
names: {patches: '{root}/patches', word: plain}
stages:
  make: {kind: command, folder: data/made, script: tools/copy.py, args: [make, --out, '{out}'], outputs: [result]}
  weights:
    kind: command
    folder: 'weights/{method}'
    script: tools/copy.py
    args: ['{method}', --out, '{out}', --of, '{make}/result', '{patches}/list.txt']
    outputs: [result]
  fine:
    kind: train
    folder: 'fine/{method}/seed{seed}'
    config: configs/toy.py
    options: {randomness.seed: '{seed}', +load_from: '{weights}/result'}
columns:
  AP: {stage: fine, metric: coco/bbox_mAP, scale: 100}
rows:
  first: {names: {method: one}, published: {AP: 52.3}}
  second: {names: {method: two}, published: {AP: null}}
budgets:
  tiny: {note: Everything is tiny., seeds: 1, stages: {fine: {options: {train_cfg.max_iters: 1}}}}
"""


class Toy:
    """The repository, its recipe as a dict to be changed, and what runs it.

    Args:
        folder: Where repository, data and results go.
    """

    def __init__(self, folder: Path) -> None:
        self.repo, self.root, self.work = folder / 'repo', folder / 'data', folder / 'work'
        for name, text in {
            'tools/copy.py': COPY,
            'tools/train.py': TRAIN,
            'tools/test.py': TEST,
            'configs/toy.py': CONFIG,
        }.items():
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / name).write_text(text)
        (self.root / 'patches').mkdir(parents=True, exist_ok=True)
        (self.root / 'patches' / 'list.txt').write_text('p')
        self.recipe = yaml.safe_load(RECIPE)
        self.said: list[str] = []

    def plan(self, budget='full', check=True, **arguments):
        path = self.repo / 'recipe.yaml'
        path.write_text(yaml.safe_dump(self.recipe, sort_keys=False))
        plan = with_pictures(make_plan(read_recipe(path, budget), **arguments))
        if check:
            check_plan(plan, self.repo, self.root, self.work)
        return plan

    def parts(self, plan, launch=None):
        records = Records(plan, self.repo, self.root, self.work)
        return plan, records, Commands(self.repo, self.root, self.work, launch or Launch())

    def run(self, launch=None, **arguments):
        """Run what is not finished; the parts, and what the stages wrote into the journal meanwhile."""
        journal = self.repo / 'journal'
        journal.unlink(missing_ok=True)
        parts = self.parts(self.plan(**arguments), launch)
        self.said.clear()
        run_plan(*parts, say=self.said.append)
        return parts, journal.read_text().splitlines() if journal.exists() else []


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path)
