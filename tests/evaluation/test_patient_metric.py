"""Accuracy by image and patient, and votes, against counts by hand."""

import numpy as np
import pytest
import torch

from histomm.evaluation import MajorityVoteMetric, PatientAccuracyMetric
from histomm.evaluation.patient_scores import image_level_accuracy, majority_vote, patient_level_accuracy
from histomm.registry import METRICS


def feed(metric, rows, classes=4):
    """Rows of (path, true class, predicted class), two to a batch."""
    samples = []
    for path, truth, predicted in rows:
        scores = torch.full((classes,), 0.1)
        scores[predicted] = 0.6
        samples.append(dict(img_path=path, gt_label=torch.tensor([truth]), pred_score=scores))
    for start in range(0, len(samples), 2):
        metric.process(None, samples[start : start + 2])
    return metric.evaluate(len(samples))


def test_every_image_or_every_patient_counts_the_same():
    """3 of 4, 1 of 1 and 2 of 10 images: 6/15 by image, (.75 + 1 + .2)/3 by patient."""
    correct = [1, 1, 1, 0] + [1] + [1] * 2 + [0] * 8
    patients = ['p1'] * 4 + ['p2'] + ['p3'] * 10
    assert image_level_accuracy(correct) == pytest.approx(0.4)
    assert patient_level_accuracy(correct, patients) == pytest.approx(0.65)
    order = np.random.default_rng(0).permutation(15)
    assert patient_level_accuracy(np.array(correct)[order], np.array(patients)[order]) == pytest.approx(0.65)
    assert np.isnan(image_level_accuracy([]))
    assert np.isnan(patient_level_accuracy([], []))
    with pytest.raises(ValueError, match='2 images have 1 patients'):
        patient_level_accuracy([1, 0], ['a'])


def test_scores_of_breakhis_by_magnification_and_patient():
    """14-13412 has two folders: as one patient 1/2 and 1/2 right, as two 1/1 and 0/1."""
    rows = [
        ('a/SOB_M_DC-14-13412-40-001.png', 1, 1),
        ('a/SOB_M_LC-14-13412-40-001.png', 1, 0),
        ('a/SOB_B_A-14-1AB-40-001.png', 0, 0),
        ('a/SOB_B_A-14-1AB-40-002.png', 0, 0),
        ('a/SOB_B_A-14-1CD-40-001.png', 0, 1),
        ('a/SOB_B_A-15-1CD-400-001.png', 0, 0),
    ]
    expected = {
        'folder': (3 / 5, (1 + 0 + 1 + 0) / 4, (1 + 0 + 1 + 0 + 1) / 5),
        'name': (3 / 5, (0.5 + 1 + 0) / 3, (0.5 + 1 + 0 + 1) / 4),
        'case': (3 / 5, (0.5 + 2 / 3) / 2, (0.5 + 2 / 3 + 1) / 3),
    }
    for patients, (ila, pla, pla_all) in expected.items():
        found = feed(METRICS.build(dict(type='histomm.PatientAccuracyMetric', patients=patients)), rows, 2)
        assert found == pytest.approx(
            {
                'patients/ila': 4 / 6,
                'patients/pla': pla_all,
                'patients/ila_40X': ila,
                'patients/pla_40X': pla,
                'patients/ila_400X': 1,
                'patients/pla_400X': 1,
                'patients/ila_mean': (ila + 1) / 2,
                'patients/pla_mean': (pla + 1) / 2,
            }
        )


def test_patients_and_magnifications_by_expressions():
    rows = [('p1/low/1.png', 0, 0), ('p1/high/1.png', 0, 1), ('p2/low/1.png', 1, 1)]
    plain = feed(PatientAccuracyMetric(patients=r'(p\d+)/'), rows)
    assert plain == pytest.approx({'patients/ila': 2 / 3, 'patients/pla': 0.75})
    found = feed(PatientAccuracyMetric(patients=r'(p\d+)/', magnifications=r'/(\w+)/'), rows)
    assert found['patients/ila_low'] == 1
    assert found['patients/pla_high'] == 0
    assert found['patients/ila_mean'] == 0.5


def test_every_vote_counts_and_ties_go_to_the_lowest_class():
    """The authors' code leaves out the first patch, and finds class 0 in the first case."""
    assert majority_vote([2, 2, 0]) == 2
    assert majority_vote([3, 1, 1, 3]) == 1
    assert majority_vote([0]) == 0
    for votes in ([], [-1, 0], [[0, 1]]):
        with pytest.raises(ValueError, match='votes have shape'):
            majority_vote(np.array(votes))


def test_images_are_what_their_patches_are_taken_for():
    """Images of the confusion (5 1 0 / 2 3 1 / 0 0 4): accuracy .75 and macro-F1 .752707 under their own names."""
    confusion = [[5, 1, 0], [2, 3, 1], [0, 0, 4]]
    rows, number = [], 0
    for truth, counts in enumerate(confusion):
        for predicted, count in enumerate(counts):
            for _ in range(count):
                other = (predicted + 1) % 3
                rows += [
                    (f'image{number}/{patch}.png', truth, vote)
                    for patch, vote in enumerate([predicted, other, predicted])
                ]
                number += 1
    found = feed(MajorityVoteMetric(), rows, 3)
    assert found['vote/accuracy'] == pytest.approx(0.75)
    assert found['vote/macro_f1'] == pytest.approx(0.752707, abs=1e-6)
    assert found['vote/weighted_f1'] == pytest.approx(0.735684, abs=1e-6)
    assert found['vote/macro_precision'] == pytest.approx((5 / 7 + 3 / 4 + 4 / 5) / 3)
    assert found['vote/balanced_accuracy'] == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)
    by_name = feed(
        MajorityVoteMetric(images=r'(b\d+)_'), [('x/b1_0.png', 2, 2), ('y/b1_1.png', 2, 2), ('x/b1_2.png', 2, 0)]
    )
    assert by_name['vote/accuracy'] == 1


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r'a/2.png has label 1, other patches of a have 0'):
        feed(MajorityVoteMetric(), [('a/1.png', 0, 0), ('a/2.png', 1, 0)])
    with pytest.raises(ValueError, match='no gt_label'):
        PatientAccuracyMetric().process(None, [dict(img_path='a', pred_score=torch.ones(2))])
    with pytest.raises(ValueError, match='is no name of BreakHis'):
        feed(PatientAccuracyMetric(), [('a/1.png', 0, 0)])
