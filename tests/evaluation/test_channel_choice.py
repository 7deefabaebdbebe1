"""Which channel a rule takes, and figures over restarts, by hand."""

import math

import numpy as np
import pytest

from histomm.evaluation.channel_choice import choose_channel, mean_scores, summarize_restarts
from histomm.evaluation.confidence_scores import ChannelScores


def _scores(dice, haematoxylin, entropy=None) -> ChannelScores:
    dice, haematoxylin = np.array(dice, float), np.array(haematoxylin, float)
    return ChannelScores(dice, dice, np.zeros(len(dice)) if entropy is None else np.array(entropy), haematoxylin)


def test_numbers_are_compared_and_not_their_texts():
    """As text '9e-05' is above '0.7', and '10' below '9'; channels above the ninth count as well."""
    scores = _scores([9e-05, 0.7, 0.62], [0, 0, 0])
    assert choose_channel(scores, 'by_labels') == (1, 0.7)
    many = _scores([0.1] * 10 + [0.3, 0.2], [0] * 12)
    assert choose_channel(many, 'by_labels').channel == 10


def test_each_rule_reads_its_own_scores():
    scores = _scores([0.9, 0.1, 0.3], [0.2, -0.8, 0.5])
    assert choose_channel(scores, 'by_labels') == (0, 0.9)
    assert choose_channel(scores, 'label_free') == (2, 0.5)
    without = scores._replace(dice=np.full(3, math.nan), dice_raw=np.full(3, math.nan))
    assert choose_channel(without, 'label_free') == choose_channel(scores, 'label_free')


def test_all_but_the_nuclei_is_no_choice():
    assert choose_channel(_scores([0.3, 0.0], [-0.9, 0.0]), 'label_free').channel == 1


def test_the_first_of_equals_is_taken():
    assert choose_channel(_scores([0.5, 0.5], [0.5, 0.5]), 'by_labels').channel == 0


def test_means_are_over_images():
    images = [_scores([0.2, 1.0], [0.5, 0]), _scores([0.6, 0.0], [0.1, 1]), _scores([0.1, 0.5], [0.3, 0.5])]
    mean = mean_scores(images)
    assert mean.dice == pytest.approx([0.3, 0.5])
    assert mean.haematoxylin == pytest.approx([0.3, 0.5])


def test_no_labels_no_choice_by_them():
    with pytest.raises(ValueError, match='to choose by labels every image needs them'):
        choose_channel(_scores([math.nan, 0.5], [0, 0]), 'by_labels')
    with pytest.raises(ValueError, match="'best', expected one of by_labels, label_free"):
        choose_channel(_scores([0.5], [0]), 'best')


def test_restarts_by_hand():
    summary = summarize_restarts([0.2, 0.6, 0.4, 0.5, 0.3, 0.1])
    assert summary.max == 0.6
    assert summary.mean == pytest.approx(0.35)
    assert summary.sd == pytest.approx(math.sqrt(0.175 / 5))
    assert summary.percentile_80 == pytest.approx(0.5)  # of six, the fifth: 0.8 · 5 = 4 from the first
    assert summary.restarts == 6
    assert summarize_restarts([0.0, 1.0]).percentile_80 == pytest.approx(0.8)


def test_one_restart_has_no_deviation():
    assert summarize_restarts([0.4]) == (0.4, 0.4, None, 0.4, 1)
    with pytest.raises(ValueError, match='no restart'):
        summarize_restarts([])
