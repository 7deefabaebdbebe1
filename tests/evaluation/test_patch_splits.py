"""Splits are complete, disjoint, stratified, seeded, and keep groups together."""

import numpy as np
import pytest

from histomm.evaluation.splits import groups_of, kfold_splits, label_fraction, split_parts

LABELS = np.repeat([0, 1, 2], [80, 40, 20])


def test_parts_are_disjoint_complete_and_stratified():
    train, val, test = split_parts(LABELS, (50, 25, 25), seed=3)
    assert np.array_equal(np.sort(np.concatenate((train, val, test))), np.arange(140))
    assert [np.bincount(LABELS[part]).tolist() for part in (train, val, test)] == [
        [40, 20, 10],
        [20, 10, 5],
        [20, 10, 5],
    ]
    assert all((np.diff(part) > 0).all() for part in (train, val, test))


def test_the_seed_decides():
    first, again, other = (split_parts(LABELS, (3, 1), seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize('labels', [LABELS, np.linspace(0, 100, 140)], ids=['classes', 'values'])
def test_groups_stay_together(labels):
    groups = np.array([f'p{row % 23}' for row in range(140)])
    parts = split_parts(labels, (50, 25, 25), 0, groups)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(140))
    held = [set(groups[part]) for part in parts]
    assert held[0].isdisjoint(held[1] | held[2])
    assert held[1].isdisjoint(held[2])
    assert 0.4 < len(parts[0]) / 140 < 0.6
    for split in kfold_splits(labels, 5, 0, groups):
        assert not set(groups[split.train]) & set(groups[split.test])


def test_every_row_is_tested_once_and_validated_once():
    splits = list(kfold_splits(LABELS, 5, seed=1))
    for name in ('test', 'val'):
        assert np.array_equal(np.sort(np.concatenate([getattr(split, name) for split in splits])), np.arange(140))
    for split in splits:
        assert np.array_equal(np.sort(np.concatenate(split)), np.arange(140))


def test_a_class_of_one_sample_is_somewhere():
    labels = np.array([0] * 10 + [1] * 10 + [2])
    parts = split_parts(labels, (2, 1, 1))
    assert sum((labels[part] == 2).sum() for part in parts) == 1


def test_shares_of_labels_are_stratified_and_nested():
    rows = np.arange(10, 140)
    small, large = (label_fraction(rows, LABELS, fraction, seed=5) for fraction in (0.05, 0.5))
    assert np.bincount(LABELS[small]).tolist() == [round(0.05 * 70), 2, 1]
    assert np.bincount(LABELS[large]).tolist() == [35, 20, 10]
    assert set(small) < set(large) < set(rows)
    assert np.array_equal(label_fraction(rows, LABELS, 1.0, seed=9), rows)
    assert label_fraction(rows, LABELS, 0.001).tolist() != label_fraction(rows, LABELS, 0.001, seed=1).tolist()
    assert np.bincount(LABELS[label_fraction(rows, LABELS, 0.001)]).tolist() == [1, 1, 1], 'at least one of each class'


def test_groups_are_read_from_names():
    names = ['a/TCGA-A1-A0SK-01Z_1.png', 'b/tcga-a1-a0sk_2.png', 'b/TCGA-XX-0001.png']
    assert groups_of(names, 'tcga').tolist() == ['TCGA-A1-A0SK', 'TCGA-A1-A0SK', 'TCGA-XX-0001']
    assert groups_of(['x/p12_a.png', 'y/p3_b.png'], r'p(\d+)_').tolist() == ['12', '3']
    assert groups_of(['x/p12_a.png'], r'p\d+').tolist() == ['p12']
    with pytest.raises(ValueError, match=r'1 of 2 names have no group by .*, such as c\.png'):
        groups_of(['p1.png', 'c.png'], r'p\d')
    with pytest.raises(ValueError, match="expected 'tcga' or a regular expression"):
        groups_of(['a'], '(')


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: split_parts(LABELS, (1,)), 'expected two or more whole numbers'),
        (lambda: split_parts(LABELS, (1, 0)), 'above 0'),
        (lambda: split_parts(LABELS[:3], (2, 1, 1)), '3 rows cannot be cut into 4 folds'),
        (lambda: split_parts(LABELS, (2, 1, 1), 0, ['a', 'b', 'c', *['c'] * 137]), '3 groups cannot be cut into 4'),
        (lambda: split_parts(np.arange(8), (2, 1, 1)), '8 rows of 8 classes cannot be cut into 4 folds'),
        (lambda: list(kfold_splits(LABELS, 2)), 'folds is 2, expected 3 or more'),
        (lambda: label_fraction(np.arange(3), LABELS, 0.0), 'fraction is 0.0'),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
