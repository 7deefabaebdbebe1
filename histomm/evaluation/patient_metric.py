"""Accuracy by image and patient at each magnification, and votes of patches, as metrics of mmengine."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..datasets.magnification_sets import PATIENTS, breakhis_member
from ..registry import METRICS
from .classification import confusion_matrix, confusion_scores
from .patient_scores import image_level_accuracy, majority_vote, patient_level_accuracy
from .splits import groups_of


class _PathMetric(BaseMetric):
    """Collects path, truth, prediction and number of classes of every image."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add a batch of mmpretrain's samples: ``img_path``, ``gt_label`` (1,) and ``pred_score`` (C,)."""
        for sample in data_samples:
            missing = [key for key in ('img_path', 'gt_label', 'pred_score') if key not in sample]
            if missing:
                raise ValueError(f'{type(self).__name__}: a data sample has no {missing[0]}, found {list(sample)}')
            scores = np.asarray(sample['pred_score'].cpu(), np.float64)
            self.results.append((sample['img_path'], int(sample['gt_label'][0]), int(scores.argmax()), len(scores)))


@METRICS.register_module()
class PatientAccuracyMetric(_PathMetric):
    """ILA and PLA, the accuracies by image and by patient, from 0 to 1, over all images and at each magnification.

    Gives ``patients/ila`` and ``patients/pla`` over all images; ``patients/ila_40X``, ``patients/pla_40X`` and so on;
    and ``patients/ila_mean`` and ``patients/pla_mean``, the means over magnifications, as papers on BreakHis print
    them. The class of the highest score is predicted, of two classes that of a probability above one half.

    Args:
        patients: How paths tell the patient: 'folder', 'name' or 'case' of BreakHis, see
            :class:`~histomm.MagnificationSetDataset`; 'tcga'; or a regular expression whose first bracket is the
            patient.
        magnifications: Regular expression whose first bracket is the magnification. By default that of BreakHis' names,
            if ``patients`` is of BreakHis, else none.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names of the scores.
        collect_dir: See mmengine's ``BaseMetric``.

    Raises:
        ConversionError: a name that is none of BreakHis.
        ValueError: a path that tells no patient or magnification, or a sample without path, label or score.
    """

    default_prefix = 'patients'

    def __init__(
        self,
        patients: str = 'name',
        magnifications: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.patients, self.magnifications = patients, magnifications

    def _told(self, paths: list[str]) -> tuple[list[str], list[str]]:
        """Patients, and magnifications, empty where paths do not tell them."""
        if self.patients in PATIENTS:
            members = [breakhis_member(path, self.patients) for path in paths]
            found = [member.patient for member in members]
            if self.magnifications is None:
                return found, [f'{member.magnification}' for member in members]
        else:
            found = list(groups_of(paths, self.patients))
        numbers = groups_of(paths, self.magnifications) if self.magnifications else [''] * len(paths)
        return found, list(numbers)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name."""
        patients, magnifications = (np.asarray(names, str) for names in self._told([path for path, *_ in results]))
        correct = np.array([truth == predicted for _, truth, predicted, _ in results], bool)
        scores = {'ila': image_level_accuracy(correct), 'pla': patient_level_accuracy(correct, patients)}
        at = sorted(set(magnifications.tolist()) - {''}, key=lambda name: (len(name), name))
        for name in at:
            rows = magnifications == name
            scores[f'ila_{_times(name)}'] = image_level_accuracy(correct[rows])
            scores[f'pla_{_times(name)}'] = patient_level_accuracy(correct[rows], patients[rows])
        for kind in ('ila', 'pla') if at else ():
            scores[f'{kind}_mean'] = float(np.mean([scores[f'{kind}_{_times(name)}'] for name in at]))
        return scores


def _times(name: str) -> str:
    """``40`` as ``40X``; other names as they are."""
    return f'{name}X' if re.fullmatch(r'[\d.]+', name) else name


@METRICS.register_module()
class MajorityVoteMetric(_PathMetric):
    """Scores of whole images, each of the class that most of its patches are taken for.

    Gives ``vote/accuracy``, ``vote/macro_f1``, ``vote/weighted_f1``, ``vote/balanced_accuracy``, the mean recall, and
    ``vote/macro_precision``, see :func:`~histomm.evaluation.classification.confusion_scores`. Every patch counts; of
    classes with as many votes the lowest is taken.

    Args:
        images: How the path of a patch tells its image: a regular expression whose first bracket, or whole match, is
            the image; by default the folder that the patch lies in.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names of the scores.
        collect_dir: See mmengine's ``BaseMetric``.

    Raises:
        ValueError: patches of one image have different labels, or a path tells no image.
    """

    default_prefix = 'vote'

    def __init__(
        self,
        images: str = r'(.*)/',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.images = images

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name."""
        names = groups_of([path for path, *_ in results], self.images)
        labels, votes = {}, {}
        for name, (path, truth, predicted, _) in zip(names, results, strict=True):
            if labels.setdefault(name, truth) != truth:
                raise ValueError(
                    f'MajorityVoteMetric: {path} has label {truth}, other patches of {name} have {labels[name]}, '
                    'expected one label for an image; correct the labels or images'
                )
            votes.setdefault(name, []).append(predicted)
        predicted = [majority_vote(np.array(votes[name])) for name in labels]
        return confusion_scores(confusion_matrix(np.array([*labels.values()]), np.array(predicted), results[0][3]))
