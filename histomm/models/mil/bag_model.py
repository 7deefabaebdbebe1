"""What is learned of bags: a class, or how long somebody lives."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from histomm.functional.survival import cox_loss, discrete_time_loss, survival_curve
from histomm.registry import MODELS

from .output import BagOutput


class BagModel(BaseModel):
    """An aggregator with its data preprocessor; the classes below say what its logits are.

    Args:
        aggregator: Config of a module that gives a :class:`~.output.BagOutput`.
        data_preprocessor: By default :class:`~histomm.models.BagDataPreprocessor`.
        init_cfg: Initialisation of mmengine's modules.
    """

    def __init__(
        self, aggregator: dict, data_preprocessor: dict | None = None, init_cfg: dict | list | None = None
    ) -> None:
        super().__init__(data_preprocessor or dict(type='histomm.BagDataPreprocessor'), init_cfg)
        self.aggregator = MODELS.build(aggregator)

    def forward(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        data_samples: Sequence[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> BagOutput | dict[str, Tensor] | list[DataSample]:
        """Run the aggregator.

        Args:
            inputs: Bags (B, L, D).
            mask: (B, L) bool, false where a bag has ended; ``None`` if all have L instances.
            data_samples: B, with the truth for ``mode='loss'``; predictions are added to them.
            mode: 'loss', 'predict', or 'tensor' for the output as it is.
        """
        output = self.aggregator(inputs, mask)
        if mode == 'loss':
            return self.loss(output, data_samples)
        if mode == 'predict':
            return self.predict(output, mask, data_samples or [DataSample() for _ in inputs])
        return output

    def loss(self, output: BagOutput, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        """Mean of the losses of the streams."""
        losses = [self.stream_loss(logits, data_samples) for logits in output.streams]
        return dict(loss=torch.stack(losses).mean())

    def predict(self, output: BagOutput, mask: Tensor | None, data_samples: Sequence[DataSample]) -> list[DataSample]:
        """The samples with ``pred_score``, the mean over the streams, and ``attention`` (L, A) of their instances."""
        scores = torch.stack([self.stream_scores(logits) for logits in output.streams]).mean(0)
        for number, (sample, score) in enumerate(zip(data_samples, scores, strict=True)):
            attention = output.attention[number]
            sample.set_field(attention if mask is None else attention[mask[number]], 'attention')
            self.add_prediction(sample, score)
        return list(data_samples)

    @abstractmethod
    def stream_loss(self, logits: Tensor, data_samples: Sequence[DataSample]) -> Tensor:
        """Loss of the logits (B, C) of one stream."""

    @abstractmethod
    def stream_scores(self, logits: Tensor) -> Tensor:
        """Scores (B, S) from the logits (B, C) of one stream."""

    def add_prediction(self, sample: DataSample, score: Tensor) -> None:
        """Write the mean score (S,) into the sample."""
        sample.set_pred_score(score)


@MODELS.register_module()
class BagClassifier(BagModel):
    """Class of a bag.

    Args:
        aggregator: As in :class:`BagModel`; its ``num_classes`` is the number of classes.
        criterion: 'ce' for cross-entropy and softmax; 'bce' for binary cross-entropy of each class against the others,
            and sigmoid, as in the original DS-MIL. With one logit alone, which 'bce' allows, it is that of class 1.
        data_preprocessor: As in :class:`BagModel`.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: another criterion.
    """

    def __init__(
        self,
        aggregator: dict,
        criterion: str = 'ce',
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if criterion not in ('ce', 'bce'):
            raise ValueError(f"BagClassifier: criterion is {criterion!r}, expected 'ce' or 'bce'")
        super().__init__(aggregator, data_preprocessor, init_cfg)
        self.criterion = criterion

    def stream_loss(self, logits: Tensor, data_samples: Sequence[DataSample]) -> Tensor:
        """Cross-entropy with ``gt_label`` of the samples."""
        truth = torch.cat([sample.gt_label for sample in data_samples]).to(logits.device)
        classes = logits.shape[1]
        if self.criterion == 'ce':
            return F.cross_entropy(logits, truth)
        target = truth[:, None] if classes == 1 else F.one_hot(truth, classes)
        return F.binary_cross_entropy_with_logits(logits, target.to(logits))

    def stream_scores(self, logits: Tensor) -> Tensor:
        """Probabilities (B, C), of one logit those of both classes."""
        if self.criterion == 'ce':
            return logits.softmax(1)
        scores = logits.sigmoid()
        return torch.cat((1 - scores, scores), dim=1) if logits.shape[1] == 1 else scores

    def add_prediction(self, sample: DataSample, score: Tensor) -> None:
        """Write ``pred_score`` (C,) and ``pred_label``."""
        sample.set_pred_score(score).set_pred_label(score.argmax())


@MODELS.register_module()
class BagSurvival(BagModel):
    """Risk of a bag: who has more of it is expected to meet the event earlier.

    Args:
        aggregator: As in :class:`BagModel`; its ``num_classes`` is 1 for ``'cox'``, and K for ``'discrete'``.
        likelihood: 'cox' for the partial likelihood within a batch of bags, so that larger batches have larger risk
            sets, and the risk is the logit; 'discrete' for hazards of K intervals of time (``time_bins`` of
            :class:`~histomm.BagDataset`), where batches of one will do and the risk is −Σ_k S_k.
        ties: Of 'cox', see :func:`~histomm.functional.survival.cox_loss`.
        data_preprocessor: As in :class:`BagModel`.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: another likelihood.
    """

    def __init__(
        self,
        aggregator: dict,
        likelihood: str = 'cox',
        ties: str = 'efron',
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if likelihood not in ('cox', 'discrete'):
            raise ValueError(f"BagSurvival: likelihood is {likelihood!r}, expected 'cox' or 'discrete'")
        super().__init__(aggregator, data_preprocessor, init_cfg)
        self.likelihood, self.ties = likelihood, ties

    def stream_loss(self, logits: Tensor, data_samples: Sequence[DataSample]) -> Tensor:
        """Negative log-likelihood of ``gt_time`` or ``gt_interval``, and ``gt_event`` of the samples."""
        event = torch.cat([sample.gt_event for sample in data_samples]).to(logits.device)
        if self.likelihood == 'discrete':
            interval = torch.cat([sample.gt_interval for sample in data_samples]).to(logits.device)
            return discrete_time_loss(logits, interval, event)
        time = torch.cat([sample.gt_time for sample in data_samples]).to(logits.device)
        if logits.shape[1] != 1:
            raise ValueError(
                f'BagSurvival: the aggregator has {logits.shape[1]} outputs, expected num_classes=1 of cox'
            )
        return cox_loss(logits[:, 0], time, event, self.ties)

    def stream_scores(self, logits: Tensor) -> Tensor:
        """Risks (B, 1)."""
        return logits if self.likelihood == 'cox' else -survival_curve(logits).sum(1, keepdim=True)
