"""Simple learners on features, whose quality tells that of the features: nearest neighbours and linear models.

What can be chosen is chosen on the validation rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from histomm.evaluation.classification import classification_scores, mean_absolute_error
from histomm.evaluation.knn import knn_mean, knn_votes

Predictor = Callable[[np.ndarray], np.ndarray]
"""From features (n, D) to scores of classes (n, C), or values (n,)."""

PENALTIES = tuple(float(10.0**power) for power in range(5, -6, -1))
"""Strengths of the penalty that the linear models try, from strong to weak: λ of λ/2·‖w‖² for the summed loss."""


class Rows(NamedTuple):
    """Features and what is to be predicted from them."""

    features: np.ndarray
    """(n, D) float32."""
    labels: np.ndarray
    """(n,) int64 classes, or float64 values."""


class Prediction(NamedTuple):
    """What a probe says of the test rows."""

    values: np.ndarray
    """(n, C) scores of the classes, or (n,) values."""
    chosen: dict[str, float]
    """What was chosen on the validation rows."""


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Each array (n, D), less the mean of the training rows and divided by their deviation; constants become 0."""
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    # What rounding makes of a constant is no deviation.
    scale = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-30), deviation, np.inf)
    return [((array - mean) / scale).astype(np.float32) for array in (train, *others)]


def linear_probe(train: Rows, val: Rows, test: np.ndarray, num_classes: int) -> Prediction:
    """Logistic regression, or ridge regression where ``num_classes`` is 0, on standardised features.

    The models are those of the path :data:`PENALTIES`; the one of best macro-F1, or smallest mean absolute error, on
    the validation rows predicts the test rows; of equal ones that of the smallest log-loss there, then the strongest
    penalty. A class without training rows scores 0; with one class, it is all that is predicted.
    """
    train_x, val_x, test_x = standardise(train.features, val.features, test)
    path = _logistic_path(train_x, train.labels, num_classes) if num_classes else _ridge_path(train_x, train.labels)
    return _best('penalty', path, val.labels, val_x, test_x)


def knn_probe(
    train: Rows, val: Rows, test: np.ndarray, num_classes: int, ks: Sequence[int] = (1, 5, 10, 20, 50, 100, 200)
) -> Prediction:
    """Nearest neighbours by cosine similarity of the features as they are.

    Classes are voted for as in :func:`~histomm.evaluation.knn.knn_votes` with temperature 0.07; values are the mean of
    those of the neighbours. Their number is chosen among ``ks`` on the validation rows as in :func:`linear_probe`, at
    last the smallest; numbers above that of the training rows become it.
    """
    bank, labels = _tensor(train.features), torch.from_numpy(np.asarray(train.labels))

    def predictor(k: int) -> Predictor:
        if num_classes:
            return lambda rows: knn_votes(bank, labels, _tensor(rows), k, 0.07, num_classes).numpy()
        return lambda rows: knn_mean(bank, labels, _tensor(rows), k).numpy()

    path = ((k, predictor(k)) for k in sorted({min(k, len(bank)) for k in ks}))
    return _best('k', path, val.labels, val.features, test)


def _tensor(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, np.float32))


def _quality(truth: np.ndarray, output: np.ndarray) -> tuple[float, float]:
    """Macro-F1 of scores (n, C), and less their mean log-loss; or less the mean absolute error of values (n,), and 0.

    Few validation rows leave many models with equal F1, some of them with all scores next to equal.
    """
    if output.ndim == 1:
        return -mean_absolute_error(truth, output), 0.0
    shares = output[np.arange(len(truth)), truth]
    return classification_scores(truth, output)['macro_f1'], float(np.log(np.maximum(shares, 1e-6)).mean())


def _best(
    name: str, path: Iterable[tuple[float, Predictor]], truth: np.ndarray, val: np.ndarray, test: np.ndarray
) -> Prediction:
    """Prediction of the first of the models, given with their setting, that is best on the validation rows."""
    best: tuple[tuple[float, float], float, Predictor] | None = None
    for setting, predict in path:
        quality = _quality(truth, predict(val))
        if best is None or quality > best[0]:
            best = quality, setting, predict
    quality, setting, predict = best
    return Prediction(predict(test), {name: float(setting), 'validation': abs(quality[0])})


def _ridge_path(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[float, Predictor]]:
    from sklearn.linear_model import Ridge

    for penalty in PENALTIES:
        yield penalty, Ridge(alpha=penalty).fit(x, y).predict


def _logistic_path(x: np.ndarray, y: np.ndarray, num_classes: int) -> Iterator[tuple[float, Predictor]]:
    """Models of the path from features (n, D) to scores (n, C); each starts from the one before."""
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(y)
    if len(classes) == 1:
        alone = np.eye(num_classes)[classes]
        yield PENALTIES[0], lambda rows: np.repeat(alone, len(rows), axis=0)
        return
    model = LogisticRegression(max_iter=1000, warm_start=True)
    for penalty in PENALTIES:
        model.set_params(C=1 / penalty).fit(x, y)
        yield penalty, _logistic(model.coef_.copy(), model.intercept_.copy(), classes, num_classes)


def _logistic(weights: np.ndarray, bias: np.ndarray, classes: np.ndarray, num_classes: int) -> Predictor:
    """Scores (n, C) of features (n, D); of two classes the first has logit 0."""

    def predict(rows: np.ndarray) -> np.ndarray:
        logits = rows @ weights.T + bias
        if len(classes) == 2:
            logits = np.concatenate((np.zeros_like(logits), logits), axis=1)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = np.zeros((len(rows), num_classes))
        scores[:, classes] = odds / odds.sum(axis=1, keepdims=True)
        return scores

    return predict
