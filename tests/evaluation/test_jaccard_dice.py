"""Jaccard and Dice beside scikit-learn, by hand, and over two processes."""

import logging
import math

import numpy as np
import pytest
import torch
from distributed import run_two_processes
from mmengine.logging import MMLogger
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from histomm.evaluation import JaccardDiceMetric
from histomm.evaluation.jaccard_dice import class_areas, micro_scores, per_class_scores

CLASSES = ('tumour', 'stroma', 'fat', 'nerve')


def sample(prediction, truth):
    tensors = (torch.as_tensor(np.asarray(x))[None] for x in (prediction, truth))
    prediction, truth = ({'data': x} for x in tensors)
    return {'pred_sem_seg': prediction, 'gt_sem_seg': truth, 'img_path': 'roi.png'}


def evaluate(batches, classes=CLASSES, **options):
    metric = JaccardDiceMetric(**options)
    metric.dataset_meta = {'classes': classes}
    for batch in batches:
        metric.process({}, [sample(*pair) for pair in batch])
    return metric.evaluate(sum(len(batch) for batch in batches))


@pytest.fixture
def pairs():
    """Six images of odd size: class 3 nowhere, 255 in a fifth of the truth, the prediction right in two thirds."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(6):
        truth = rng.choice(3, size=(13, 17), p=(0.6, 0.3, 0.1))
        prediction = np.where(rng.random(truth.shape) < 2 / 3, truth, rng.integers(0, 3, truth.shape))
        pairs.append((prediction, np.where(rng.random(truth.shape) < 0.2, 255, truth)))
    return pairs


def flat(pairs):
    prediction, truth = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    return truth[truth != 255], prediction[truth != 255]


def test_scores_are_those_of_scikit_learn(pairs):
    scores = evaluate([pairs[:4], pairs[4:]])
    truth, prediction = flat(pairs)
    expected = {
        'jaccard_micro': jaccard_score(truth, prediction, average='micro'),
        'dice_micro': accuracy_score(truth, prediction),
        # scikit-learn takes the classes that occur on either side.
        'jaccard_macro': jaccard_score(truth, prediction, average='macro'),
        'dice_macro': f1_score(truth, prediction, average='macro'),
    }
    assert scores == pytest.approx(expected, abs=1e-12)


def test_each_class_is_that_of_scikit_learn(pairs):
    total = sum(class_areas(torch.as_tensor(p), torch.as_tensor(t), 4) for p, t in pairs)
    truth, prediction = flat(pairs)
    jaccard, dice = per_class_scores(total)
    np.testing.assert_allclose(jaccard[:3], jaccard_score(truth, prediction, average=None), atol=1e-12)
    np.testing.assert_allclose(dice[:3], f1_score(truth, prediction, average=None), atol=1e-12)
    assert np.isnan(jaccard[3])
    assert np.isnan(dice[3])


def test_figures_of_a_confusion_matrix_by_hand():
    # [[5, 1, 0], [2, 3, 1], [0, 0, 4]], rows are the truth: F1 = 10/13, 6/10, 8/9; 12 of 16 are right.
    confusion = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]])
    truth = np.repeat(np.arange(3), confusion.sum(axis=1))
    prediction = np.concatenate([np.repeat(np.arange(3), row) for row in confusion])
    scores = evaluate([[(prediction[None], truth[None])]], CLASSES[:3])
    assert scores['dice_macro'] == pytest.approx((10 / 13 + 6 / 10 + 8 / 9) / 3)
    assert scores['jaccard_macro'] == pytest.approx((5 / 8 + 3 / 7 + 4 / 5) / 3)
    assert scores['dice_micro'] == pytest.approx(0.75)
    assert scores['jaccard_micro'] == pytest.approx(12 / 20)


def right_in(share, count=100):
    """An image of ``count`` pixels, of which ``share`` are predicted right."""
    truth = np.zeros((1, count), int)
    return np.where(np.arange(count)[None] < share * count, 0, 1), truth


def test_mean_over_batches_and_pooled_differ_as_worked_out_by_hand():
    # Accuracies of .7 and .9: (7/13 + 9/11) / 2 = .678322, pooled 16/24 = .666667.
    scores = evaluate([[right_in(0.7)], [right_in(0.9)]], batch_mean=True)
    assert scores['jaccard_batch_mean'] == pytest.approx(0.678322, abs=5e-7)
    assert scores['jaccard_micro'] == pytest.approx(0.666667, abs=5e-7)
    assert scores['dice_batch_mean'] == scores['dice_micro'] == pytest.approx(0.8)
    together = evaluate([[right_in(0.7), right_in(0.9)]], batch_mean=True)
    assert together['jaccard_batch_mean'] == pytest.approx(together['jaccard_micro'])


def test_batches_without_a_pixel_that_counts_are_left_out_of_the_mean():
    nothing = (np.zeros((1, 5), int), np.full((1, 5), 255))
    with_empty = evaluate([[right_in(0.7)], [nothing], [right_in(0.9), nothing]], batch_mean=True)
    assert with_empty == pytest.approx(evaluate([[right_in(0.7)], [right_in(0.9)]], batch_mean=True))


def test_batch_mean_is_given_on_request_only(pairs):
    assert set(evaluate([pairs])) == {'jaccard_micro', 'dice_micro', 'jaccard_macro', 'dice_macro'}


def test_another_index_may_be_ignored(pairs):
    moved = [(p, np.where(t == 255, 7, t)) for p, t in pairs]
    assert evaluate([moved], ignore_index=7) == evaluate([pairs])
    with pytest.raises(ValueError, match=r'roi.png: the truth holds the class 7, expected 0 to 3 or 255, ignored'):
        evaluate([moved])


def test_ignored_pixels_may_be_predicted_as_anything(pairs):
    changed = [(np.where(t == 255, 3, p), t) for p, t in pairs]
    assert evaluate([changed]) == evaluate([pairs])


@pytest.fixture
def log():
    """What the logger says."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append((record.levelname, record.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def test_the_table_has_every_class_and_names_absent_ones(pairs, log):
    evaluate([pairs])
    (level, table), *more = log
    lines = table.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == list(CLASSES)
    assert lines[4].split()[1:] == ['-', '-', '0', '0']
    assert lines[5].endswith('as neither true nor predicted: nerve')
    truth, prediction = flat(pairs)
    jaccard = jaccard_score(truth, prediction, average=None)[1]
    assert lines[2].split()[1] == f'{jaccard:.4f}'
    assert lines[2].split()[3:] == [str((truth == 1).sum()), str((prediction == 1).sum())]
    assert level == 'INFO'
    assert more == []


