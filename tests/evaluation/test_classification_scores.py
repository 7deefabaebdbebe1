"""Scores against numbers worked out by hand, scikit-learn, and what holds where a class is missing."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from sklearn import metrics as sk

from histomm.evaluation import ClassificationMetric, RegressionMetric
from histomm.evaluation.classification import (
    binary_auc,
    classification_scores,
    confusion_matrix,
    confusion_scores,
    f1_per_class,
    macro_auc,
    mean_absolute_error,
)

CONFUSION = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]])  # rows true


def labels_of(confusion):
    truth, predicted = np.indices(confusion.shape).reshape(2, -1)
    return np.repeat(truth, confusion.ravel()), np.repeat(predicted, confusion.ravel())


def test_scores_of_a_matrix_worked_out_by_hand():
    truth, predicted = labels_of(CONFUSION)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 3), CONFUSION)
    # F1 = 2TP/(2TP+FP+FN): 10/13, 6/10, 8/9. Macro their mean; weighted by 6, 6, 4; right 12 of 16; recall 5/6, 1/2, 1.
    np.testing.assert_allclose(f1_per_class(CONFUSION), [10 / 13, 6 / 10, 8 / 9])
    scores = confusion_scores(CONFUSION)
    assert {name: round(value, 6) for name, value in scores.items()} == {
        'macro_f1': 0.752707,
        'weighted_f1': 0.735684,
        'accuracy': 0.75,
        'balanced_accuracy': round((5 / 6 + 1 / 2 + 1) / 3, 6),
        'macro_precision': round((5 / 7 + 3 / 4 + 4 / 5) / 3, 6),
    }


def test_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.permutation(np.r_[np.arange(4), rng.integers(0, 4, 30)])
        scores = rng.random((34, 4)).round(1)  # rounding makes ties
        scores /= scores.sum(axis=1, keepdims=True)
        predicted = scores.argmax(axis=1)
        found = classification_scores(truth, scores)
        assert found['macro_f1'] == pytest.approx(sk.f1_score(truth, predicted, average='macro'))
        assert found['weighted_f1'] == pytest.approx(sk.f1_score(truth, predicted, average='weighted'))
        assert found['accuracy'] == pytest.approx(sk.accuracy_score(truth, predicted))
        assert found['balanced_accuracy'] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
        precision = sk.precision_score(truth, predicted, average='macro', zero_division=0)
        assert found['macro_precision'] == pytest.approx(precision)
        assert found['auc'] == pytest.approx(sk.roc_auc_score(truth, scores, multi_class='ovr'))


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(1)
    positive, scores = rng.random(25) < 0.4, rng.integers(0, 6, 25)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert binary_auc(positive, scores) == pytest.approx(np.mean(pairs))
    both = np.stack((-scores, scores), axis=1)
    assert macro_auc(positive.astype(int), both) == pytest.approx(np.mean(pairs)), 'of two classes that of class 1'


def test_a_class_in_neither_truth_nor_prediction_does_not_count():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    f1 = f1_per_class(confusion)
    assert math.isnan(f1[2])
    assert confusion_scores(confusion)['macro_f1'] == pytest.approx((6 / 7 + 8 / 9) / 2)


def test_a_class_that_is_predicted_without_being_there_counts_with_zero():
    confusion = np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])
    assert confusion_scores(confusion)['macro_f1'] == pytest.approx((6 / 7 + 1 + 0) / 3)
    assert confusion_scores(confusion)['balanced_accuracy'] == pytest.approx((3 / 4 + 1) / 2)


def test_auc_of_missing_classes():
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    assert macro_auc(np.array([0, 1, 0]), scores) == pytest.approx(1.0), 'class 2 does not count'
    assert math.isnan(macro_auc(np.array([0, 0, 0]), scores))


def test_nothing_to_score_is_not_a_number():
    assert all(math.isnan(value) for value in classification_scores(np.empty(0, int), np.empty((0, 3))).values())
    assert math.isnan(mean_absolute_error(np.empty(0), np.empty(0)))


def test_errors_name_what_was_found():
    with pytest.raises(ValueError, match=r'truth go from 0 to 3, expected 0 to 2'):
        confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match=r'truth has shape \(2,\), predictions \(1,\)'):
        confusion_matrix(np.array([0, 1]), np.array([0]), 3)


# ---- as metrics of mmengine


def sample(label, scores, path=''):
    made = DataSample(metainfo=dict(img_path=path)).set_gt_label(label).set_pred_score(torch.tensor(scores))
    return made.to_dict()


def test_metric_gives_the_scores_of_all_batches():
    rng = np.random.default_rng(2)
    truth, scores = rng.integers(0, 3, 23), rng.random((23, 3))
    metric = ClassificationMetric()
    for start in range(0, 23, 5):
        rows = range(start, min(start + 5, 23))
        metric.process(None, [sample(int(truth[row]), scores[row]) for row in rows])
    found = metric.evaluate(23)
    assert found == {f'classification/{k}': pytest.approx(v) for k, v in classification_scores(truth, scores).items()}


def test_metric_with_intervals_keeps_patients_together():
    metric = ClassificationMetric(bootstrap=50, groups=r'(p\d)')
    # All images of a patient are right or wrong together: with one patient there is nothing but one value.
    metric.process(None, [sample(0, [0.9, 0.1], 'p1/a.png'), sample(1, [0.9, 0.1], 'p1/b.png')])
    found = metric.evaluate(2)
    accuracy = [found[f'classification/accuracy{end}'] for end in ('', '_low', '_high')]
    assert accuracy == [0.5, 0.5, 0.5]


def test_regression_metric_by_hand():
    metric = RegressionMetric(bootstrap=200)
    for truth, value in ((10, 20), (50, 50), (90, 70), (0, 10)):
        made = DataSample().set_gt_score(np.array([truth], np.float32)).set_pred_score(torch.tensor([float(value)]))
        metric.process(None, [made.to_dict()])
    found = metric.evaluate(4)
    assert found['regression/l1'] == (10 + 0 + 20 + 10) / 4
    assert 0 <= found['regression/l1_low'] < 10 < found['regression/l1_high'] <= 20


def test_metric_names_what_a_sample_lacks():
    with pytest.raises(ValueError, match=r'x\.png has no pred_score'):
        ClassificationMetric().process(None, [DataSample(metainfo=dict(img_path='x.png')).set_gt_label(1).to_dict()])
    with pytest.raises(ValueError, match='bootstrap is -1'):
        RegressionMetric(bootstrap=-1)
