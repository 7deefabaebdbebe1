"""Scores of the GlaS challenge against loops over the definitions, hand-worked cases and invariances."""

import itertools

import numpy as np
import pytest
from drawn_labels import ellipses, masks_of, noise, relabelled, squares
from PIL import Image
from scipy.spatial.distance import directed_hausdorff

from histomm.evaluation import (
    GlandTerms,
    gland_scores,
    gland_terms,
    hausdorff_distance,
    object_dice,
    object_f1,
    object_hausdorff,
)

PAIRS = [(ellipses(seed), ellipses(seed + 50)) for seed in range(6)] + [(noise(s), noise(s + 50)) for s in range(6)]


# ---- the definitions, object by object


def partner(one, others):
    """The other that shares most pixels, the first of equal ones; None if none shares any."""
    shared = [np.sum(one & other) for other in others]
    return others[int(np.argmax(shared))] if shared and max(shared) else None


def naive_hausdorff(a, b):
    a, b = np.argwhere(a), np.argwhere(b)
    return max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])


def naive_f1(gt, pred):
    found = []
    for one in pred:
        best = partner(one, gt)
        if best is not None and np.sum(one & best) / best.sum() >= 0.5 and not any(best is other for other in found):
            found.append(best)
    precision, recall = len(found) / len(pred), len(found) / len(gt)
    return 2 * precision * recall / (precision + recall) if found else 0.0


def naive_dice(gt, pred):
    def side(these, those):
        total, area = 0.0, sum(one.sum() for one in these)
        for one in these:
            best = partner(one, those)
            if best is not None:
                total += one.sum() / area * 2 * np.sum(one & best) / (one.sum() + best.sum())
        return total

    return (side(gt, pred) + side(pred, gt)) / 2


def naive_object_hausdorff(gt, pred):
    def side(these, those):
        total, area = 0.0, sum(one.sum() for one in these)
        for one in these:
            best = partner(one, those)
            near = min(naive_hausdorff(one, other) for other in those) if best is None else naive_hausdorff(one, best)
            total += one.sum() / area * near
        return total

    return (side(gt, pred) + side(pred, gt)) / 2


@pytest.mark.parametrize('pair', range(len(PAIRS)))
def test_agrees_with_the_definitions(pair):
    gt, pred = PAIRS[pair]
    objects = masks_of(gt), masks_of(pred)
    assert object_f1(gt, pred) == pytest.approx(naive_f1(*objects))
    assert object_dice(gt, pred) == pytest.approx(naive_dice(*objects))
    assert object_hausdorff(gt, pred) == pytest.approx(naive_object_hausdorff(*objects), rel=1e-12)


def test_the_pairs_hold_what_is_hard():
    """Objects that touch nothing, on both sides, and objects that several compete for."""
    for side in (PAIRS, [pair[::-1] for pair in PAIRS]):
        assert any(partner(one, masks_of(those)) is None for these, those in side for one in masks_of(these))
    scores = [object_f1(gt, pred) for gt, pred in PAIRS]
    assert min(scores) < 0.3
    assert max(scores) > 0.3


@pytest.mark.parametrize('seed', range(4))
def test_distance_of_two_sets_of_pixels(seed):
    a, b = ellipses(seed, (53, 211)) > 0, ellipses(seed + 9, (53, 211)) > 0
    assert hausdorff_distance(a, b) == pytest.approx(naive_hausdorff(a, b), rel=1e-12)


def test_distance_counts_the_inside():
    """A disc and the ring around it: the middle of the disc is farthest, though it lies on no outline."""
    rows, columns = np.mgrid[-20:21, -20:21]
    radius = np.hypot(rows, columns)
    assert hausdorff_distance(radius <= 10, (radius > 10) & (radius <= 12)) == np.sqrt(101)


# ---- worked out by hand


def test_two_squares_that_overlap():
    gt, pred = squares((5, 5, 10, 10)), squares((5, 9, 10, 10))
    assert object_f1(gt, pred) == 1
    assert object_dice(gt, pred) == pytest.approx(0.6)
    assert object_hausdorff(gt, pred) == 4


def test_half_an_object_is_found_once():
    gt = squares((0, 0, 10, 10))
    assert object_f1(gt, squares((0, 5, 10, 10))) == 1
    assert object_f1(gt, squares((0, 6, 10, 10))) == 0
    halves = squares((0, 0, 10, 5), (0, 5, 10, 5))
    assert object_f1(gt, halves) == pytest.approx(2 / 3)
    assert object_f1(halves, gt) == pytest.approx(2 / 3), 'the whole covers two, and is the partner of one'


