"""The shipped recipes: held against configs, tools and the papers' figures, and run whole on drawn tissue."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import docs_pages
import pytest
import yaml
from tool_modules import REPO, load_tool

from histomm.engine.reproduce import RecipeError, check_data, check_plan, make_plan, read_recipe, with_pictures
from histomm.engine.reproduce.check import merged_config
from histomm.engine.reproduce.record import last_checkpoint_name

RECIPES = sorted((REPO / 'configs/reproduce').glob('*.yaml'))
LAMBDA, TABLE1, TABLE2 = (REPO / f'configs/reproduce/plm-{name}.yaml' for name in ('lambda', 'table1', 'table2'))
BUDGETS = ('full', 'small', 'smoke')
TABLE_2 = {
    'MoCo-v2': (52.3, 55.3), 'MoCo-v2 with M_pl': (55.0, 57.5), 'VICRegL': (48.3, 52.3),
    'VICRegL with M_pl': (49.0, 53.8), 'ConCL': (56.8, 58.7), 'ConCL with M_pl': (57.2, 59.1),
}  # fmt: skip
"""AP of boxes and masks on GlaS, Zhang et al. 2023, Table 2."""

SIMCLR_ROWS = (
    r'dataset\.(type|fraction|(min|max)_images|names|total)$|temperature$|depth$|(in|hid)_channels$|weight_decay$|'
    r'pipeline\.0\.scale$|pipeline\.3\.\w+$|data_preprocessor\.(mean|std)$'
)

SLPD_ROWS = (
    r'model\.(alpha_in\w+|num_(prototypes|neighbors)|scope|neighbors)$|aggregator\.in_channels$|feature_folder$|table$|'
    r'split_file$|\.part$|patient_overlap$|missing$'
)

each_recipe = pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
each_budget = pytest.mark.parametrize('budget', BUDGETS)


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/reproduce.py')


# ---- as they stand


@each_recipe
@each_budget
def test_recipe_fits_configs_and_tools(path, budget, monkeypatch):
    """Every config, option and metric exists, and every command is understood by its script."""
    monkeypatch.chdir(REPO)
    plan = with_pictures(make_plan(read_recipe(path, budget)))
    check_plan(plan, REPO, Path('data'), Path('work'))
    for run in plan.runs.values():
        if run.kind == 'command':
            load_tool(run.target).parse_args(list(run.args))


def published(recipe):
    return {name: tuple(row.published.get(column) for column in recipe.columns) for name, row in recipe.rows.items()}


def test_published_figures():
    """Table 1 as the README has it, Table 2 as the paper has it; Figure 3 prints none."""
    rows = re.findall(r'^\| (.+?) \| ([\d.]+) / ([\d.]+) \| ([\d.]+) / ([\d.]+) \| (\.\d+) / (\.\d+) \|$',
                      (REPO / 'README.md').read_text(), re.M)  # fmt: skip
    assert published(read_recipe(TABLE1)) == {name: tuple(map(float, values)) for name, *values in rows}
    assert len(rows) == 4
    assert published(read_recipe(TABLE2)) == {'from scratch': (None, None)} | TABLE_2
    assert set(published(read_recipe(LAMBDA)).values()) == {(None,) * 6}


@pytest.mark.parametrize(('recipe', 'value'), [('plm-table1', 0.5), ('plm-table2', 0.5)])
def test_rows_are_the_methods_they_are_called(recipe, value):
    plan = make_plan(read_recipe(REPO / f'configs/reproduce/{recipe}.yaml'), seeds=1)
    kinds = {'MoCo-v2': [], 'DenseCL (M_ft)': ['FeatureMatcher'], 'PLM (M_pl)': ['PreciseLocationMatcher'],
             'VICRegL^m (M_ft & M_loc)': ['FeatureMatcher', 'LocationMatcher'],
             'MoCo-v2 with M_pl': ['PreciseLocationMatcher']}  # fmt: skip
    for (row, _), folders in plan.cells.items():
        for folder in pretrainings(plan, folders[0]):
            model = merged_config(plan.runs[folder], REPO).model
            if row in kinds:
                assert [matcher.type.rpartition('.')[2] for matcher in model.get('matchers', [])] == kinds[row]
            assert model.get('loss_lambda', value) == value


def pretrainings(plan, folder):
    needs = plan.runs[folder].needs
    found = [need for need in needs if need.startswith('pretrain/')]
    return found + [last for need in needs for last in pretrainings(plan, need)]


def test_lambda_is_that_of_the_row_on_every_data_set():
    plan = make_plan(read_recipe(REPO / 'configs/reproduce/plm-lambda.yaml'), seeds=1)
    for (row, column), folders in plan.cells.items():
        (folder,) = pretrainings(plan, folders[0])
        cfg = merged_config(plan.runs[folder], REPO)
        assert cfg.model.loss_lambda == float(row.removeprefix('λ = '))
        assert ('BRCA' in cfg.train_dataloader.dataset.data_root) == column.startswith('BCSS')
    assert len(plan.cells) == 30


def test_recipes_share_what_is_the_same():
    """The MoCo-v2 and PLM of one table are those of the others, fine-tunings included."""
    one, two, three = (make_plan(read_recipe(path), seeds=2).runs for path in (TABLE1, TABLE2, LAMBDA))
    for stem in ('pretrain/{}', 'backbone/{}', 'glas/{}/seed1'):
        folders = [stem.format(name) for name in ('mocov2/mocov2_r18_nct', 'plm/moco_plm_r18_nct')]
        assert all(one[folder] == two[folder] for folder in folders)
        assert one[folders[1]] == three[folders[1]]
    assert one['bcss/unet_r18_bcss/plm/moco_plm_r18_tcga-brca/seed1'] in three.values()


@each_recipe
def test_budget_full_is_the_shipped_configs(path):
    """Nothing but places, seeds and weights is overridden, so that the protocol is that of the configs."""
    plan = make_plan(read_recipe(path), seeds=1)
    place = re.compile(
        r'data_root$|data_prefix|(ann|list)_file$|exclude_patients$|randomness\.seed|init_cfg|loss_lambda$|num_patches$|'
        r'patch_size$'
    )
    # what the rows of these tables are about; test_reproduce_simclr.py and test_reproduce_slpd.py have the rest
    if path.stem.startswith('simclr'):
        place = re.compile(f'{place.pattern}|{SIMCLR_ROWS}')
    if path.stem.startswith('slpd'):
        place = re.compile(f'{place.pattern}|{SLPD_ROWS}')
    for run in plan.runs.values():
        # BCSS is evaluated once, on test, as nothing is chosen by its scores
        others = {key for key in run.options if not place.search(key)} - {'train_cfg.val_interval'}
        assert not others
        cfg = None if run.kind == 'command' else merged_config(run, REPO)
        if cfg and run.folder.startswith('bcss/'):
            assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('budget', ['small', 'smoke'])
@each_recipe
def test_schedules_of_small_budgets_end_with_the_training(path, budget):
    plan = make_plan(read_recipe(path, budget))
    for run in plan.runs.values():
        if run.kind == 'train':
            cfg = merged_config(run, REPO)
            last = int(re.search(r'\d+', last_checkpoint_name(cfg))[0])
            ends = {step.end for step in cfg.get('param_scheduler', []) if step.type == 'CosineAnnealingLR'}
            assert ends <= {last}, run.folder
            if 'start_epoch' in cfg.model:
                assert cfg.model.start_epoch < last, 'concepts are not trained'


def test_small_budget_finds_what_it_needs_in_a_folder_of_tissue(real_data):
    names = {'glas-data': '{root}/glas/Warwick_QU_Dataset'}
    plan = make_plan(read_recipe(REPO / 'configs/reproduce/plm-table2.yaml', 'small', names))
    check_data(plan, real_data)
    assert {path for run in plan.runs.values() for path in run.data()} == {'<root>', '<root>/glas/Warwick_QU_Dataset'}
    with pytest.raises(RecipeError, match='found nothing there'):
        check_data(make_plan(read_recipe(REPO / 'configs/reproduce/plm-table1.yaml', 'small', names)), real_data)


def test_recipes_of_the_documents_are_plans(tmp_path):
    blocks = [block for block in docs_pages.blocks(REPO / 'docs/reproduce.md') if block.language == 'yaml']
    (tmp_path / 'configs').symlink_to(REPO / 'configs')
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / block.file).write_text(block.text)
        plan = make_plan(read_recipe(tmp_path / block.file))
        check_plan(plan, REPO, Path('data'), Path('work'))


# ---- the command line


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['plm-table9'],
            r'recipe plm-table9: no such recipe, expected a YAML file or one of .*, plm-lambda, plm-table1',
        ),
        (['none.yaml'], r'recipe none\.yaml: no such file'),
        (['plm-table1', '--budget', 'big'], r"budgets: found no 'big', only full, small, smoke"),
        (['plm-table1', '--gpus', '4'], r'--gpus 4 needs --launcher pytorch or slurm'),
        (['plm-table1', '--launcher', 'slurm'], r'--launcher slurm and --partition go together'),
        (['plm-table1', '--launcher', 'pytorch', '--jobs', '2'], r'--jobs is for --launcher none and slurm'),
        (['plm-table1', '--set', 'glas=x'], r"names: 'glas' is no name, expected one of nct-data"),
        (['plm-table1', '--columns', 'Glas*'], r"columns: 'Glas\*' fits none of GlaS AP_det"),
        (['plm-table1', '--data-root', 'none'], r'reads \S+/none/BCSS_rois, \S+/none/CRAG, .* found nothing there'),
    ],
)
def test_wrong_use_is_told_in_one_sentence(tool, arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=f'^reproduce: .*{message}'):
        tool.main([*arguments, '--work-dir', str(tmp_path)])
    assert not any(tmp_path.iterdir())


def test_dry_run_prints_every_command_and_runs_none(tool, tmp_path, capsys):
    tool.main(['plm-table1', '--smoke', '--dry-run', '--rows', 'PLM*', '--work-dir', str(tmp_path)])
    commands = [line for line in capsys.readouterr().out.splitlines() if line and not line.startswith('#')]
    scripts = [re.match(r'python (tools/\S+\.py) ', command)[1] for command in commands]
    assert scripts.count('tools/train.py') == 5
    assert scripts.count('tools/make_synthetic.py') == 5


def test_dry_run_prints_the_pictures_unless_they_are_not_wanted(tool, tmp_path, capsys):
    for options, count in (([], 1), (['--no-pictures'], 0)):
        tool.main(['mpcs-table7', '--smoke', '--dry-run', '--work-dir', str(tmp_path), *options])
        assert capsys.readouterr().out.count('\npython tools/analysis/visualize_cam.py ') == count
    assert not any(tmp_path.iterdir())


# ---- whole


def environment():
    return os.environ | {'OMP_NUM_THREADS': '1'}


def reproduce(*arguments):
    done = subprocess.run(
        [sys.executable, 'tools/reproduce.py', *map(str, arguments)],
        cwd=REPO, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def finished(output):
    return set(re.findall(r'^  (\S+): \d+ s$', output, re.M))


def drop_checkpoints(work):
    """Give the room back; results behind figures that stand are not needed any more."""
    for path in [*(work / 'smoke/pretrain').rglob('*.pth'), *(work / 'smoke').rglob('*.safetensors')]:
        path.unlink()


def test_published_figures_of_patch_contrast():
    """Tables 1 and 2 as the README of the configs has them."""
    page = (REPO / 'configs/patch_contrast/README.md').read_text()
    counts = re.search(r'Patches of side 50 \| ([\d |]+) \|\n.*\n\| Dice \| ([.\d |]+) \|', page)
    sides = re.search(r'Side of 10 patches \| ([\d |]+) \|\n.*\n\| Dice \| ([.\d |]+) \|', page)
    expected = {
        f'{count} patches of side 50': float(dice) for count, dice in zip(*map(cells, counts.groups()), strict=True)
    }
    for side, dice in zip(*map(cells, sides.groups()), strict=True):
        expected.setdefault(f'10 patches of side {side}', float(dice))
    table1 = read_recipe(REPO / 'configs/reproduce/patch-contrast-table1.yaml')
    assert {name: row.published['Dice, median'] for name, row in table1.rows.items()} == expected
    plan = make_plan(table1, seeds=1)
    for (row, _), (folder,) in plan.cells.items():
        (training,) = plan.runs[folder].needs[:1]
        model = merged_config(plan.runs[training], REPO).model
        assert row == f'{model.num_patches} patches of side {model.patch_size}'


def cells(text):
    return text.split(' | ')


@pytest.mark.long
def test_recipes_of_patch_contrast_run_whole(tmp_path):
    for name in ('patch-contrast-table2', 'patch-contrast-table1'):
        ran = finished(reproduce(name, '--smoke', '--work-dir', tmp_path))
        assert ('data/monuseg' in ran) == (name == 'patch-contrast-table2')
        path = tmp_path / 'smoke/reports' / name / 'report.md'
        table = [line.split(' | ') for line in path.read_text().splitlines() if line.startswith('| ')]
        plan = make_plan(read_recipe(REPO / f'configs/reproduce/{name}.yaml', 'smoke'))
        assert len(table) == 2 + len(plan.recipe.rows)
        assert all(re.search(r'\d \(n = 1\)$', cell) for line in table[2:] for cell in line[1::2])
        assert '\n0 of' not in reproduce(name, '--smoke', '--work-dir', tmp_path)


@pytest.mark.long
def test_plm_recipes_run_whole_and_share_their_stages(tmp_path):
    for number, path in enumerate([TABLE1, TABLE2, LAMBDA]):
        output = reproduce(path.stem, '--smoke', '--work-dir', tmp_path)
        plan = make_plan(read_recipe(path, 'smoke'))
        ran = finished(output)
        assert ran == set(plan.runs) if number == 0 else ran < set(plan.runs)
        if number == 1:
            assert {'glas/scratch/seed0', 'glas/concl/concl_r18_nct/seed0'} <= ran
            assert not ran & {'glas/plm/moco_plm_r18_nct/seed0', 'pretrain/mocov2/mocov2_r18_nct', 'data/nct'}
        if number == 2:
            assert 'bcss/unet_r18_bcss/plm/moco_plm_r18_tcga-brca_lambda000/seed0' in ran
            assert not ran & {'bcss/unet_r18_bcss/plm/moco_plm_r18_tcga-brca/seed0', 'data/bcss'}
        report = tmp_path / 'smoke/reports' / path.stem
        table = [line.split(' | ') for line in (report / 'report.md').read_text().splitlines() if line.startswith('| ')]
        assert len(table) == 2 + len(plan.recipe.rows)
        assert all(re.search(r'\d \(n = 1\)$', cell) for line in table[2:] for cell in line[1::2])
        assert 'cannot be compared with the published ones' in (report / 'report.html').read_text()
        assert '\n0 of' not in reproduce(path.stem, '--smoke', '--work-dir', tmp_path)
        drop_checkpoints(tmp_path)


def test_killed_in_the_middle_of_a_fine_tuning_it_goes_on(tmp_path):
    """Real processes: the runner is killed with no warning, its training ends with it, and the next run resumes."""
    recipe = yaml.safe_load((REPO / 'configs/reproduce/plm-table2.yaml').read_text())
    recipe['_base_'] = str(REPO / 'configs/reproduce/_base_/plm.yaml')
    options = {
        'train_cfg.max_iters': 8, 'train_cfg.val_interval': 8, 'default_hooks.checkpoint.interval': 1,
        'default_hooks.precise_bn.interval': 8, '+default_hooks.checkpoint.save_last': True,
    }  # fmt: skip
    recipe['budgets'] = {'smoke': {'stages': {'glas-scratch': {'options': options}}}}
    (tmp_path / 'slow.yaml').write_text(yaml.safe_dump(recipe))
    arguments = [tmp_path / 'slow.yaml', '--smoke', '--rows', 'from scratch', '--work-dir', tmp_path / 'work']
    folder = tmp_path / 'work/smoke/glas/scratch/seed0'
    runner = subprocess.Popen(
        [sys.executable, 'tools/reproduce.py', *map(str, arguments)],
        cwd=REPO, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (folder / 'iter_2.pth').is_file() and time.monotonic() < end and runner.poll() is None:
        time.sleep(0.02)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert (folder / 'iter_2.pth').is_file()
    output = reproduce(*arguments)
    assert finished(output) == {'glas/scratch/seed0'}
    log = (tmp_path / 'work/smoke/logs/glas--scratch--seed0.txt').read_text()
    assert log.count('$ python tools/train.py') == 2
    resumed = int(re.search(r'resumed epoch: 0, iter: (\d+)', log)[1])
    assert 2 <= resumed < 8
    assert (folder / 'iter_8.pth').is_file()
