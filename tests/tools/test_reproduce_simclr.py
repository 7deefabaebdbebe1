"""Recipes of SimCLR on many data sets: published figures, what each row trains, and a run of every kind of stage."""

import re
import statistics
import subprocess
import sys

import pytest
from mmengine.config import Config
from tool_modules import REPO, load_tool

from histomm.engine.reproduce import RecipeError, check_data, make_plan, read_recipe
from histomm.engine.reproduce.check import merged_config
from histomm.engine.reproduce.plan import ancestors

CLASSES = ('BACH', 'NCT', 'BreakHis', 'Lymph', 'Gleason2019')
AVERAGES = ('Average of classes', 'BreastPathQ', 'Average of seg')
STARTS = ('random', 'ImageNet', 'self-supervised')
NUMBER = r'[\d.]+'


def recipe(name):
    return read_recipe(REPO / f'configs/reproduce/simclr-{name}.yaml')


def published(name, columns):
    return {row: tuple(content.published[column] for column in columns) for row, content in recipe(name).rows.items()}


def page(folder):
    return (REPO / 'configs' / folder / 'README.md').read_text()


def numbers(text):
    return [float(number) for number in re.findall(NUMBER, text)]


def line(start):
    """The cells after the first of the line in the README of SimCLR that begins with ``start``, each as its numbers."""
    (found,) = re.findall(rf'^\| {re.escape(start)} \| (.+) \|$', page('simclr'), re.M)
    return [numbers(cell) for cell in found.split(' | ')]


# ---- published figures


def test_averages_are_those_of_the_readme():
    one, two = {}, {}
    for depth in (18, 34, 50, 101):
        (found,) = re.findall(rf'^\| {depth} \| random / ImageNet / SimCLR \| (.+) \|$', page('simclr'), re.M)
        cells = [numbers(cell) for cell in found.split(' | ')]
        for start, *values in zip(STARTS, *cells, strict=True):
            one[f'R{depth}, {start}'], two[f'R{depth}, {start}'] = tuple(values[:3]), tuple(values[3:])
    assert published('table1', AVERAGES) == one
    assert published('table2', AVERAGES[:2]) == two


@pytest.mark.parametrize(
    ('name', 'start'),
    [
        ('table3', '0.01 / 0.1 / 1 / 10 %'),
        ('table4', 'IDCGrade at 10× / 20× / 40× / all three'),
        ('table5', 'breast / lymph nodes / prostate'),
    ],
)
def test_averages_by_images_are_those_of_the_readme(name, start):
    assert list(published(name, AVERAGES).values()) == list(zip(*line(start), strict=True))


def test_averages_of_the_appendix_are_those_of_the_readme():
    found = [value for name in ('LARS', 'LAMB') for value in line(f'{name} at τ 0.05 / 0.1 / 0.5')[0]]
    assert [value for (value,) in published('c6', AVERAGES[:1]).values()] == found
    first, *others = ('crops from 1 %, jitter none / light / medium / heavy', 'crops from 5 %', 'crops from 25 %')
    found = [value for start in (first, *others) for value in line(start)[0]]
    assert [value for (value,) in published('d11', AVERAGES[:1]).values()] == found


@pytest.mark.parametrize(
    ('folder', 'column'),
    [('bach', 'BACH'), ('breakhis', 'BreakHis'), ('lymphoma', 'Lymph'), ('gleason2019', 'Gleason2019'),
     ('breastpathq', 'BreastPathQ')],
)  # fmt: skip
def test_figures_of_a_data_set_are_those_of_its_readme(folder, column):
    for name, protocol in (('table1', 'fine-tuned'), ('table2', 'linear')):
        rows = re.findall(rf'\| {protocol} \| ({NUMBER}) \| ({NUMBER}) \| ({NUMBER}) \|', page(folder))
        expected = [float(value) for row in rows for value in row]
        assert [value for (value,) in published(name, [column]).values()] == expected
        assert len(expected) == 12


@pytest.mark.parametrize(('folder', 'column'), [('bach', 'BACH seg'), ('digestpath2019', 'DigestPath seg')])
def test_figures_of_segmentation_are_those_of_the_readme(folder, column):
    rows = re.findall(rf'\| U-Net \| ({NUMBER}) \| ({NUMBER}) \| ({NUMBER}) \|', page(folder))
    assert [value for (value,) in published('table1', [column]).values()] == [float(v) for row in rows for v in row]


