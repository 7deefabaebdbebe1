"""The threshold of intensity against one mask after the other."""

import numpy as np
import pytest

from histomm.evaluation.intensity_threshold import THRESHOLDS, dice_by_threshold, fit_threshold, luminance
from histomm.evaluation.nuclei_post import dice


def test_luminance_by_hand():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [100, 50, 200]]], np.uint8)
    expected = np.array([[0.299, 0.587, 0.114], [0, 1, (29.9 + 29.35 + 22.8) / 255]])
    np.testing.assert_allclose(luminance(image, 0), expected, atol=1e-12)
    np.testing.assert_allclose(luminance(image), 0.05 + 0.95 * expected, atol=1e-12)


def test_every_dice_is_that_of_its_mask():
    rng = np.random.default_rng(0)
    grey = rng.random((20, 30))
    grey[:3] = THRESHOLDS[40]  # as dark as a threshold is not darker
    truth = rng.integers(0, 3, grey.shape) * (grey < 0.6)
    expected = [dice(grey < threshold, truth) for threshold in THRESHOLDS]
    np.testing.assert_allclose(dice_by_threshold(grey, truth), expected, rtol=1e-12)


def test_of_nothing_nothing_is_right():
    grey, nothing = np.full((4, 4), 0.5), np.zeros((4, 4), int)
    assert dice_by_threshold(grey, nothing, np.array([0.2, 0.5, 0.6])).tolist() == [1, 1, 0]


def test_fit_takes_the_first_of_the_best_means():
    first = np.array([[0.1, 0.3, 0.5, 0.7]]), np.array([[1, 1, 0, 0]])
    second = np.array([[0.1, 0.3, 0.5, 0.7]]), np.array([[4, 0, 0, 0]])
    fitted = fit_threshold([first, second], np.array([0.0, 0.2, 0.35, 0.4, 0.6, 0.8]))
    np.testing.assert_allclose(fitted.curve, [0, 5 / 6, 5 / 6, 5 / 6, (4 / 5 + 1 / 2) / 2, (2 / 3 + 2 / 5) / 2])
    assert fitted.threshold == 0.2
    assert fitted.train_dice == pytest.approx(5 / 6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='found no image to fit a threshold on'):
        fit_threshold([])
    with pytest.raises(ValueError, match=r'image has shape \(2, 3\), the truth \(3, 2\)'):
        dice_by_threshold(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r'shape \(4, 4\) and type float64, expected \(H, W, 3\) of uint8'):
        luminance(np.zeros((4, 4)))
