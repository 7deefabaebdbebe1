"""The protocol trains, chooses and tests where it says, and reports what it did."""

import math

import numpy as np
import pytest

from histomm.evaluation.protocol import Labelled, Protocol, Run, evaluate, splits_of, summarise

RNG = np.random.default_rng(1)
LABELS = np.arange(160) % 2
FEATURES = (RNG.normal(0, 1, (160, 4)) + 1.5 * np.eye(2, 4)[LABELS]).astype(np.float32)
DATA = Labelled(FEATURES, LABELS, ('a', 'b'))


def test_runs_of_shares_and_draws():
    runs = evaluate(DATA, Protocol(fractions=(0.1, 1.0), draws=3, bootstrap=0))
    assert [(r.probe, r.fraction, r.draw) for r in runs if r.probe == 'knn'] == [
        ('knn', 0.1, 0), ('knn', 0.1, 1), ('knn', 0.1, 2), ('knn', 1.0, 0),
    ]  # fmt: skip
    assert [r.sizes['train'] for r in runs if r.probe == 'linear'] == [8, 8, 8, 80]
    assert len({r.scores['auc'] for r in runs if r.probe == 'linear' and r.fraction == 0.1}) == 3, 'draws differ'
    assert all(r.sizes['val'] == r.sizes['test'] == 40 for r in runs)
    assert runs[-1].scores['auc'] > 0.85
    assert set(runs[0].per_class) == {'a', 'b'}


def test_the_same_seed_gives_the_same_runs():
    protocol = Protocol(fractions=(0.2,), draws=2, bootstrap=20)
    assert evaluate(DATA, protocol) == evaluate(DATA, protocol)


def test_test_rows_have_no_say():
    """Other labels of the test rows change the scores, and nothing that was chosen."""
    test = Labelled(FEATURES[120:], LABELS[120:], ('a', 'b'))
    wrong = Labelled(FEATURES[120:], 1 - LABELS[120:], ('a', 'b'))
    train = Labelled(FEATURES[:120], LABELS[:120], ('a', 'b'))
    one, two = (evaluate(train, Protocol(bootstrap=0), part) for part in (test, wrong))
    assert [run.chosen for run in one] == [run.chosen for run in two]
    for right, other in zip(one, two, strict=True):
        assert right.sizes == {'train': 80, 'val': 40, 'test': 40}
        assert right.scores['accuracy'] == pytest.approx(1 - other.scores['accuracy'])


def test_folds_test_every_row_once_and_keep_patients_together():
    groups = np.array([f'p{row // 4}' for row in range(160)])
    runs = evaluate(Labelled(FEATURES, LABELS, ('a', 'b'), groups), Protocol(('knn',), folds=5, bootstrap=10))
    assert [run.fold for run in runs] == [0, 1, 2, 3, 4]
    assert sum(run.sizes['test'] for run in runs) == 160
    assert all(run.intervals['accuracy'][0] <= run.scores['accuracy'] <= run.intervals['accuracy'][1] for run in runs)


def test_rows_of_a_group_are_on_one_side_of_every_split():
    groups = np.array([f'p{row // 7}' for row in range(160)])
    data = Labelled(FEATURES, LABELS, ('a', 'b'), groups)
    for protocol, own_test in ((Protocol(folds=4), False), (Protocol(), False), (Protocol(parts=(75, 25)), True)):
        for split in splits_of(data, protocol, own_test):
            sides = [set(groups[rows]) for rows in split]
            assert sum(map(len, sides)) == len(set().union(*sides)) == 23


def test_intervals_are_those_of_patients():
    """Ten patients of sixteen equal images each: an interval of images would be a quarter as wide."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10) % 2, 16)
    features = np.repeat(rng.normal(0, 1, (10, 4)).astype(np.float32) + 0.5, 16, axis=0)
    train = Labelled(FEATURES, LABELS, ('a', 'b'))
    groups = np.repeat([f'p{number}' for number in range(10)], 16)
    (run,), (alone,) = (
        evaluate(
            train, Protocol(('linear',), parts=(75, 25), bootstrap=200), Labelled(features, labels, ('a', 'b'), of)
        )
        for of in (groups, None)
    )
    assert run.scores == alone.scores
    width, width_alone = (np.ptp(one.intervals['accuracy']) for one in (run, alone))
    assert width > 2.5 * width_alone > 0


def test_values_are_judged_by_their_absolute_error():
    values = 50 + 10 * FEATURES[:, 0].astype(float)
    (run,) = evaluate(Labelled(FEATURES, values), Protocol(('linear',), bootstrap=50))
    assert run.scores['l1'] < 0.1
    assert run.intervals['l1'][0] <= run.scores['l1'] <= run.intervals['l1'][1]
    assert run.per_class == {}


def test_summary_by_hand():
    runs = [Run('knn', 0.1, draw, 0, {}, {}, {'accuracy': value}) for draw, value in enumerate((0.2, 0.4, 0.9))]
    runs.append(Run('knn', 1.0, 0, 0, {}, {}, {'accuracy': math.nan}))
    small, whole = summarise(runs)
    assert small['scores']['accuracy'] == {'mean': pytest.approx(0.5), 'std': pytest.approx(np.sqrt(0.13)), 'runs': 3}
    assert math.isnan(whole['scores']['accuracy']['mean'])
    assert whole['scores']['accuracy']['runs'] == 0


@pytest.mark.parametrize(
    ('test', 'protocol', 'message'),
    [
        (Labelled(FEATURES[:, :3], LABELS, ('a', 'b')), Protocol(), 'have 4 numbers, those to test on 3'),
        (Labelled(FEATURES, LABELS, ('a', 'c')), Protocol(), r"classes are \('a', 'b'\) to train and \('a', 'c'\)"),
        (DATA, Protocol(folds=5), 'folds is 5 and there are test data'),
    ],
)
def test_what_does_not_go_together_is_refused(test, protocol, message):
    with pytest.raises(ValueError, match=message):
        evaluate(DATA, protocol, test)


def test_patients_on_both_sides_are_refused():
    train = Labelled(FEATURES, LABELS, ('a', 'b'), np.array(['p1', 'p2'] * 80))
    test = Labelled(FEATURES, LABELS, ('a', 'b'), np.array(['p2', 'p3'] * 80))
    with pytest.raises(ValueError, match='1 groups are in the data to train on and to test on, such as p2'):
        evaluate(train, Protocol(), test)
