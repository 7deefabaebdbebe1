"""The scores of confidence maps as a metric of mmengine, for validation on training images and for tests."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from histomm.registry import METRICS

from .channel_choice import choose_channel, mean_scores
from .confidence_scores import ChannelScores, channel_scores, instance_terms
from .nuclei_post import RADII
from .overlap_scores import OverlapTerms, overlap_scores


class _Image(NamedTuple):
    """What is known of one image."""

    scores: ChannelScores
    terms: OverlapTerms | None


@METRICS.register_module()
class ConfidenceMetric(BaseMetric):
    """Scores of the channels of confidence maps, and the channel to take as the segmentation.

    Means over images, for each channel k:

    - ``dice_ch<k>`` after morphology and ``dice_raw_ch<k>`` without, from labels; absent where images have none;
    - ``entropy_ch<k>`` in bits and ``haematoxylin_ch<k>``, a correlation, without labels; see
      :class:`~histomm.evaluation.confidence_scores.ChannelScores`.

    With ``choose`` also what two rules take. A best epoch is kept by ``save_best`` with these names:

    - ``dice_channel_by_labels``: highest Dice of a channel. Labels were used to choose it, so it is the best of K on
      these very images; ``channel_by_labels`` is its number;
    - ``haematoxylin_channel_label_free``: highest correlation of a channel with haematoxylin, chosen without labels;
      ``channel_label_free`` is its number and, where there are labels, ``dice_channel_label_free`` its Dice.

    With ``channel`` the scores of that one, from labels: ``dice``, ``dice_raw``, and after a watershed ``aji`` and
    ``pq``, means over images, where images without nuclei on both sides do not count.

    Choose on training images, and test what was chosen: ``choose`` on the images of the test takes part of the
    answer from them.

    Args:
        choose: Give what the rules take.
        channel: Number of the channel to score as the segmentation.
        threshold: Pixels of more confidence are the mask.
        radii: Of the morphology, see :func:`~histomm.evaluation.nuclei_post.clean_mask`.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names, ``nuclei`` by default.

    Raises:
        ValueError: No such channel, or ``channel`` without labels.
    """

    default_prefix = 'nuclei'

    def __init__(
        self,
        choose: bool = False,
        channel: int | None = None,
        threshold: float = 0.5,
        radii: Sequence[int] = RADII,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.choose, self.channel, self.threshold, self.radii = choose, channel, threshold, tuple(radii)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Score the images of a batch.

        Args:
            data_batch: With ``inputs``: uint8 RGB of one view, as ``histomm.PackInstances`` gives it and the loader
                collates it.
            data_samples: With ``confidence`` (K, H, W) and, where there are labels, ``gt_instance_map`` (H, W).

        Raises:
            ValueError: see the class, and where an image and its confidence do not fit; the image is named.
        """
        for image, sample in zip(_one_view(data_batch['inputs']), data_samples, strict=True):
            try:
                self.results.append(self._score(image, sample))
            except ValueError as error:
                raise ValueError(f'{sample.get("img_path", "an image")}: {error}') from error

    def _score(self, image: Tensor, sample: dict) -> _Image:
        confidence = torch.as_tensor(sample['confidence']).float().cpu().numpy()
        instances = sample.get('gt_instance_map')
        instances = None if instances is None else torch.as_tensor(instances).cpu().numpy()
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        scores = channel_scores(confidence, pixels, instances, self.threshold, self.radii)
        if self.channel is None:
            return _Image(scores, None)
        if not 0 <= self.channel < len(confidence):
            raise ValueError(f'channel is {self.channel}, expected 0 to {len(confidence) - 1}')
        if instances is None:
            raise ValueError('there are no labels to score a channel with; use histomm.NucleiDataset')
        terms, _ = instance_terms(confidence[self.channel], instances, self.threshold, self.radii)
        return _Image(scores, terms)

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Scores of all images, see the class."""
        _check_labels([scores[0] for scores, _ in results])
        mean = mean_scores([ChannelScores(*scores) for scores, _ in results])
        named = {
            f'{name}_ch{k}': float(value)
            for name, values in mean._asdict().items()
            for k, value in enumerate(values)
            if not np.isnan(value)
        }
        if self.choose:
            named |= _choices(mean)
        if self.channel is not None:
            overlap = overlap_scores([OverlapTerms(*terms) for _, terms in results])
            named |= dict(
                dice=float(mean.dice[self.channel]),
                dice_raw=float(mean.dice_raw[self.channel]),
                aji=overlap.aji,
                pq=overlap.pq,
            )
        return named


def radii_of(evaluator: dict | Sequence[dict] | None) -> tuple[int, ...]:
    """Radii of the morphology that the evaluator of a config asks for, or the default.

    Args:
        evaluator: ``test_evaluator`` of a config, or None.
    """
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator or []
    return next((tuple(metric['radii']) for metric in metrics if 'radii' in metric), RADII)


def _one_view(inputs: Tensor | Sequence) -> Sequence[Tensor]:
    """Images (3, H, W) of a batch: a tensor (B, 3, H, W), B tensors, or a list of one such view."""
    if isinstance(inputs, Tensor) or (isinstance(inputs[0], Tensor) and inputs[0].ndim == 3):
        return list(inputs)
    if len(inputs) != 1:
        raise ValueError(f'ConfidenceMetric: found {len(inputs)} views, expected 1; leave MultiView out')
    return list(inputs[0])


def _check_labels(dice: list[np.ndarray]) -> None:
    labelled = sum(not np.isnan(values).any() for values in dice)
    if 0 < labelled < len(dice):
        raise ValueError(f'{labelled} of {len(dice)} images have labels, expected all or none')


def _choices(mean: ChannelScores) -> dict[str, float]:
    """What the rules take, and its Dice where there are labels."""
    channel, score = choose_channel(mean, 'label_free')
    named = dict(channel_label_free=channel, haematoxylin_channel_label_free=score)
    if not np.isnan(mean.dice).any():
        named |= dict(dice_channel_label_free=float(mean.dice[channel]))
        channel, score = choose_channel(mean, 'by_labels')
        named |= dict(channel_by_labels=channel, dice_channel_by_labels=score)
    return named