@pytest.mark.parametrize('name', ['table1', 'table2', 'table3', 'table4', 'table5'])
def test_published_averages_are_those_of_the_published_figures(name):
    """Up to the rounding of six figures."""
    found = recipe(name)
    for average, column in found.columns.items():
        for row in found.rows.values() if column.average else ():
            mean = statistics.fmean(row.published[part] for part in column.average)
            assert abs(mean - row.published[average]) <= 0.1 + 1e-9


# ---- what a row trains


def pretraining(plan, folder):
    found = [run for run in map(plan.runs.get, ancestors(plan, folder)) if run.folder.startswith('pretrain/')]
    return merged_config(found[0], REPO) if found else None


def pretrainings(name):
    plan = make_plan(recipe(name), seeds=1, columns=('BACH',))
    return {row: pretraining(plan, folders[0]) for (row, _), folders in plan.cells.items()}


def test_the_plain_row_is_the_shipped_configs():
    """Nothing but places and the normalisation is another than in the configs of ResNet-18."""
    plan = make_plan(recipe('table1'), seeds=1, rows=('R18, self*',))
    for run in plan.runs.values():
        if run.kind != 'command':
            shipped, ours = Config.fromfile(REPO / run.target), merged_config(run, REPO)
            for key in run.options:
                if not re.search(r'data_root$|list_file$|init_cfg|data_preprocessor', key):
                    assert value(ours, key) == value(shipped, key), key


def value(node, dotted):
    for part in dotted.split('.'):
        node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
    return list(node) if isinstance(node, (list, tuple)) else node


@pytest.mark.parametrize('name', ['table1', 'table2'])
def test_rows_of_networks_and_starts(name):
    plan = make_plan(recipe(name), seeds=1)
    for (row, _), (folder,) in plan.cells.items():
        depth, start = int(re.match(r'R(\d+), ', row)[1]), row.partition(', ')[2]
        (training,) = [run for run in map(plan.runs.get, plan.runs[folder].needs) if run.kind == 'train']
        configs = [merged_config(run, REPO) for run in (plan.runs[folder], training)]
        before = pretraining(plan, folder)
        for cfg in [*configs, *([before] if before else [])]:
            assert cfg.model.backbone.depth == depth
        assert configs[0].model.data_preprocessor == configs[1].model.data_preprocessor
        assert (configs[0].model.data_preprocessor.mean[0] == 123.675) == (start == 'ImageNet')
        assert configs[1].optim_wrapper.optimizer.weight_decay == (1e-5 if depth == 18 else 1e-4)
        assert configs[1].model.backbone.get('frozen_stages', -1) == (-1 if name == 'table1' else 4)
        init = configs[1].model.backbone.get('init_cfg')
        assert (init is None, before is None) == (start == 'random', start != 'self-supervised')
        if start == 'ImageNet':
            assert init.checkpoint == f'<root>/weights/resnet{depth}_imagenet.pth'


def test_weights_of_imagenet_that_are_not_there_are_told(tmp_path):
    plan = make_plan(recipe('table1'), seeds=1, rows=('R34, ImageNet',), columns=('Lymph',))
    (tmp_path / 'lymphoma').mkdir()
    with pytest.raises(RecipeError, match=r'reads \S+/weights/resnet34_imagenet\.pth, found nothing there'):
        check_data(plan, tmp_path)


def test_rows_of_shares_resolutions_and_organs():
    def taken(cfg):
        data = cfg.train_dataloader.dataset
        return data.fraction, data.min_images, data.max_images

    assert [taken(cfg) for cfg in pretrainings('table3').values()] == [
        (0.0001, 10, 10), (0.001, 10, 2000), (0.01, 10, 2000), (0.1, 10, 2000)
    ]  # fmt: skip
    found = [cfg.train_dataloader.dataset for cfg in pretrainings('table4').values()]
    assert [data.names for data in found] == [['10x'], ['20x'], ['40x'], ['10x', '20x', '40x']]
    assert {(data.fraction, data.max_images, data.data_root) for data in found} == {
        (1.0, None, '<root>/collection/IDCGrade')
    }
    found = [cfg.train_dataloader.dataset for cfg in pretrainings('table5').values()]
    assert [(data.names[0], data.total, data.max_images) for data in found] == [
        ('TCGA-BRCA', 4000, None), ('CAMELYON16', 4000, None), ('TCGA-PRAD', 4000, None)
    ]  # fmt: skip


