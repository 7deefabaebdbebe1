"""From images and slides to label maps, polygons and pictures; interrupted and resumed."""

import json
import shutil
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tool_modules import load_tool

from histomm.evaluation import nuclei_segmentation
from histomm.evaluation.nuclei_post import clean_mask, split_nuclei
from histomm.evaluation.nuclei_sources import open_source
from histomm.evaluation.tiled_confidence import predict_confidence
from histomm.models import PatchContrast

CONFIG = 'configs/patch_contrast/confnet_mse_patches.py'


@pytest.fixture(scope='module')
def tool():
    return load_tool('tools/segment_nuclei.py')


def draw(size=(300, 260), seed=0):
    """Dark discs on pink."""
    random = np.random.default_rng(seed)
    pixels = np.full((*size[::-1], 3), (225, 170, 200), np.uint8)
    for _ in range(40):
        middle = int(random.integers(0, size[0])), int(random.integers(0, size[1]))
        cv2.circle(pixels, middle, int(random.integers(6, 12)), (70, 40, 120), -1)
    return pixels


@pytest.fixture(scope='module')
def model():
    """Channel 2 is high where an image is dark: the first layer sums the colours, and the others pass it on."""
    torch.manual_seed(0)
    model = PatchContrast(dict(type='histomm.ConfidenceNet'))
    with torch.no_grad():
        for block in model.backbone.blocks:
            for parameter in block.parameters():
                parameter.mul_(0.01)
        model.backbone.conv1[0].weight.zero_()
        model.backbone.conv1[0].weight[0, :, 1, 1] = 1
        model.backbone.classifier.weight.mul_(0.1)
        model.backbone.classifier.weight[2] = 0
        model.backbone.classifier.weight[2, 0] = -20
        model.backbone.classifier.bias.fill_(-1)
        model.backbone.classifier.bias[2] = 32
    return model.eval()


@pytest.fixture(scope='module')
def place(tmp_path_factory, model):
    root = tmp_path_factory.mktemp('segment')
    torch.save(dict(state_dict=model.state_dict()), root / 'weights.pth')
    (root / 'images').mkdir()
    for number in range(2):
        Image.fromarray(draw(seed=number)).save(root / 'images' / f'{number}.png')
    return root


@pytest.fixture(autouse=True)
def _in_repository(repo, monkeypatch):
    monkeypatch.chdir(repo)
    torch.set_num_threads(1)


def pyramid(path, pixels):
    tifffile = pytest.importorskip('tifffile')
    with tifffile.TiffWriter(path) as file:
        options = dict(photometric='rgb', tile=(64, 64))
        file.write(pixels, subifds=0, resolution=(20000, 20000), resolutionunit='CENTIMETER', **options)
        file.write(pixels[::2, ::2].copy(), subfiletype=1, **options)


def expected(model, pixels):
    return split_nuclei(clean_mask(predict_confidence(model, pixels)[2] > 0.5))


def same_nuclei(labels, other):
    return labels.max() == other.max() == len(np.unique(np.stack((labels, other)).reshape(2, -1), axis=1).T) - 1


