"""The command: a picture comes out, and bad input is told in one sentence."""

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool

from histomm.datasets.synthetic import write_layout


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/visualize_concepts.py')


@pytest.fixture(scope='module')
def patch(tmp_path_factory):
    patches = write_layout('nct', tmp_path_factory.mktemp('nct'), 9, 96)
    return next(path for path in patches if path.parent.name == 'NORM')


@pytest.fixture(autouse=True)
def _in_repository(repo, monkeypatch):
    monkeypatch.chdir(repo)


def test_draws_a_picture_and_says_what_it_shows(tool, patch, tmp_path, capsys):
    """Of ConCL with matchers too; the number of concepts may be set."""
    out = tmp_path / 'new' / 'concepts.jpg'
    options = ['model.num_concepts=4', 'model.queue_len=64']
    config = 'configs/plm/concl_plm_r18_nct.py'
    tool.main([str(patch), '--config', config, '--seed', '3', '--out', str(out), '--cfg-options', *options])
    said = capsys.readouterr().out
    assert 'of 4 concepts in both views: ' in said
    assert set(said.strip().rpartition(': ')[2].split()) <= set('ABCD')
    with Image.open(out) as picture:
        assert min(picture.size) > 900


def test_seed_decides_views_and_concepts(tool, patch, tmp_path, monkeypatch):
    """Two runs draw the same; the drawing itself is left out, it takes a second."""
    drawn = []
    monkeypatch.setattr(tool, 'draw_concepts', lambda *what: drawn.append(what))
    monkeypatch.setattr(tool, 'write_picture', lambda *_: None)
    for seed in (1, 2, 1):
        arguments = [str(patch), '--seed', str(seed), '--out', str(tmp_path / 'a.png')]
        tool.draw(tool.parse_args([*arguments, '--cfg-options', 'model.queue_len=64']))
    first, other, again = ((*(view.image for view in views), found.reference) for _, *views, found, _ in drawn)
    for number in range(4):
        np.testing.assert_array_equal(first[number], again[number])
        assert not np.array_equal(first[number], other[number])


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--config', 'configs/none.py'], 'no such file'),
        (['--config', 'configs/_base_/default_runtime.py'], 'model.backbone'),
        (['--config', 'configs/mocov2/mocov2_r18_nct.py'], 'DenseMoCo, which has no concepts'),
        (['--cfg-options', 'train_dataloader.dataset.pipeline.1.views.0.num=1'], 'at least 3 views'),
        (['--checkpoint', 'none.pth'], 'none.pth'),
        (['--out', 'a.txt'], "suffix '.txt'"),
    ],
)
def test_bad_input_is_told_in_one_sentence(tool, patch, tmp_path, extra, message):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(patch), '--out', str(tmp_path / 'a.png'), *extra])
    said = str(stop.value)
    assert said.startswith('visualize_concepts: ')
    assert message in said
