"""Tile by tile equals the whole: confidences, and the nuclei made of them."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from histomm.evaluation.nuclei_post import clean_mask, split_nuclei
from histomm.evaluation.nuclei_stitching import NucleiStitcher, halo_of
from histomm.evaluation.tiled_confidence import (
    Box,
    core_confidence,
    cores,
    predict_confidence,
    receptive_radius,
)
from histomm.models import ConfidenceNet, PatchContrast


@pytest.fixture(scope='module')
def model():
    """With weights and running statistics under which every layer counts."""
    torch.manual_seed(0)
    model = PatchContrast(dict(type='histomm.ConfidenceNet'))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.1, 0.4)
    return model.eval()


def reader(pixels):
    return lambda x, y, width, height: pixels[y : y + height, x : x + width]


def test_receptive_radius_is_where_the_gradient_ends():
    torch.manual_seed(0)
    network = ConfidenceNet(num_classes=1, dilations=(1, 3)).double().eval()
    assert receptive_radius(network) == 9
    image = torch.rand(1, 3, 41, 41, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, 20, 20].backward()
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert seen.min() == 20 - 9
    assert seen.max() == 20 + 9
    assert receptive_radius(ConfidenceNet()) == 83


def test_networks_whose_tiles_differ_are_refused():
    with pytest.raises(ValueError, match='layer 1 is MaxPool2d, expected convolutions of stride 1'):
        receptive_radius(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)))
    with pytest.raises(ValueError, match='ReLU has no convolution'):
        receptive_radius(nn.ReLU())


def test_cores_cover_the_image_once():
    times = np.zeros((23, 31), int)
    for core in cores((31, 23), 10):
        times[core.within(Box(0, 0, 31, 23))] += 1
    assert (times == 1).all()
    with pytest.raises(ValueError, match='tiles of 0 pixels'):
        next(cores((31, 23), 0))


def test_tiles_equal_the_whole_image(model):
    pixels = np.random.default_rng(0).integers(0, 256, (230, 310, 3)).astype(np.uint8)
    whole = predict_confidence(model, pixels)
    radius = receptive_radius(model.backbone)
    largest = 0
    for core in cores((310, 230), 96):
        given, found = core_confidence(model, reader(pixels), (310, 230), core, radius, halo=5)
        assert given == core.grown(5, (310, 230))
        expected = whole[(slice(None), *given.within(Box(0, 0, 310, 230)))]
        largest = max(largest, np.abs(found - expected).max())
    assert largest < 1e-5
    smaller = [
        np.abs(found - whole[(slice(None), *core.within(Box(0, 0, 310, 230)))]).max()
        for core in cores((310, 230), 96)
        for _, found in [core_confidence(model, reader(pixels), (310, 230), core, radius // 2)]
    ]
    assert max(smaller) > 1e-5, 'half the radius would do, so the test shows nothing'


def drawn_confidence(seed, size=(200, 170)):
    """Blobs that touch and overlap, noise at their rims."""
    random = np.random.default_rng(seed)
    canvas = np.zeros(size[::-1], np.float32)
    for _ in range(60):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        cv2.ellipse(
            canvas, (int(x), int(y)), (int(random.integers(4, 14)), 6), float(random.integers(180)), 0, 360, 1, -1
        )
    noise = cv2.GaussianBlur(random.random(canvas.shape).astype(np.float32), (0, 0), 1.5)
    return np.clip(0.7 * canvas + noise - 0.3, 0, 1)


@pytest.mark.parametrize(
    ('seed', 'side', 'radii'),
    [(0, 40, (3, 1)), (1, 33, (3, 1)), (2, 64, (2, 1)), (3, 17, (3, 1)), (3, 17, (5, 2)), (4, 200, (3, 1))],
)
def test_nuclei_of_tiles_are_those_of_the_whole(seed, side, radii):
    confidence = drawn_confidence(seed)
    size = confidence.shape[::-1]
    whole = split_nuclei(clean_mask(confidence > 0.5, radii))
    stitcher = NucleiStitcher(size, radii=radii)
    blocks = []
    for core in cores(size, side):
        given = core.grown(halo_of(radii), size)
        blocks.append(stitcher.add(core, given, confidence[given.within(Box(0, 0, *size))]))
    blocks += stitcher.finish()
    labels, means = np.zeros_like(whole), []
    for block in blocks:
        height, width = block.labels.shape
        part = labels[block.y : block.y + height, block.x : block.x + width]
        assert not part[block.labels > 0].any(), 'a nucleus is painted twice'
        part[block.labels > 0] = block.labels[block.labels > 0] + len(means)
        means += block.mean_confidence().tolist()
    assert whole.max() > 20
    assert labels.max() == whole.max()
    assert len(np.unique(np.stack((labels, whole)).reshape(2, -1), axis=1).T) == whole.max() + 1
    np.testing.assert_allclose(
        means, [confidence[labels == number].mean() for number in range(1, labels.max() + 1)], rtol=1e-5
    )


@pytest.mark.parametrize(('radii', 'too_little'), [((1,), 3), ((2, 1), 7)])
def test_morphology_looks_as_far_as_the_halo(radii, too_little):
    """Of masks cut off beside what is wanted."""
    wanted, halo = 45, halo_of(radii)
    differ = dict.fromkeys((halo, too_little), 0)
    for seed in range(40):
        random = np.random.default_rng(seed)
        noise = cv2.GaussianBlur(random.random((90, 90)).astype(np.float32), (0, 0), random.uniform(0.5, 3))
        mask = noise > np.quantile(noise, random.uniform(0.3, 0.7))
        whole = clean_mask(mask, radii)[:, wanted:]
        for margin in differ:
            differ[margin] += not np.array_equal(clean_mask(mask[:, wanted - margin :], radii)[:, margin:], whole)
    assert differ[halo] == 0
    assert differ[too_little] > 0


def test_an_empty_tile_has_no_nuclei():
    stitcher = NucleiStitcher((30, 30))
    block = stitcher.add(Box(0, 0, 15, 30), Box(0, 0, 30, 30), np.zeros((30, 30)))
    assert block.count() == 0
    assert block.mean_confidence().shape == (0,)
    assert list(stitcher.finish()) == []