def test_images_get_maps_polygons_and_pictures(tool, place, model, tmp_path, capsys):
    arguments = [CONFIG, str(place / 'weights.pth'), str(place / 'images'), '--out', str(tmp_path), '--device', 'cpu']
    tool.main([*arguments, '--tile', '70', '--geojson', '--overlay', '--simplify', '0'])
    said = capsys.readouterr().out
    assert 'channel 2, as chosen without labels' in said
    for number in range(2):
        pixels = draw(seed=number)
        labels = np.array(Image.open(tmp_path / f'{number}.png')).astype(int)
        assert labels.max() > 15
        assert same_nuclei(labels, expected(model, pixels))
        features = json.loads((tmp_path / f'{number}.geojson').read_text())['features']
        assert len(features) == labels.max()
        assert sum(feature['properties']['measurements']['Area px²'] for feature in features) == (labels > 0).sum()
        assert all(feature['properties']['measurements']['Mean confidence'] > 0.5 for feature in features)
        canvas = np.zeros(labels.shape, np.uint8)
        for feature in features:
            geometry = feature['geometry']
            rings = (
                geometry['coordinates']
                if geometry['type'] == 'Polygon'
                else [r for p in geometry['coordinates'] for r in p]
            )
            middles = [np.int32(np.round((np.array(ring) - 0.5) * 16)) for ring in rings]
            cv2.fillPoly(canvas, middles, 1, shift=4)
        assert np.count_nonzero((canvas > 0) & (labels == 0)) < 0.25 * (labels > 0).sum()  # fillPoly paints its border
        assert canvas[labels > 0].all()
        with Image.open(tmp_path / f'{number}_overlay.jpg') as picture:
            assert picture.size == (300, 260)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    content = (tmp_path / '1.png').read_bytes()
    (tmp_path / '1.png').unlink()
    tool.main([*arguments, '--tile', '70', '--overlay', '--simplify', '0'])
    said = capsys.readouterr().out
    assert f'{place}/images/0.png: finished before' in said
    assert (tmp_path / '1.png').read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert (tmp_path / '0.png').stat().st_mtime_ns == before['0.png']


def test_no_channel_for_nuclei_is_told(place, model, monkeypatch):
    told = []
    monkeypatch.setattr(nuclei_segmentation, 'print_log', lambda text, logger, level: told.append(text))
    sources = [open_source(place / 'images/0.png')]
    assert nuclei_segmentation.choose_without_labels(model, sources) == 2
    assert not told
    blind = deepcopy(model)
    torch.nn.init.zeros_(blind.backbone.classifier.weight)
    torch.nn.init.constant_(blind.backbone.classifier.bias, -1)
    assert nuclei_segmentation.choose_without_labels(blind, sources) == 0
    assert 'highest correlation 0.000), so channel 0 will hardly be nuclei' in told[0]


def test_morphology_is_that_of_the_config_or_of_the_command(tool, place, model, tmp_path):
    arguments = [CONFIG, str(place / 'weights.pth'), str(place / 'images/0.png'), '--channel', '2', '--tile', '70']
    mask = predict_confidence(model, draw(seed=0))[2] > 0.5
    for name, more in (('a', ['--radii', '5', '2']), ('b', ['--cfg-options', 'test_evaluator.radii=(5,2)'])):
        tool.main([*arguments, '--out', str(tmp_path / name), *more])
        labels = np.array(Image.open(tmp_path / name / '0.png')).astype(int)
        assert same_nuclei(labels, split_nuclei(clean_mask(mask, (5, 2))))
        assert not same_nuclei(labels, split_nuclei(clean_mask(mask)))


def test_slides_get_polygons_at_level_0(tool, place, model, tmp_path):
    pixels = draw((400, 300), seed=3)
    pyramid(tmp_path / 'slide.tif', pixels)
    arguments = [CONFIG, str(place / 'weights.pth'), str(tmp_path / 'slide.tif'), '--channel', '2', '--simplify', '0']
    tool.main([*arguments, '--out', str(tmp_path / 'whole'), '--tile', '128'])
    features = json.loads((tmp_path / 'whole/slide.geojson').read_text())['features']
    assert len(features) == expected(model, pixels).max()
    region = ['--region', '120', '60', '200', '180']
    tool.main([*arguments, '--out', str(tmp_path / 'region'), '--overlay', *region])
    features = json.loads((tmp_path / 'region/slide.geojson').read_text())['features']
    nuclei = expected(model, pixels[60:240, 120:320])
    assert len(features) == nuclei.max()
    middles = [np.mean(feature['geometry']['coordinates'][0][:-1], axis=0) for feature in features]
    rows, columns = np.nonzero(nuclei)
    assert np.min(middles, axis=0)[0] > 120 + columns.min() - 1
    assert np.max(middles, axis=0)[1] < 60 + rows.max() + 1
    found = np.mean(
        [np.average(ring, axis=0) for ring in (np.array(f['geometry']['coordinates'][0]) for f in features)], axis=0
    )
    centres = np.mean([np.argwhere(nuclei == n).mean(0)[::-1] for n in range(1, nuclei.max() + 1)], axis=0)
    np.testing.assert_allclose(found - (120.5, 60.5), centres, atol=2)
    with Image.open(tmp_path / 'region/slide_overlay.jpg') as picture:
        assert picture.size == (200, 180)


