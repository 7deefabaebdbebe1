"""AJI and panoptic quality against loops over the definitions, hand-worked cases and invariances."""

import itertools

import numpy as np
import pytest
from drawn_labels import ellipses, masks_of, noise, relabelled, squares
from PIL import Image

from histomm.evaluation import OverlapTerms, aggregated_jaccard, overlap_scores, overlap_terms, panoptic_quality

PAIRS = [(ellipses(seed), ellipses(seed + 50)) for seed in range(6)] + [(noise(s), noise(s + 50)) for s in range(6)]
PAIRS += [(ellipses(seed), np.roll(ellipses(seed), (1, 2), (0, 1))) for seed in range(4)]


def naive_aji(gt, pred):
    """Kumar et al. 2017, algorithm 1."""
    intersection = union = 0
    used = set()
    for one in gt:
        index = [np.sum(one & other) / np.sum(one | other) for other in pred]
        best = int(np.argmax(index))
        if index[best] == 0:
            union += one.sum()
            continue
        intersection += np.sum(one & pred[best])
        union += np.sum(one | pred[best])
        used.add(best)
    union += sum(other.sum() for k, other in enumerate(pred) if k not in used)
    return intersection / union


def naive_pq(gt, pred):
    """Kirillov et al. 2019, eq. 1: PQ, and its factors SQ and DQ (eq. 2)."""
    ious = [np.sum(one & other) / np.sum(one | other) for one in gt for other in pred]
    matched = [iou for iou in ious if iou > 0.5]
    errors = (len(pred) - len(matched)) / 2 + (len(gt) - len(matched)) / 2
    return sum(matched) / (len(matched) + errors), len(matched) / (len(matched) + errors)


@pytest.mark.parametrize('pair', range(len(PAIRS)))
def test_agrees_with_the_definitions(pair):
    gt, pred = PAIRS[pair]
    objects = masks_of(gt), masks_of(pred)
    scores = overlap_scores([overlap_terms(gt, pred)])
    assert scores.aji == aggregated_jaccard(gt, pred) == pytest.approx(naive_aji(*objects))
    assert scores.pq == panoptic_quality(gt, pred) == pytest.approx(naive_pq(*objects)[0])
    assert scores.dq == pytest.approx(naive_pq(*objects)[1])
    assert scores.pq == pytest.approx(scores.dq * scores.sq)


def test_two_squares_that_overlap():
    gt = squares((5, 5, 10, 10))
    assert aggregated_jaccard(gt, squares((5, 9, 10, 10))) == pytest.approx(60 / 140)
    assert panoptic_quality(gt, squares((5, 9, 10, 10))) == 0
    assert panoptic_quality(gt, squares((5, 7, 10, 10))) == pytest.approx(80 / 120)


def test_an_overlap_of_one_half_is_no_match():
    assert panoptic_quality(squares((0, 0, 10, 10)), squares((0, 0, 10, 5))) == 0
    assert panoptic_quality(squares((0, 0, 10, 10)), squares((0, 0, 10, 5)) + squares((0, 5, 1, 1))) == 0.51


def test_a_predicted_object_may_serve_several():
    """One object over two: both are joined with it, 200 shared pixels of 400; none is above one half."""
    scores = overlap_scores([overlap_terms(squares((0, 0, 10, 10), (0, 10, 10, 10)), squares((0, 0, 10, 20)))])
    assert scores == (0.5, 0, 0, 0)


def test_the_best_partner_is_that_of_highest_iou():
    """The large object shares 60 pixels and has IoU 60/640, the small one shares 40 and has IoU 40/100."""
    gt = squares((0, 0, 10, 10), shape=(40, 70))
    pred = squares((0, 4, 10, 60), (0, 0, 10, 4), shape=(40, 70))
    assert aggregated_jaccard(gt, pred) == pytest.approx(40 / (100 + 600))


def test_missed_and_invented_objects():
    gt = squares((0, 0, 10, 10), (20, 0, 10, 5))
    pred = squares((0, 0, 10, 10), (0, 30, 10, 7))
    scores = overlap_scores([overlap_terms(gt, pred)])
    assert scores == pytest.approx((100 / (100 + 50 + 70), 0.5, 0.5, 1))


def test_one_side_or_both_without_objects():
    some, none = squares((0, 0, 10, 10)), squares()
    for score in (aggregated_jaccard, panoptic_quality):
        assert score(some, none) == score(none, some) == 0
        assert score(none, none, empty='perfect') == 1
        assert np.isnan(score(none, none))


def test_pooled_and_mean_over_images():
    """A match of IoU 1 among one object; none among two of 100 and 50 pixels; nothing at all."""
    images = [
        (squares((0, 0, 10, 10)), squares((0, 0, 10, 10))),
        (squares((0, 0, 10, 10)), squares((20, 0, 10, 5))),
        (squares(), squares()),
    ]
    terms = [overlap_terms(*maps) for maps in images]
    assert terms[2] == OverlapTerms()
    assert overlap_scores(terms, 'images') == (0.5, 0.5, 0.5, 0.5)
    assert overlap_scores(terms, 'images', 'perfect') == pytest.approx((2 / 3, 2 / 3, 2 / 3, 2 / 3))
    assert overlap_scores(terms, 'pooled') == pytest.approx((100 / 250, 1 / 2, 1 / 2, 1))
    assert overlap_scores(terms, 'pooled', 'perfect') == overlap_scores(terms, 'pooled')


@pytest.mark.parametrize('seed', range(3))
def test_invariances(seed):
    gt = ellipses(seed)
    assert overlap_scores([overlap_terms(gt, relabelled(gt, seed))]) == (1, 1, 1, 1)
    pred = np.roll(gt, (1, 1), (0, 1))
    expected = overlap_scores([overlap_terms(gt, pred)])
    assert 0 < expected.pq < 1
    assert overlap_scores([overlap_terms(relabelled(gt, 1), relabelled(pred, 2))]) == pytest.approx(expected)
    for turn in (np.flipud, np.fliplr, np.transpose):
        assert overlap_scores([overlap_terms(turn(gt), turn(pred))]) == pytest.approx(expected)
    assert panoptic_quality(pred, gt) == pytest.approx(expected.pq)


def test_real_nuclei_that_move_away_score_less(real_data):
    path = sorted((real_data / 'monuseg' / 'instance_masks').glob('*.png'))[0]
    gt = np.asarray(Image.open(path)).astype(np.int32)[:401, :399]
    rows = [overlap_scores([overlap_terms(gt[:, 8 - k : 391 - k], gt[:, 8:391])]) for k in (0, 1, 2, 4, 8)]
    assert rows[0] == (1, 1, 1, 1)
    for before, after in itertools.pairwise(rows):
        assert after.aji < before.aji
        assert after.pq < before.pq


def test_unknown_options():
    with pytest.raises(ValueError, match="average is 'mean'"):
        overlap_scores([], average='mean')
