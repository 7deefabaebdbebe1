"""The command: a picture comes out, and bad input is told in one sentence."""

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import write_layout
from histomm.registry import MODELS

CONFIG = 'configs/plm/moco_plm_r18_nct.py'


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/visualize_matching.py')


@pytest.fixture(scope='module')
def patch(tmp_path_factory):
    patches = write_layout('nct', tmp_path_factory.mktemp('nct'), 9, 96)
    return next(path for path in patches if path.parent.name == 'NORM')


@pytest.fixture(autouse=True)
def _in_repository(repo, monkeypatch):
    monkeypatch.chdir(repo)


def _refused(tool, capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(argument) for argument in arguments])
    return str(stop.value)


def test_draws_a_picture_and_says_what_it_shows(tool, patch, tmp_path, capsys):
    out = tmp_path / 'new' / 'matching.png'
    tool.main([str(patch), '--config', CONFIG, '--seed', '3', '--out', str(out)])
    said = capsys.readouterr().out
    assert 'query cell' in said
    assert 'nearest location' in said
    with Image.open(out) as picture:
        assert min(picture.size) > 800


@pytest.mark.parametrize(
    ('config', 'options', 'kept'),
    [
        ('configs/vicregl/vicregl_r18_nct.py', ['model.matchers.1.gamma=7'], 7),
        ('configs/plm/byol_plm_r18_nct.py', [], 20),
    ],
)
def test_draws_all_cells(tool, patch, tmp_path, capsys, config, options, kept):
    """As many pairs as the config's matcher keeps, or VICRegL's 20."""
    arguments = [str(patch), '--config', config, '--all', '--out', str(tmp_path / 'pairs.jpg')]
    tool.main([*arguments, *(['--cfg-options', *options] if options else [])])
    assert f'nearest location keeps {kept} pairs' in capsys.readouterr().out
    with Image.open(tmp_path / 'pairs.jpg') as picture:
        assert min(picture.size) > 700


def test_checkpoint_decides_the_feature_match(tool, patch, tmp_path):
    """Two checkpoints give two feature maps; random weights depend on the seed alone."""
    cosines = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        backbone = MODELS.build(Config.fromfile(CONFIG).model.backbone)
        state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
        torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
        arguments = [str(patch), '--config', CONFIG, '--checkpoint', str(tmp_path / 'weights.pth'), '--cell', '3', '4']
        cosines.append(tool.draw(tool.parse_args([*arguments, '--out', str(tmp_path / 'a.png')])).split(': ', 1)[1])
    assert cosines[0] == cosines[2] != cosines[1]
    assert cosines[0].startswith('query cell (3, 4)')


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--cell', '7', '0'], 'expected a row below 7'),
        (['--config', 'configs/none.py'], 'no such file'),
        (['--config', 'configs/_base_/default_runtime.py'], 'model.backbone'),
        (['--checkpoint', 'none.pth'], 'none.pth'),
        (['--out', 'a.txt'], "suffix '.txt'"),
    ],
)
def test_bad_input_is_told_in_one_sentence(tool, patch, tmp_path, capsys, extra, message):
    said = _refused(tool, capsys, patch, '--out', tmp_path / 'a.png', *extra)
    assert said.startswith('visualize_matching: ')
    assert message in said


def test_unreadable_image_is_named(tool, tmp_path, capsys):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    assert 'broken.png' in _refused(tool, capsys, broken, '--out', tmp_path / 'a.png')
