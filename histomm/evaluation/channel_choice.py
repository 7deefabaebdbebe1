"""Which channel, and which checkpoint, is the segmentation: by labels, or without any; and figures of many restarts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .confidence_scores import ChannelScores

RULES = ('by_labels', 'label_free')
"""``by_labels`` takes the highest Dice on labelled images, as Boserup & Selvan do; ``label_free`` reads no labels."""


class Choice(NamedTuple):
    """What a rule has chosen.

    Attributes:
        channel: Number of the channel, from 0.
        score: What it was chosen by; compare it between checkpoints by the same rule only.
    """

    channel: int
    score: float


class Summary(NamedTuple):
    """A figure over restarts.

    Attributes:
        max: The best.
        mean: Mean.
        sd: Standard deviation with n − 1; None of a single one.
        percentile_80: 80th percentile, interpolated linearly.
        restarts: How many.
    """

    max: float
    mean: float
    sd: float | None
    percentile_80: float
    restarts: int


def mean_scores(images: Sequence[ChannelScores]) -> ChannelScores:
    """Mean over images of each score of each channel."""
    return ChannelScores(*(np.mean(values, axis=0) for values in zip(*images, strict=True)))


def choose_channel(scores: ChannelScores, rule: str) -> Choice:
    """The channel that a rule takes, the first among equals.

    Args:
        scores: Means over the images to choose by, which should not be those to test on.
        rule: One of :data:`RULES`. ``by_labels`` takes the highest mean Dice after morphology, ``label_free`` the
            highest mean correlation of the mask with haematoxylin. The entropy is not weighed: it falls throughout a
            training, also long after the Dice has begun to fall.

    Raises:
        ValueError: An unknown rule, or ``by_labels`` without labels.
    """
    if rule not in RULES:
        raise ValueError(f'the rule is {rule!r}, expected one of {", ".join(RULES)}')
    values = scores.dice if rule == 'by_labels' else scores.haematoxylin
    if np.isnan(values).any():
        raise ValueError(f'{rule}: the scores are {values}; to choose by labels every image needs them')
    channel = int(np.argmax(values))
    return Choice(channel, float(values[channel]))


def summarize_restarts(values: Sequence[float]) -> Summary:
    """Maximum, mean, standard deviation and 80th percentile of one figure of each restart.

    Raises:
        ValueError: There is none.
    """
    if not len(values):
        raise ValueError('found no restart to summarise, expected one at least')
    return Summary(
        max=float(np.max(values)),
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        percentile_80=float(np.percentile(values, 80)),
        restarts=len(values),
    )