def test_another_resolution_is_scaled_back(tool, place, tmp_path):
    """At 1 µm a pixel of 0.5 µm spans two."""
    pyramid(tmp_path / 'slide.tif', draw((400, 300), seed=3))
    arguments = [CONFIG, str(place / 'weights.pth'), str(tmp_path / 'slide.tif'), '--channel', '2']
    tool.main([*arguments, '--out', str(tmp_path / 'out'), '--mpp', '1', '--slide-mpp', '0.5', '--simplify', '0'])
    features = json.loads((tmp_path / 'out/slide.geojson').read_text())['features']
    corners = np.concatenate([np.array(feature['geometry']['coordinates'][0]) for feature in features])
    assert (corners % 2 == 0).all()
    assert corners.max(axis=0)[0] > 300


def test_more_nuclei_than_16_bits_hold(tool, tmp_path):
    labels = np.arange(70_000, dtype=np.int32).reshape(280, 250)
    path = tool.write_label_map(tmp_path / 'a', labels)
    assert path.suffix == '.tif'
    np.testing.assert_array_equal(np.array(Image.open(path)), labels)


def test_what_is_wrong_is_told_in_a_sentence(tool, place, tmp_path):
    weights, image = str(place / 'weights.pth'), str(place / 'images/0.png')
    (tmp_path / 'twice').mkdir()
    shutil.copy(image, tmp_path / 'twice/0.png')
    (tmp_path / 'empty').mkdir()
    tool.main([CONFIG, weights, image, '--out', str(tmp_path / 'done'), '--channel', '2'])
    for words, message in (
        ([image, '--channel', '9'], 'channel is 9, the network has channels 0 to 3'),
        ([str(tmp_path / 'none.png')], 'none.png: no such file or folder'),
        ([str(tmp_path / 'empty')], 'no image and no slide in it'),
        ([image, str(tmp_path / 'twice/0.png')], 'would share the name'),
        ([image, '--cfg-options', 'model.bn_batch_stats=True'], 'tiles differ from the whole image'),
        ([image, '--cfg-options', 'model.backbone.num_classes=2'], 'is not of the model of the config'),
        ([image, '--out', str(tmp_path / 'done'), '--threshold', '0.7'], 'results of other settings'),
        ([image, '--out', str(tmp_path / 'done'), '--radii', '2', '1'], 'results of other settings'),
        ([image, '--radii', '0'], 'radius of a disk is 0, expected at least 1'),
    ):
        with pytest.raises(SystemExit, match=message):
            tool.main([CONFIG, weights, '--out', str(tmp_path / 'new'), *words])
        shutil.rmtree(tmp_path / 'new', ignore_errors=True)
    pyramid(tmp_path / 'slide.tif', draw((128, 128)))
    arguments = [CONFIG, weights, str(tmp_path / 'slide.tif'), '--out', str(tmp_path / 'new'), '--channel', '2']
    with pytest.raises(
        SystemExit, match=r'region of 100×100 pixels at \(100, 0\), expected one within the slide of 128'
    ):
        tool.main([*arguments, '--region', '100', '0', '100', '100'])
    assert not [path for path in (tmp_path / 'new').glob('*') if path.suffix != '.json']