def test_what_is_covered_counts_and_not_what_sticks_out():
    gt, pred = squares((10, 10, 4, 4)), squares((0, 0, 40, 60))
    scores = gland_scores([gland_terms(gt, pred)])
    assert (scores.object_f1, scores.precision, scores.recall) == (1, 1, 1)
    assert scores.object_dice == pytest.approx(2 * 16 / (16 + 2400))
    assert scores.object_hausdorff == np.hypot(26, 46), 'from the lower right corner (39, 59) to (13, 13)'


def test_object_that_touches_nothing():
    gt, pred = squares((5, 0, 10, 10)), squares((5, 0, 10, 10), (5, 30, 10, 10))
    scores = gland_scores([gland_terms(gt, pred)])
    assert (scores.precision, scores.recall) == (0.5, 1)
    assert scores.object_f1 == pytest.approx(2 / 3)
    assert scores.object_dice == pytest.approx((1 + 0.5) / 2)
    assert scores.object_hausdorff == pytest.approx((0 + 30 / 2) / 2)


def test_nearest_is_meant_in_the_hausdorff_distance():
    """The long object is one pixel away from the square and reaches far; the small one is nearer as a whole."""
    gt = squares((0, 20, 4, 4))
    pred = squares((0, 25, 4, 35), (0, 8, 4, 4))
    # Ground truth: 12 to the small one. Prediction: 140 pixels at 36 from the square, 16 pixels at 12.
    assert object_hausdorff(gt, pred) == pytest.approx((12 + (140 * 36 + 16 * 12) / 156) / 2)


@pytest.mark.parametrize('swap', [False, True])
def test_one_side_without_objects(swap):
    maps = [squares((5, 5, 10, 10), (20, 20, 5, 5)), squares()]
    gt, pred = maps[::-1] if swap else maps
    assert object_f1(gt, pred) == object_dice(gt, pred) == 0
    assert object_hausdorff(gt, pred) == pytest.approx(np.hypot(40, 60))


def test_both_sides_without_objects():
    for score, perfect in ((object_f1, 1), (object_dice, 1), (object_hausdorff, 0)):
        assert score(squares(), squares(), empty='perfect') == perfect
        assert np.isnan(score(squares(), squares(), empty='skip'))
        assert np.isnan(score(squares(), squares()))


IMAGES = [(squares((0, 0, 10, 10)), squares((0, 0, 10, 10))), (squares((5, 5, 10, 30)), squares())]
"""A gland of 100 pixels that is found, and one of 300 in an image of diagonal √(40² + 60²) that is not."""


def test_pooled_over_objects_of_all_images():
    scores = gland_scores([gland_terms(*maps) for maps in IMAGES], average='pooled')
    assert scores[:3] == pytest.approx((2 / 3, 1, 0.5))
    assert scores.object_dice == pytest.approx((100 / 400 + 1) / 2)
    assert scores.object_hausdorff == pytest.approx(np.hypot(40, 60) * 300 / 400 / 2)


def test_mean_over_images():
    scores = gland_scores([gland_terms(*maps) for maps in IMAGES], average='images')
    assert scores == pytest.approx((0.5, 0.5, 0.5, 0.5, np.hypot(40, 60) / 2))


def test_empty_images_count_only_if_asked():
    terms = [gland_terms(*IMAGES[1]), gland_terms(squares(), squares())]
    assert terms[1] == GlandTerms()
    assert gland_scores(terms, 'images', 'skip')[:4] == (0, 0, 0, 0)
    assert gland_scores(terms, 'images', 'perfect')[:4] == (0.5, 0.5, 0.5, 0.5)
    for empty in ('skip', 'perfect'):
        assert gland_scores(terms, 'pooled', empty) == gland_scores(terms[:1], 'pooled', empty)
    assert np.isnan(gland_scores([], 'pooled', 'skip')).all()
    assert np.isnan(gland_scores(terms[1:], 'images', 'skip')).all()
    assert gland_scores([], 'images', 'perfect') == (1, 1, 1, 1, 0)


