"""The documents say what is so: every command runs or could, every file, link, name and field exists."""

import functools
import gc
import importlib
import inspect
import re

import docs_pages
import docs_shell
import pytest
from docs_shell import REPO, Shell
from mmengine.runner import runner

from histomm.doctor import environment

PROBE, COLLECT_ENV = functools.cache(environment.run_probe), functools.cache(runner.collect_env)
PREPARE = {
    'docs/own_data.md': lambda shell: docs_shell.draw_own_data(),
    'docs/stain.md': lambda shell: docs_shell.draw_own_data(),
    'docs/configs.md': lambda shell: docs_shell.draw_published_data(),
    'docs/speed.md': lambda shell: docs_shell.draw_published_data(),
    'docs/transfer.md': docs_shell.draw_for_transfer,
    'docs/features.md': docs_shell.draw_for_features,
    'docs/install.md': lambda shell: docs_shell.draw_published_data(),
    'configs/glas/README.md': lambda shell: docs_shell.draw_for_detection('glas', 'glas'),
    'configs/crag/README.md': lambda shell: docs_shell.draw_for_detection('crag', 'CRAG'),
    'configs/bcss/README.md': lambda shell: docs_shell.draw_for_segmentation(),
    'configs/bach/README.md': lambda shell: docs_shell.draw_bach(),
    'configs/breakhis/README.md': lambda shell: docs_shell.draw_for_downstream(('breakhis', 'BreaKHis_v1', 64, 32)),
    'configs/ucsb/README.md': lambda shell: docs_shell.draw_ucsb(),
    'configs/lymphoma/README.md': lambda shell: docs_shell.draw_for_downstream(('lymphoma', 'lymphoma', 24, 32)),
    'configs/gleason2019/README.md': lambda shell: docs_shell.draw_for_downstream(
        ('gleason2019', 'Gleason2019_raw', 8, 448)
    ),
    'configs/breastpathq/README.md': lambda shell: docs_shell.draw_for_downstream(
        ('breastpathq', 'BreastPathQ', 48, 32)
    ),
    'configs/digestpath2019/README.md': lambda shell: docs_shell.draw_for_downstream(
        ('digestpath2019', 'DigestPath_raw', 8, 64)
    ),
    'configs/nct/README.md': lambda shell: docs_shell.draw_for_classification(),
    'docs/bags.md': lambda shell: docs_shell.draw_slide_bags(),
    'configs/nsclc/README.md': lambda shell: docs_shell.draw_slide_bags(),
    'configs/brca/README.md': lambda shell: docs_shell.draw_slide_bags(),
    'configs/plm/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/mocov2/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/densecl/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/concl/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/vicreg/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/vicregl/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/byol/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/simsiam/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/barlowtwins/README.md': lambda shell: docs_shell.draw_published_data(),
    'configs/simclr/README.md': lambda shell: docs_shell.draw_collection(),
    'configs/mpcs/README.md': lambda shell: docs_shell.draw_for_downstream(('breakhis-82', 'BreaKHis_v1', 40, 32)),
    'configs/dino/README.md': docs_shell.draw_for_dino,
    'configs/hipt/README.md': lambda shell: None,
    'configs/slpd/README.md': docs_shell.draw_for_slpd,
    'configs/colorization/README.md': lambda shell: docs_shell.draw_collection(),
    'configs/autoencoder/README.md': lambda shell: docs_shell.draw_collection(),
    'configs/patch_contrast/README.md': lambda shell: None,
}
"""What must lie in the folder before a page's commands are typed."""

PAGES = sorted({REPO / 'README.md', *(REPO / 'docs').glob('*.md'), *(REPO / page for page in PREPARE)})

named = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPO)))


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A place to type commands in, where facts about the machine are looked up once only."""
    gc.freeze()  # data sets call gc.collect, which takes half a second with all libraries loaded
    monkeypatch.setattr(environment, 'run_probe', PROBE)
    monkeypatch.setattr(runner, 'collect_env', COLLECT_ENV)
    yield Shell(tmp_path, monkeypatch)
    gc.unfreeze()


@named
def test_commands_run(page, shell):
    PREPARE.get(str(page.relative_to(REPO)), lambda shell: None)(shell)
    for block in docs_pages.blocks(page):
        try:
            shell.block(block)
        except Exception as error:
            raise AssertionError(f'{block.where}: {error}') from error
    for command in docs_pages.inline_commands(page):
        shell.command(command, check_only=True)


@pytest.mark.parametrize(
    'command',
    [
        'python tools/none.py',
        'python tools/train.py configs/plm/none.py',
        'python tools/train.py configs/plm/moco_plm_r18_nct.py --no-such-option',
        'python tools/benchmarks/views.py --no-such-option',
        'python tools/doctor.py configs/plm/moco_plm_r18_nct.py',  # there are no data
        'python -c "1 / 0"',
        'bash tools/dist_train.sh configs/plm/moco_plm_r18_nct.py 2 --no-such-option',
        'bash tools/dist_train.sh configs/plm/none.py 2',
        'GPUS=2 bash tools/slurm_train.sh gpu job configs/plm/moco_plm_r18_nct.py',
        'make none',
        'make setup NONE=1',
        'pip install --no-such-option',
        'pip install -r requirements/none.txt',
        'apt-get install none',
        'source none',
        'tensorboard --logdir none',
        'none',
    ],
)
def test_wrong_commands_are_noticed(command, shell):
    with pytest.raises((Exception, SystemExit)):
        shell.command(command)


@named
def test_links_lead_somewhere(page):
    for link in docs_pages.links(page):
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in docs_pages.anchors(target), link


@named
def test_files_exist(page):
    roots = r'(?:\.\./)?(?:configs|docs|histomm|requirements|tests|tools)/'
    for code in docs_pages.inline_code(page):
        if re.fullmatch(rf'{roots}[\w./-]+', code):
            assert (REPO / code.removeprefix('../')).exists(), code


@named
def test_names_of_histomm_exist(page):
    """What a page writes as ``histomm.X`` is a registered part, or can be imported."""
    from histomm import registry

    kinds = [kind for kind in vars(registry).values() if isinstance(kind, registry.Registry)]
    for name in set(re.findall(r'histomm\.((?!py\b)[\w.]*\w)', page.read_text())):
        if '.' not in name and name[0].isupper():
            assert any(kind.get(f'histomm.{name}') for kind in kinds), name
        else:
            importlib.import_module(f'histomm.{name}')


def test_pages_are_listed():
    listed = {(REPO / 'docs' / link).resolve() for link in docs_pages.links(REPO / 'docs' / 'README.md')}
    assert listed == {page.resolve() for page in PAGES if page != REPO / 'docs' / 'README.md'}


def test_fields_of_the_configs_page_exist():
    """``field=value`` and ``field`` in the section on PLM are arguments of the parts it speaks of."""
    from histomm import datasets, models

    parts = [models.DenseMoCo, models.PreciseLocationMatcher, models.FeatureMatcher, models.LocationMatcher]
    fields = {name for part in [*parts, datasets.PatchDataset] for name in inspect.signature(part).parameters}
    text = docs_pages.prose(REPO / 'docs' / 'configs.md')
    section = text[text.index('## PLM: paper and code') : text.index('## Other backbones')]
    assigned = re.findall(r'(\w+)=', section)
    alone = re.findall(r'`([a-z_]+)`', section)
    assert len(assigned) > 5
    assert set(assigned) | set(alone) <= fields


def test_hooks_of_the_configs_page_are_those_of_the_configs():
    from histomm.config_file import read_config

    rows = re.findall(r'^\| `(\w+)` \| `([\w.]+)` \|', (REPO / 'docs' / 'configs.md').read_text(), re.M)
    shipped = {}
    for name in (
        'patch_contrast/confnet_mse_patches.py',
        'plm/moco_plm_r18_nct.py',
        'glas/mask-rcnn_r18_fpn_glas.py',
        'simsiam/simsiam_r18_nct.py',
        'dino/dino_vit256-16_patches.py',
        'slpd/slpd_vit4k-xs_nsclc.py',
    ):
        shipped |= read_config(f'histomm::{name}').default_hooks
    ours = {name: hook.type for name, hook in shipped.items() if hook.type.startswith('histomm.')}
    assert dict(rows) == ours


def test_every_trainable_config_is_in_the_readme():
    """The table of methods shows every config but the variants, which docs/configs.md has, and the demonstration's."""
    from small_runs import shipped_configs

    shown = set(re.findall(r'`configs/([\w/.-]+\.py)`', (REPO / 'README.md').read_text()))
    variants = re.compile(r'_(lambda\d+|repo|multicrop|[\d.]+x)\.py')
    expected = {name for name in shipped_configs() if not variants.search(name) and not name.startswith('demo/')}
    assert shown == expected