def test_no_pixel_at_all_gives_nan_and_a_warning(log):
    scores = evaluate([[(np.zeros((2, 3), int), np.full((2, 3), 255))]], batch_mean=True)
    assert len(scores) == 6
    assert all(math.isnan(value) for value in scores.values())
    assert log[-1][0] == 'WARNING'
    assert math.isnan(micro_scores(np.zeros((3, 4), int))[0])


@pytest.mark.parametrize(
    ('prediction', 'truth', 'message'),
    [
        (np.full((2, 2), 4), np.zeros((2, 2), int), 'roi.png: the prediction holds the class 4, expected 0 to 3'),
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r'shape \(1, 2, 2\), the truth \(1, 2, 3\)'),
        (np.zeros((2, 2), int), np.full((2, 2), -1), 'the truth holds the class -1'),
    ],
)
def test_wrong_values_are_named(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        evaluate([[(prediction, truth)]])


def test_a_data_set_without_classes_is_refused():
    with pytest.raises(ValueError, match='no classes in its metainfo'):
        evaluate([[right_in(0.5)]], classes=())


def images(count):
    return [right_in(share, 20) for share in np.linspace(0.1, 1, count)]


def _half(rank, expected, expected_by_batch):
    """Images 0, 2, 4 on one process and 1, 3, and again 0 on the other, in batches of two and one."""
    drawn = images(5)
    own = [drawn[i] for i in ([0, 2, 4], [1, 3, 0])[rank]]
    metric = JaccardDiceMetric(batch_mean=True)
    metric.dataset_meta = {'classes': CLASSES}
    for batch in (own[:2], own[2:]):
        metric.process({}, [sample(*pair) for pair in batch])
    scores = metric.evaluate(5)
    assert scores['jaccard_micro'] == pytest.approx(expected)
    assert scores['jaccard_batch_mean'] == pytest.approx(expected_by_batch)


def test_two_processes_count_each_image_once():
    drawn = images(5)
    whole = evaluate([drawn])
    # The batches of both processes, without the image that one repeats to have as many as the other.
    by_batch = evaluate([drawn[0:3:2], drawn[1:4:2], drawn[4:]], batch_mean=True)
    run_two_processes(_half, whole['jaccard_micro'], by_batch['jaccard_batch_mean'])