def test_without_distances_the_rest_is_there():
    terms = [gland_terms(*maps, with_hausdorff=False) for maps in (*IMAGES, (squares(), squares()))]
    for average in ('images', 'pooled'):
        scores = gland_scores(terms, average)
        expected = gland_scores([gland_terms(*maps) for maps in IMAGES], average)
        assert scores[:4] == expected[:4]
        assert np.isnan(scores.object_hausdorff)


# ---- invariances


def all_scores(gt, pred):
    return gland_scores([gland_terms(gt, pred)])


@pytest.mark.parametrize('seed', range(3))
def test_equal_maps_are_perfect(seed):
    labels = ellipses(seed)
    assert all_scores(labels, relabelled(labels, seed)) == (1, 1, 1, 1, 0)


@pytest.mark.parametrize('seed', range(4))
def test_names_and_orientation_do_not_matter(seed):
    gt, pred = ellipses(seed), ellipses(seed + 20)
    expected = all_scores(gt, pred)
    assert all_scores(relabelled(gt, 1), relabelled(pred, 2).astype(np.uint16)) == pytest.approx(expected)
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        assert all_scores(turn(gt), turn(pred)) == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(4))
def test_dice_and_distance_are_symmetric(seed):
    one, other = ellipses(seed), ellipses(seed + 30)
    assert object_dice(one, other) == pytest.approx(object_dice(other, one))
    assert object_hausdorff(one, other) == pytest.approx(object_hausdorff(other, one))


def test_distance_scales_with_the_image():
    gt, pred = ellipses(3), ellipses(4)
    large = [np.kron(labels, np.ones((3, 3), np.int32)) for labels in (gt, pred)]
    assert object_dice(*large) == pytest.approx(object_dice(gt, pred))
    assert object_f1(*large) == object_f1(gt, pred)
    assert object_hausdorff(*large) == pytest.approx(3 * object_hausdorff(gt, pred), abs=3)


def test_boolean_map_is_one_object():
    gt, pred = squares((0, 0, 10, 10)), squares((0, 4, 10, 10))
    assert all_scores(gt > 0, pred > 0) == all_scores(gt, pred)


def test_real_glands_that_move_away_score_less(real_data):
    for path in sorted((real_data / 'glas').rglob('testB_*_anno*'))[:3]:
        gt = np.pad(np.asarray(Image.open(path)), ((0, 0), (0, 31)))
        rows = [all_scores(gt, np.roll(gt, pixels, axis=1)) for pixels in (0, 3, 7, 15, 31)]
        assert rows[0] == (1, 1, 1, 1, 0)
        for before, after in itertools.pairwise(rows):
            assert after.object_f1 <= before.object_f1
            assert after.object_dice < before.object_dice
            assert after.object_hausdorff > before.object_hausdorff
        assert 0 < rows[1].object_hausdorff <= 3


# ---- wrong input


@pytest.mark.parametrize(
    ('gt', 'pred', 'message'),
    [
        (np.zeros((3, 4)), np.zeros((3, 4), int), r'ground truth is float64 of shape \(3, 4\), expected a label map'),
        (np.zeros((3, 4), int), np.zeros((3, 4, 1), int), r'prediction is int64 of shape \(3, 4, 1\)'),
        (np.zeros((3, 4), int), np.zeros((4, 3), int), r'ground truth is \(3, 4\) and prediction \(4, 3\)'),
        (np.full((3, 4), -1), np.zeros((3, 4), int), 'ground truth has labels from -1 to -1'),
        (np.full((3, 4), 2**31), np.zeros((3, 4), int), 'expected 0 to 2147483647'),
    ],
)
def test_maps_that_are_none(gt, pred, message):
    with pytest.raises(ValueError, match=message):
        gland_terms(gt, pred)


@pytest.mark.parametrize(
    ('options', 'message'),
    [(('mean', 'skip'), "average is 'mean', expected 'images' or 'pooled'"), (('pooled', 'one'), "empty is 'one'")],
)
def test_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        gland_scores([], *options)


def test_unknown_empty_of_a_single_image():
    with pytest.raises(ValueError, match="empty is 'zero'"):
        object_dice(squares((0, 0, 5, 5)), squares((0, 0, 5, 5)), empty='zero')


def test_distance_to_nothing_is_refused():
    with pytest.raises(ValueError, match='with 4 and 0 pixels'):
        hausdorff_distance(np.ones((2, 2), bool), np.zeros((2, 2), bool))
