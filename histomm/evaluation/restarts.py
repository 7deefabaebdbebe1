"""Restarts of one training: the checkpoint and channel of each, chosen on training images and tested on others."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel

from histomm.models.weights import TransferError, read_checkpoint

from .channel_choice import RULES, summarize_restarts
from .confidence_metric import ConfidenceMetric

CHOSEN_BY = {'by_labels': 'dice_channel_by_labels', 'label_free': 'haematoxylin_channel_label_free'}
"""What each rule compares checkpoints by; a name of :class:`~histomm.evaluation.confidence_metric.ConfidenceMetric`."""

STEP = re.compile(r'(?:epoch|iter)_\d+$')
"""How the name of a checkpoint ends, without its suffix."""

SUMMARIZED = ('dice', 'dice_raw', 'aji', 'pq')

Score = Callable[[Path, int | None], dict[str, float]]
"""From a checkpoint, and a channel for the test images or None for the training images, to the scores."""


def find_checkpoints(run: Path) -> list[Path]:
    """The checkpoint itself, or all checkpoints of a work folder, one for each epoch.

    Raises:
        FileNotFoundError: No such file, or a folder without checkpoints.
    """
    if run.is_file():
        return [run]
    found = {}
    for path in sorted(run.glob('*.pth'), key=lambda path: path.name.startswith('best_')):
        if STEP.search(path.stem):
            found.setdefault(step_name(path), path)
    if not found:
        raise FileNotFoundError(f'{run}: found no checkpoint, expected one, or a work folder with epoch_<n>.pth')
    return sorted(found.values(), key=lambda path: int(re.findall(r'\d+', path.stem)[-1]))


def step_name(checkpoint: Path) -> str:
    """``epoch_<n>`` or ``iter_<n>``, which the name of a checkpoint ends with; else the name itself."""
    step = STEP.search(checkpoint.stem)
    return step[0] if step else checkpoint.stem


def load_weights(model: BaseModel, path: Path) -> None:
    """Give the model all tensors of a checkpoint.

    Raises:
        TransferError: The file has others than the model.
    """
    tensors, _ = read_checkpoint(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise TransferError(f'{path} is not of the model of the config: {error}') from error


@torch.no_grad()
def evaluate(model: BaseModel, loader: Iterable, metric: ConfidenceMetric) -> dict[str, float]:
    """Scores of a model in evaluation mode on all images of a loader, without the prefix of the metric."""
    model.eval()
    evaluator, count = Evaluator(metric), 0
    for batch in loader:
        samples = model.val_step(batch)
        evaluator.process(samples, batch)
        count += len(samples)
    return {name.rpartition('/')[2]: value for name, value in evaluator.evaluate(count).items()}


def evaluate_restarts(runs: Sequence[Path], score: Score) -> dict[str, Any]:
    """Choose checkpoint and channel of each restart on the training images, score them on the test images.

    Args:
        runs: Checkpoints, or work folders.
        score: Gives the scores of a checkpoint.

    Returns:
        ``restarts``: of each its ``run``, its ``candidates`` (``checkpoint``, and ``train``, its scores on the training
        images) and by rule the ``checkpoint``, ``channel``, ``score`` that it was chosen by, ``train_dice`` and
        ``test``, its scores on the test images. ``summary``: by rule and score, see
        :class:`~histomm.evaluation.channel_choice.Summary`. ``best_restart``: by rule the number of the restart of the
        highest ``score``, from 0, so that a restart, too, is chosen on the training images.

    Raises:
        FileNotFoundError: see :func:`find_checkpoints`.
    """
    found = [(run, find_checkpoints(run)) for run in runs]
    restarts = [_evaluate_restart(run, checkpoints, score) for run, checkpoints in found]
    summary = {
        rule: {name: summarize_restarts([one[rule]['test'][name] for one in restarts])._asdict() for name in SUMMARIZED}
        for rule in RULES
    }
    best = {rule: max(range(len(restarts)), key=lambda number: restarts[number][rule]['score']) for rule in RULES}
    return dict(restarts=restarts, summary=summary, best_restart=best)


def _evaluate_restart(run: Path, checkpoints: list[Path], score: Score) -> dict[str, Any]:
    candidates = [dict(checkpoint=str(path), train=score(path, None)) for path in checkpoints]
    result: dict[str, Any] = dict(run=str(run), candidates=candidates)
    tested: dict[tuple[str, int], dict[str, float]] = {}
    for rule in RULES:
        best = max(candidates, key=lambda candidate: candidate['train'][CHOSEN_BY[rule]])
        path, train = best['checkpoint'], best['train']
        channel = train[f'channel_{rule}']
        if (path, channel) not in tested:
            tested[path, channel] = score(Path(path), channel)
        result[rule] = dict(
            checkpoint=path,
            channel=channel,
            score=train[CHOSEN_BY[rule]],
            train_dice=train[f'dice_channel_{rule}'],
            test=tested[path, channel],
        )
    return result
