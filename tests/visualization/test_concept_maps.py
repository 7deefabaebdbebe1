"""Pictured concepts against those of a training step, and against the pixels.

Where the reference's label map is known to be one colour a concept, the pixels of a view say which concept each of its
cells shows, whatever crop, flip and turn brought them there.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from mmengine.config import Config

from histomm import functional
from histomm.models import ConCL
from histomm.visualization.colors import AREAS
from histomm.visualization.concepts import Concepts, find_concepts, load_concl
from histomm.visualization.concepts_figure import color_of, draw_concepts, letter
from histomm.visualization.matching import View, load_views

SIDE, CELLS, K = 112, 4, 5
SEEDS = range(12)
ABSENT = '#9aa3a9'


@pytest.fixture(scope='module')
def mosaic(tmp_path_factory):
    """An image of 14 × 14 blocks of 16 pixels, each of one of five greys and hues at random."""
    palette = np.array([[20, 20, 20], [240, 240, 240], [230, 30, 30], [30, 230, 30], [30, 30, 230]], np.uint8)
    blocks = palette[np.random.default_rng(2).integers(K, size=(14, 14))]
    path = tmp_path_factory.mktemp('image') / 'mosaic.png'
    cv2.imwrite(str(path), blocks.repeat(16, 0).repeat(16, 1))
    return path


@pytest.fixture(scope='module')
def cfg():
    """Views with all eight symmetries and no change of colour, in the reference view that holds them."""
    view = [
        dict(type='histomm.RandomResizedCrop', size=SIDE, scale=(0.2, 0.6)),
        dict(type='histomm.RandomFlip', prob_h=0.5, prob_v=0.5),
        dict(type='histomm.RandomRotate90', prob=0.75),
    ]
    reference = [dict(type='histomm.BoundingCrop', size=SIDE)]
    cfg = Config.fromfile('configs/concl/concl_r18_nct.py')
    cfg.merge_from_dict(dict(model=dict(num_concepts=K, queue_len=8)))
    cfg.train_dataloader.dataset.pipeline[1] = dict(
        type='histomm.MultiView', views=[dict(pipeline=view, num=2), dict(pipeline=reference)]
    )
    return cfg


@pytest.fixture(autouse=True, scope='module')
def _in_repository(repo):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repo)
        yield


@pytest.fixture(scope='module')
def model(cfg):
    torch.manual_seed(0)
    return load_concl(cfg)


def _found(model, views, seed):
    torch.manual_seed(seed)
    return find_concepts(model, *views)


def _drawn(axes):
    """(colour, rectangle) of what is filled on some axes."""
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_fill()]
    return [(to_hex(patch.get_facecolor()), patch.get_bbox().extents) for patch in patches]


@pytest.mark.parametrize('seed', SEEDS)
def test_concepts_are_those_of_a_training_step(cfg, model, mosaic, seed):
    """The labels and the number of shared concepts that the loss works with, for the same random numbers."""
    _, *views = load_views(cfg, mosaic, seed, 3)
    found = _found(model, views, seed)
    images = model.data_preprocessor(dict(inputs=[view.planes() for view in views]))['inputs']
    geometry = [view.geometry for view in views]
    torch.manual_seed(seed)
    labels = model._label_maps(images[2], geometry, (CELLS, CELLS))
    for view, seen, expected in zip(views, found.views, labels, strict=False):
        turns = view.geometry.hflip, view.geometry.vflip, view.geometry.rot90
        turned = functional.canonicalize(torch.from_numpy(seen)[None, None].float(), *turns)[0, 0]
        torch.testing.assert_close(turned.long(), expected[0])
    maps = [model.backbone(image)[-1] for image in images[:2]]
    torch.manual_seed(seed)
    assert found.shared.sum() == model._concept_loss(maps, labels, geometry[:2])[1].item()


@pytest.mark.parametrize('seed', SEEDS)
def test_counts_are_those_of_the_maps(cfg, model, mosaic, seed):
    _, *views = load_views(cfg, mosaic, seed, 3)
    found = _found(model, views, seed)
    for labels, cells in zip(found.views, found.cells, strict=True):
        assert labels.shape == (CELLS, CELLS)
        np.testing.assert_array_equal(cells, np.bincount(labels.ravel(), minlength=K))
    both = set(found.views[0].ravel()) & set(found.views[1].ravel())
    assert set(found.shared.nonzero()[0]) == both


def test_seen_cells_show_the_place_whose_label_they_bear(cfg, model, mosaic, tmp_path):
    """Concepts that are known: left, right, and a band at the top. The image says by its colours what it shows."""
    y, x = np.mgrid[:224, :224].astype(np.uint8)
    path = tmp_path / 'coordinates.png'
    cv2.imwrite(str(path), np.stack((np.zeros_like(x), y, x), axis=2))
    checked = 0
    for seed in SEEDS:
        _, *views = load_views(cfg, path, seed, 3)
        x1, y1, x2, y2 = views[2].box
        rows, columns = torch.meshgrid(torch.arange(14), torch.arange(14), indexing='ij')
        known = torch.where(rows < 5, 2, (columns >= 7).long())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, 'find_concepts', lambda *_, known=known: known[None])
            found = find_concepts(model, *views)
        np.testing.assert_array_equal(found.views[0].shape, (CELLS, CELLS))
        step = SIDE // CELLS
        for view, labels in zip(views[:2], found.views, strict=True):
            for (row, column), label in np.ndenumerate(labels):
                tile = view.image[row * step : (row + 1) * step, column * step : (column + 1) * step]
                red, green = tile[..., 0].astype(float), tile[..., 1].astype(float)
                place = np.where(green < y1 + (y2 - y1) * 5 / 14, 2, np.where(red >= x1 + (x2 - x1) * 0.5, 1, 0))
                shares = np.bincount(place.ravel(), minlength=3) / place.size
                if shares.max() > 0.85:  # elsewhere whole cells of the reference decide, and the pixels may say else
                    assert label == shares.argmax()
                    checked += 1
    assert checked > 200


def test_figure_paints_each_cell_in_the_colour_of_its_concept(cfg, model, mosaic):
    source, *views = load_views(cfg, mosaic, 3, 3)
    cells = np.array([[0, 3, 1], [2, 3, 0]])
    seen = np.array([[1, 1], [1, 2]]), np.array([[0, 0], [1, 1]])
    reference = np.array([[0, 1, 2], [2, 2, 0]])
    figure = draw_concepts(source, *views, Concepts(reference, seen, cells))
    axes = {panel.get_title(loc='left').split('\n')[0]: panel for panel in figure.axes}
    shared = axes['Concepts of the query view']
    half = SIDE / 2
    expected = [(ABSENT if label != 1 else AREAS[1].lower(), label) for label in (1, 1, 1, 2)]
    for (color, label), (painted, box), place in zip(
        expected, _drawn(shared), [(0, 0), (half, 0), (0, half), (half, half)], strict=True
    ):
        assert painted == color, label
        np.testing.assert_allclose(box, (*place, place[0] + half, place[1] + half))
    letters = [text.get_text() for text in shared.texts]
    assert letters == ['B', 'B', 'B', 'C\u0336']

    x1, y1, x2, y2 = views[2].box
    width, height = (x2 - x1) / 3, (y2 - y1) / 2
    drawn = _drawn(axes['Concepts in the reference view'])
    assert [color for color, _ in drawn] == [AREAS[label].lower() for label in reference.ravel()]
    np.testing.assert_allclose(drawn[5][1], (x1 + 2 * width, y1 + height, x2, y2), rtol=1e-5)


def test_figure_counts_cells_in_bars(cfg, model, mosaic):
    source, *views = load_views(cfg, mosaic, 4, 3)
    found = _found(model, views, 4)
    bars = draw_concepts(source, *views, found).axes[-1]
    assert f'({found.shared.sum()} of {K} in both views' in bars.get_title(loc='left')
    boxes = [container.patches[0] for container in bars.containers]
    lengths = np.array([abs(box.get_width()) for box in boxes]).reshape(K, 2).T
    np.testing.assert_allclose(lengths, found.cells, atol=1e-9)
    sides = np.array([box.get_x() + box.get_width() / 2 for box in boxes]).reshape(K, 2).T
    assert (sides[0] < 0).all()
    assert (sides[1] > 0).all()
    colors = [to_hex(box.get_facecolor()) for box in boxes[::2]]
    assert colors == [color_of(k).lower() if found.shared[k] else ABSENT for k in range(K)]


def test_source_is_faded_where_the_reference_does_not_reach(cfg, model, mosaic):
    for seed in SEEDS[:3]:
        source, *views = load_views(cfg, mosaic, seed, 3)
        figure = draw_concepts(source, *views, _found(model, views, seed))
        faded = np.zeros(source.shape[:2], bool)
        for _, (left, top, right, bottom) in _drawn(figure.axes[0]):
            faded[round(top) : round(bottom), round(left) : round(right)] = True
        x1, y1, x2, y2 = (round(edge) for edge in views[2].box)
        expected = np.ones_like(faded)
        expected[y1:y2, x1:x2] = False
        np.testing.assert_array_equal(faded, expected)


def test_colours_and_letters_of_many_concepts():
    assert len({color_of(concept) for concept in range(8)}) == 8
    assert len({letter(concept) for concept in range(40)}) == 40
    assert [letter(concept) for concept in (0, 25, 26)] == ['A', 'Z', '27']


def test_checkpoint_of_concl_gives_its_key_encoder(cfg, model, tmp_path):
    """A ConCL checkpoint holds two backbones; concepts are the key encoder's."""
    torch.manual_seed(5)
    trained = ConCL(**{name: value for name, value in cfg.model.items() if name != 'type'})
    key = trained.get_submodule('key_encoder.module.backbone')
    for parameter in key.parameters():
        parameter.data += 0.5
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'concl.pth')
    loaded = load_concl(cfg, str(tmp_path / 'concl.pth')).get_submodule('key_encoder.module.backbone')
    torch.testing.assert_close(loaded.state_dict(), key.state_dict())
    online = {f'backbone.{name}': value for name, value in trained.backbone.state_dict().items()}
    torch.save(dict(state_dict=online), tmp_path / 'moco.pth')
    loaded = load_concl(cfg, str(tmp_path / 'moco.pth')).get_submodule('key_encoder.module.backbone')
    torch.testing.assert_close(loaded.state_dict(), trained.backbone.state_dict())


def test_model_without_concepts_is_refused():
    with pytest.raises(ValueError, match=r'moco_plm_r18_nct\.py: its model is DenseMoCo, which has no concepts'):
        load_concl(Config.fromfile('configs/plm/moco_plm_r18_nct.py'))


def test_reference_view_that_is_turned(cfg, model, mosaic):
    """Labels lie as in the source: turning the reference's pixels and saying so turns neither map nor views."""
    _, query, key, reference = load_views(cfg, mosaic, 1, 3)
    geometry = replace(reference.geometry, hflip=torch.tensor([True]))
    turned = View(np.ascontiguousarray(reference.image[:, ::-1]), geometry)
    calls = []

    def pooled(images):
        calls.append(images)
        return F.avg_pool2d(images, 8), F.avg_pool2d(images, 28)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.get_submodule('key_encoder.module.backbone'), 'forward', pooled)
        plain, mirrored = (_found(model, (query, key, view), 1) for view in (reference, turned))
    assert not torch.equal(calls[0], calls[3])
    np.testing.assert_array_equal(plain.reference, mirrored.reference)
    np.testing.assert_array_equal(plain.views, mirrored.views)
