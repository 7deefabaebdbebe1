"""Scores of channels against naive loops and numbers by hand."""

import math

import numpy as np
import pytest

from histomm.evaluation.confidence_scores import (
    channel_scores,
    correlation,
    haematoxylin_density,
    instance_terms,
    mean_entropy,
)
from histomm.evaluation.nuclei_post import clean_mask

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])  # Ruifrok & Johnston 2001
SIZE = 40


def _tissue() -> tuple[np.ndarray, np.ndarray]:
    """Image of two round nuclei on eosin, and their labels."""
    y, x = np.mgrid[:SIZE, :SIZE]
    labels = np.zeros((SIZE, SIZE), np.int32)
    labels[(y - 12) ** 2 + (x - 12) ** 2 <= 49] = 1
    labels[(y - 27) ** 2 + (x - 27) ** 2 <= 36] = 2
    density = np.where(labels[..., None] > 0, 1.2 * HAEMATOXYLIN, 0.4 * EOSIN)
    noise = np.random.default_rng(0).normal(0, 0.02, density.shape)
    return np.clip(255 * np.exp(-density - noise), 0, 255).astype(np.uint8), labels


def test_entropy_is_that_of_a_loop():
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    total = 0.0
    for c in values.ravel().tolist():
        total += -c * math.log2(c) - (1 - c) * math.log2(1 - c)
    assert mean_entropy(values) == pytest.approx(total / 35, rel=1e-6)


@pytest.mark.parametrize(('value', 'expected'), [(0, 0), (1, 0), (0.5, 1), (0.25, 2 - 0.75 * math.log2(3))])
def test_entropy_by_hand(value, expected):
    assert mean_entropy(np.full((3, 3), value, np.float32)) == pytest.approx(expected, abs=1e-6)


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    first, second = rng.random((6, 5)), rng.random((6, 5))
    assert correlation(first, second) == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    assert correlation(first, 3 - 2 * first) == pytest.approx(-1)
    mask = first > 0.5
    assert correlation(mask, second) == pytest.approx(np.corrcoef(mask.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize('constant', [0.0, 1.0, 0.1])
def test_correlation_with_nothing_is_0(constant):
    assert correlation(np.full((9, 7), constant), np.random.default_rng(0).random((9, 7))) == 0


def test_haematoxylin_is_dense_in_nuclei_alone():
    image, labels = _tissue()
    density = haematoxylin_density(image)
    assert density.shape == labels.shape
    assert density[labels > 0].min() > density[labels == 0].max()


def test_scores_of_channels_that_are_known():
    """The nuclei, all but them, nothing, everything, and one nucleus of two."""
    image, labels = _tissue()
    nuclei = labels > 0
    confidence = np.stack([nuclei * 0.9, ~nuclei * 0.9, 0 * nuclei, 0 * nuclei + 1, (labels == 1) * 0.6]).astype('f4')
    scores = channel_scores(confidence, image, labels)
    ones = np.count_nonzero(labels == 1)
    twos = np.count_nonzero(labels == 2)
    assert scores.dice_raw[0] == 1
    assert scores.dice_raw[1] == 0
    assert scores.dice_raw[2] == 0
    assert scores.dice_raw[3] == pytest.approx(2 * (ones + twos) / (ones + twos + SIZE**2))
    assert scores.dice_raw[4] == pytest.approx(2 * ones / (2 * ones + twos))
    for k, raw in enumerate(confidence > 0.5):
        clean = clean_mask(raw)
        assert scores.dice[k] == pytest.approx(2 * (clean & nuclei).sum() / (clean.sum() + nuclei.sum()))
    assert scores.haematoxylin[0] > 0.9
    assert scores.haematoxylin[1] < -0.3
    assert scores.haematoxylin[2] == 0
    assert 0.4 < scores.haematoxylin[4] < scores.haematoxylin[0]
    expected = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert scores.entropy[0] == pytest.approx(expected * nuclei.mean(), rel=1e-5)
    assert scores.entropy[2:4].tolist() == [0, 0]


def test_a_confidence_of_just_the_threshold_is_no_nucleus():
    image, labels = _tissue()
    confidence = np.where(labels > 0, 0.5, 0.0)[None]
    assert channel_scores(confidence, image, labels).dice_raw.tolist() == [0]
    assert channel_scores(confidence, image, labels, threshold=0.4).dice_raw.tolist() == [1]


def test_images_without_nuclei():
    image, labels = _tissue()
    confidence = np.zeros((2, SIZE, SIZE), np.float32)
    confidence[1] = 1
    assert channel_scores(confidence, image, 0 * labels).dice.tolist() == [1, 0]


def test_without_labels_the_dice_is_missing_and_the_rest_is_the_same():
    image, labels = _tissue()
    confidence = np.random.default_rng(0).random((3, SIZE, SIZE))
    known, unknown = channel_scores(confidence, image, labels), channel_scores(confidence, image)
    assert np.isnan(unknown.dice).all()
    assert np.isnan(unknown.dice_raw).all()
    assert np.array_equal(unknown.entropy, known.entropy)
    assert np.array_equal(unknown.haematoxylin, known.haematoxylin)


def test_nuclei_of_a_channel_that_is_right():
    _, labels = _tissue()
    terms, found = instance_terms((labels > 0).astype(np.float32), labels)
    assert found.max() == 2
    assert (terms.matches, terms.num_gt, terms.num_pred) == (2, 2, 2)
    assert terms.intersection == np.count_nonzero(clean_mask(labels > 0) & (labels > 0))


@pytest.mark.parametrize('value', [-0.1, 1.5, np.nan])
def test_what_is_no_confidence_is_named(value):
    image, _ = _tissue()
    confidence = np.zeros((1, SIZE, SIZE))
    confidence[0, 3, 4] = value
    with pytest.raises(ValueError, match='expected 0 to 1 and no NaN'):
        channel_scores(confidence, image)


def test_shapes_are_named():
    image, _ = _tissue()
    with pytest.raises(ValueError, match=r'\(1, 40, 39\), the image \(40, 40, 3\)'):
        channel_scores(np.zeros((1, 40, 39)), image)