def test_rows_of_optimisers_crops_and_jitter():
    for row, cfg in pretrainings('c6').items():
        optimiser, temperature = row.split(', τ = ')
        assert cfg.optim_wrapper.optimizer.type == f'histomm.{optimiser}'
        assert cfg.model.temperature == float(temperature)
        data = cfg.train_dataloader.dataset
        assert (data.type, data.fraction, data.max_images) == ('histomm.PatchCollection', 0.001, 2000)
    strengths = {'no': 0, 'light': (0.4, 0.2), 'medium': (0.8, 0.2), 'heavy': (0.8, 0.4)}
    for row, cfg in pretrainings('d11').items():
        crop, name = re.match(r'Crops from (\d+) %, (\w+) jitter', row).groups()
        steps = cfg.train_dataloader.dataset.pipeline[1].views[0].pipeline
        assert list(steps[0].scale) == [int(crop) / 100, 1.0]
        jitter = steps[3]
        assert jitter.brightness == jitter.contrast == jitter.saturation
        assert (jitter.prob and (jitter.brightness, jitter.hue)) == strengths[name]


def test_tables_share_what_is_the_same():
    plain = make_plan(recipe('table1'), seeds=2, rows=('R18, self*',), columns=('BACH',)).runs
    for name, row in (('table3', '1 %'), ('d11', 'Crops from 1 %, medium jitter')):
        assert make_plan(recipe(name), seeds=2, rows=(row,), columns=('BACH',)).runs == plain


def test_draws_of_labels_are_an_option():
    plan = make_plan(
        read_recipe(REPO / 'configs/reproduce/simclr-table2.yaml', names={'labels': 'train_10_{seed}'}),
        rows=('R18, random',), columns=('BACH', 'Gleason2019'),
    )  # fmt: skip
    lists = [
        merged_config(run, REPO).train_dataloader.dataset.list_file for run in plan.runs.values() if run.kind == 'train'
    ]
    assert lists == [
        *(f'<work>/data/bach-lists/train_10_{seed}.csv' for seed in range(5)),
        *(f'splits/train_10_{seed}.csv' for seed in range(5)),
    ]


# ---- whole


def test_every_kind_of_stage_runs(tmp_path):
    """Photographs, cellularity and segmentation, from SimCLR: drawn, listed, tiled, pre-trained, trained, tested."""
    arguments = ['simclr-table1', '--smoke', '--rows', 'R18, self*', '--columns', 'BACH', 'Breast*', 'BACH seg']
    done = subprocess.run(
        [sys.executable, 'tools/reproduce.py', *arguments, '--work-dir', str(tmp_path)],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = re.search(r'^\| R18, self-supervised \| (.+) \|$', done.stdout, re.M)[1].split(' | ')
    assert table[1::2] == ['80.0', '6.6', '61.9']
    assert all(re.fullmatch(r'[\d.]+ \(n = 1\)', cell) for cell in table[::2])
    logs = [path.read_text() for path in tmp_path.glob('smoke/logs/test--*.txt')]
    names = [re.search(r'Load(?:s|ed)? checkpoint .*from \S*/(best_\w+)_epoch_1\.pth', log)[1] for log in logs]
    assert sorted(names) == ['best_classification_macro_f1', 'best_dice_macro', 'best_regression_l1']
    logs = [path.read_text() for path in tmp_path.glob('smoke/logs/finetune--*.txt')]
    assert all('backbone_openmmlab.pth: 120 tensors are in ResNet' in log for log in logs)
    assert len(logs) == 3


def test_dry_run_of_a_row_from_scratch_trains_no_backbone(tmp_path, capsys):
    load_tool('tools/reproduce.py').main(
        [
            'simclr-table2',
            '--smoke',
            '--dry-run',
            '--rows',
            'R101, random',
            '--columns',
            'Aver*',
            '--work-dir',
            str(tmp_path),
        ]
    )
    commands = [text for text in capsys.readouterr().out.splitlines() if text and not text.startswith('#')]
    assert sum('tools/train.py' in command for command in commands) == 5
    assert sum('tools/test.py' in command for command in commands) == 5
    assert not any('configs/simclr' in command for command in commands)
    assert all('model.backbone.depth=101' in command for command in commands if 'tools/train.py' in command)
