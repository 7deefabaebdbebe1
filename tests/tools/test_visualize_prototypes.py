"""Prototypes on slides: numbered alike on all, each region painted where it lies."""

import numpy as np
import pytest
import torch
from small_runs import REPO, draw_slides
from tool_modules import load_tool

from histomm.datasets.transforms import read_image
from histomm.evaluation.encoder import build_part, model_config
from histomm.visualization.clusters import cluster_color
from histomm.visualization.colors import rgb
from histomm.visualization.prototypes import slide_prototypes
from histomm.wsi.token_store import TokenStoreWriter

CONFIG = str(REPO / 'configs/slpd/slpd_vit4k-tiny_regions.py')
SLIDES = np.array([0, 0, 1, 1, 1, 2, 3])
OWN = torch.tensor([1, 0, 2, 3, 3, -1, 7])
"""Regions of four slides with two prototypes each; that of the third slide is too small."""
ROWS = torch.tensor([[1.0, 0], [0, 1], [0, 2], [3, 0.1], [0, 0], [0, 0], [5, 0], [0.6, 0.8]])
"""On the second slide they stand the other way round, on the fourth as on the first."""


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/analysis/visualize_prototypes.py')


def test_like_prototypes_have_one_number():
    found = slide_prototypes(ROWS, OWN, SLIDES, 2)
    assert found.labels.tolist() == [1, 0, 1, 0, 0, -1, 1]
    assert list(found.cosine) == [0, 1, 3]
    assert found.cosine[0] == 1
    assert found.cosine[1] == pytest.approx((1 + 3 / (9 + 0.01) ** 0.5) / 2)
    assert found.cosine[3] == pytest.approx((1 + 0.8) / 2)


@pytest.mark.parametrize(
    ('rows', 'own', 'number', 'message'),
    [
        (torch.zeros(0, 0), torch.zeros(0).long(), 2, 'the checkpoint has no prototypes'),
        (ROWS, OWN[:3], 2, 'prototypes are of 3 regions, the data set has 7'),
        (ROWS, OWN.flip(0), 2, "not 2 of each slide: .* another num_prototypes .* as with scope='global'"),
        (ROWS, OWN, 3, "not 3 of each slide: .* another num_prototypes .* as with scope='global'"),
    ],
)
def test_prototypes_that_cannot_be_shown_are_refused(rows, own, number, message):
    with pytest.raises(ValueError, match=message):
        slide_prototypes(rows, own, SLIDES, number)


def test_rows_of_regions_after_the_prototypes_are_left_out():
    """As with neighbors='regions'."""
    more = slide_prototypes(torch.cat([ROWS, torch.ones(7, 2)]), OWN, SLIDES, 2)
    assert more.cosine == slide_prototypes(ROWS, OWN, SLIDES, 2).cosine


@pytest.fixture
def words(tmp_path):
    """A slide with two regions of 128 pixels, its prototypes, and what to type."""
    slides = draw_slides(tmp_path) / 'slides'
    name = sorted(path.name for path in slides.iterdir())[0]
    writer = TokenStoreWriter(tmp_path / 'tokens', 8, (2, 2), 'float32')
    writer.write(name, np.array([[0, 0], [128, 64]]), np.zeros((2, 4, 8), np.float32), (128, 128))
    writer.finish()
    cfg = model_config(CONFIG)
    model = build_part(cfg, cfg.model.to_dict())
    model.bank.replace(ROWS[:2], torch.tensor([0, 1]), torch.tensor([[0], [1]]), epoch=1)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'slpd.pth')
    options = [f'train_dataloader.dataset.data_root={tmp_path}/tokens', 'model.num_prototypes=2']
    options.append('train_dataloader.dataset.dim=8')
    return [
        CONFIG,
        tmp_path / 'slpd.pth',
        '--slides',
        slides,
        '--out',
        tmp_path / 'out',
        '--cfg-options',
        *options,
    ], name


def test_regions_are_painted_where_they_lie(tool, words, tmp_path, monkeypatch, capsys):
    kept = []
    draw = tool.draw_painted
    monkeypatch.setattr(tool, 'draw_painted', lambda *args: kept.append(args) or draw(*args))
    tool.main([str(word) for word in words[0]])
    said = capsys.readouterr().out
    assert 'prototypes with a cosine of 1.00 to those of the first slide' in said
    assert '1 of 1 slides with prototypes; 0 regions have none' in said
    thumbnail, boxes, labels, title, kind = kept[0]
    assert thumbnail.shape[1] == 320
    assert boxes.tolist() == [[0, 0, 128, 128], [128, 64, 256, 192]]
    assert (labels.tolist(), kind) == ([0, 1], 'prototype')
    assert title in words[1]
    (path,) = (tmp_path / 'out').rglob('*.png')
    assert path.stem == title
    picture = read_image(str(path))
    for number in (0, 1):  # in the legend
        assert (picture == rgb(cluster_color(number))).all(axis=2).any()


def test_bad_input_is_told_in_one_sentence(tool, words, tmp_path):
    torch.save({'state_dict': {'backbone.x': torch.zeros(1)}}, tmp_path / 'slpd.pth')
    with pytest.raises(SystemExit, match=r'visualize_prototypes: .*slpd\.pth has no bank of prototypes'):
        tool.main([str(word) for word in words[0]])
    with pytest.raises(SystemExit, match='visualize_prototypes: --num is 0'):
        tool.main([str(word) for word in (*words[0], '--num', 0)])
