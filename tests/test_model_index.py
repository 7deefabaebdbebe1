"""``model-index.yml`` and its metafiles say what the configs say."""

import re

import pytest
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hub import get_config
from small_runs import REPO, shipped_configs

METAFILES = load(REPO / 'model-index.yml')['Import']
MODELS = {model['Config']: (name, model) for name in METAFILES for model in load(REPO / name)['Models']}


def test_every_config_but_the_demonstration_is_listed_once():
    listed = [model['Config'] for name in METAFILES for model in load(REPO / name)['Models']]
    expected = [f'configs/{name}' for name in shipped_configs() if not name.startswith('demo/')]
    assert sorted(listed) == sorted(expected)


def test_no_metafile_is_left_out():
    found = {str(path.relative_to(REPO)) for path in (REPO / 'configs').rglob('metafile.yml')}
    assert found == set(METAFILES)


@pytest.mark.parametrize('name', METAFILES)
def test_collection_has_its_page_and_paper(name):
    (collection,) = load(REPO / name)['Collections']
    assert collection['README'] == name.replace('metafile.yml', 'README.md')
    page = (REPO / collection['README']).read_text()
    subject = re.sub(r'\W+', ' ', collection['Paper']['Title']).lower()
    assert subject in re.sub(r'\W+', ' ', page).lower(), 'the page names another paper'


@pytest.mark.parametrize('path', sorted(MODELS))
def test_model_says_what_its_config_says(path):
    metafile, model = MODELS[path]
    cfg = Config.fromfile(str(REPO / path))
    (collection,) = load(REPO / metafile)['Collections']
    assert model['In Collection'] == collection['Name']
    assert f'{model["Name"]}.py' == path.rpartition('/')[2]
    metadata = model['Metadata']
    length = metadata.get('Epochs'), metadata.get('Iterations')
    assert length == (cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters'))
    assert metadata['Batch Size'] == cfg.train_dataloader.batch_size
    root = cfg.train_dataloader.dataset.data_root.strip('/').rpartition('/')[2]
    assert metadata['Training Data'].lower() == root.lower()


def test_mmengine_finds_a_config_by_the_index():
    cfg = get_config('histomm::plm/moco_plm_r18_nct.py')
    assert cfg.model.matchers[0].type == 'histomm.PreciseLocationMatcher'
