"""Probes against scikit-learn and arithmetic, and at the edges: missing classes, one sample each, constant features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, log_loss
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from histomm.evaluation.probes import PENALTIES, Rows, knn_probe, linear_probe, standardise

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
FEATURES = (RNG.normal(0, 1, (120, 6)) + 1.2 * np.eye(3, 6)[LABELS]).astype(np.float32)
TRAIN, VAL, TEST = (slice(0, 60), slice(60, 90), slice(90, 120))


def rows(part, features=FEATURES, labels=LABELS):
    return Rows(features[part], labels[part])


def test_standardising_uses_the_training_rows_alone_and_zeroes_constants():
    train = np.array([[1.0, 7.0, 0.1], [3.0, 7.0, 0.1], [5.0, 7.0, 0.1]], np.float32)
    other = np.array([[7.0, 8.0, 0.3]], np.float32)
    found, moved = standardise(train, other)
    deviation = np.sqrt(8 / 3)
    np.testing.assert_allclose(found, np.array([[-2, 0, 0], [0, 0, 0], [2, 0, 0]]) / [deviation, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(moved, [[4 / deviation, 0, 0]], rtol=1e-6)


def test_linear_probe_is_logistic_regression_chosen_on_the_validation_rows():
    scaler = StandardScaler().fit(FEATURES[TRAIN])
    x = scaler.transform(FEATURES)
    scores = {}
    for penalty in PENALTIES:
        model = LogisticRegression(C=1 / penalty, max_iter=5000, tol=1e-8).fit(x[TRAIN], LABELS[TRAIN])
        quality = f1_score(LABELS[VAL], model.predict(x[VAL]), average='macro')
        loss = log_loss(LABELS[VAL], model.predict_proba(x[VAL]))
        scores[penalty] = (quality, -loss), model.predict_proba(x[TEST])
    best = max(PENALTIES, key=lambda penalty: scores[penalty][0])
    found = linear_probe(rows(TRAIN), rows(VAL), FEATURES[TEST], 3)
    assert found.chosen == {'penalty': best, 'validation': pytest.approx(scores[best][0][0])}
    np.testing.assert_allclose(found.values, scores[best][1], atol=2e-3)


def test_two_classes_give_probabilities_that_add_up():
    train, val = rows(TRAIN, labels=LABELS % 2), rows(VAL, labels=LABELS % 2)
    found = linear_probe(train, val, FEATURES[TEST], 2)
    x = StandardScaler().fit(FEATURES[TRAIN]).transform(FEATURES)
    model = LogisticRegression(C=1 / found.chosen['penalty'], max_iter=5000, tol=1e-8)
    expected = model.fit(x[TRAIN], LABELS[TRAIN] % 2).predict_proba(x[TEST])
    np.testing.assert_allclose(found.values, expected, atol=2e-3)
    np.testing.assert_allclose(found.values.sum(axis=1), 1)


def test_linear_probe_of_values_is_ridge_regression():
    values = FEATURES @ np.arange(6) + RNG.normal(0, 1, 120)
    found = linear_probe(rows(TRAIN, labels=values), rows(VAL, labels=values), FEATURES[TEST], 0)
    x = StandardScaler().fit(FEATURES[TRAIN]).transform(FEATURES)
    errors = {}
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty).fit(x[TRAIN], values[TRAIN])
        errors[penalty] = np.abs(model.predict(x[VAL]) - values[VAL]).mean()
    best = min(PENALTIES, key=errors.get)
    assert found.chosen['penalty'] == best
    assert found.chosen['validation'] == pytest.approx(errors[best], rel=1e-5)
    expected = Ridge(alpha=best).fit(x[TRAIN], values[TRAIN]).predict(x[TEST])
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-4)


def test_neighbours_vote_and_their_number_is_chosen():
    found = knn_probe(rows(TRAIN), rows(VAL), FEATURES[TEST], 3, ks=(1, 7, 500))
    assert found.chosen['k'] in (1, 7, 60), '500 becomes the number of training rows'
    np.testing.assert_allclose(found.values.sum(axis=1), 1, rtol=1e-5)
    assert found.values.shape == (30, 3)
    only = knn_probe(rows(TRAIN), rows(VAL), FEATURES[TEST], 3, ks=(1,))
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    nearest = (unit[TEST] @ unit[TRAIN].T).argmax(axis=1)
    np.testing.assert_array_equal(only.values.argmax(axis=1), LABELS[TRAIN][nearest])


def test_neighbours_of_values_are_averaged():
    values = FEATURES @ np.arange(6)
    found = knn_probe(rows(TRAIN, labels=values), rows(VAL, labels=values), FEATURES[TEST], 0, ks=(5,))
    model = KNeighborsRegressor(5, metric='cosine').fit(FEATURES[TRAIN], values[TRAIN])
    np.testing.assert_allclose(found.values, model.predict(FEATURES[TEST]), rtol=1e-5)


@pytest.mark.parametrize('probe', [knn_probe, linear_probe])
def test_a_class_without_training_rows_scores_nothing(probe):
    kept = np.flatnonzero(LABELS[TRAIN] != 1)
    found = probe(rows(kept), rows(VAL), FEATURES[TEST], 3)
    assert (found.values[:, 1] == 0).all()
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize('probe', [knn_probe, linear_probe])
def test_one_class_is_all_that_is_predicted(probe):
    found = probe(rows(np.flatnonzero(LABELS[TRAIN] == 2)), rows(VAL), FEATURES[TEST], 3)
    assert (found.values == [0, 0, 1]).all()


@pytest.mark.parametrize('probe', [knn_probe, linear_probe])
def test_one_sample_a_class(probe):
    easy = (10 * np.eye(3)[LABELS] + RNG.normal(0, 0.1, (120, 3))).astype(np.float32)
    found = probe(rows(np.array([0, 1, 2]), easy), rows(VAL, easy), easy[TEST], 3)
    np.testing.assert_array_equal(found.values.argmax(axis=1), LABELS[TEST])


@pytest.mark.parametrize('probe', [knn_probe, linear_probe])
@pytest.mark.parametrize('classes', [3, 0])
def test_constant_features_tell_nothing_and_break_nothing(probe, classes):
    same = np.full((120, 4), 0.3, np.float32)
    labels = LABELS if classes else LABELS.astype(float)
    found = probe(rows(TRAIN, same, labels), rows(VAL, same, labels), same[TEST], classes)
    assert np.isfinite(found.values).all()
    assert len(np.unique(found.values, axis=0)) == 1


def test_of_models_with_equal_f1_the_likeliest_is_taken():
    """Separable classes: every penalty is right on the validation rows, and the strongest tells next to nothing."""
    labels = np.r_[np.zeros(40, int), np.ones(20, int)]
    x = (6 * labels[:, None] + RNG.normal(0, 0.5, (60, 3))).astype(np.float32)
    found = linear_probe(Rows(x[::2], labels[::2]), Rows(x[1::2], labels[1::2]), x, 2)
    assert found.chosen['validation'] == 1
    assert found.chosen['penalty'] < 1
    assert (found.values.max(axis=1) > 0.9).all()
