"""The scores of instances as metrics of mmengine, for the configs of mmdet."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..registry import METRICS
from .gland_scores import GlandTerms, gland_scores, gland_terms
from .instance_masks import CocoGroundTruth, GroundTruth, decode_masks, predicted_label_map, true_label_map
from .label_overlap import check_choices
from .overlap_scores import OverlapTerms, overlap_scores, overlap_terms


class InstanceMetric(BaseMetric):
    """A score of label maps on what a detector predicts.

    Each prediction becomes a label map at the original size of its image: objects of at least ``score_thr``, of all
    classes; a pixel of several belongs to the one of highest score. The ground truth becomes one too; there a pixel of
    several objects belongs to the smallest. Regions marked ``iscrowd`` are background on both sides.

    The ground truth is taken from ``ann_file`` or, without one, from the masks that ``LoadAnnotations`` left in the
    data sample. Those must have the original size: in the pipeline ``LoadAnnotations`` stands after ``Resize``, as
    mmdet's test pipelines have it.

    Terms of each image are computed by the process that predicted it, and summed up in the order of the data set: any
    number of processes gives the same scores, and samples that a sampler adds to fill the last batch do not count.

    Args:
        ann_file: COCO annotation file of the data set, with masks; its categories that are not classes of the data
            set are left out.
        score_thr: Objects that score less are left out.
        average: 'images' for the mean of the scores of the images, 'pooled' for the score of all images together, the
            default of :class:`GlandMetric`.
        empty: What images count that have no objects in ground truth and prediction: 'skip' leaves them out of the
            mean, 'perfect' counts them as perfect.
        collect_device: See mmengine's ``BaseMetric``.
        prefix: Before the names of the scores; give it if two metrics of a kind are in use.
        collect_dir: See mmengine's ``BaseMetric``.

    Raises:
        ValueError: an unknown ``average`` or ``empty``, or an ``ann_file`` that is none.
    """

    terms: ClassVar[Callable]
    """Terms of an image from the label maps of ground truth and prediction."""

    scores: ClassVar[Callable]
    """Scores from the terms of all images, ``average`` and ``empty``."""

    nothing: ClassVar[tuple]
    """Terms of an image without objects."""

    default_average: ClassVar[str] = 'images'
    """What ``average`` is where nothing is said."""

    def __init__(
        self,
        ann_file: str | None = None,
        score_thr: float = 0.5,
        average: str | None = None,
        empty: str = 'skip',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        average = self.default_average if average is None else average
        check_choices(average, empty)
        self.average, self.empty, self.score_thr = average, empty, score_thr
        self.annotations = CocoGroundTruth(ann_file) if ann_file is not None else None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add the terms of a batch.

        Args:
            data_batch: Not needed.
            data_samples: Of mmdet, as dicts, with ``ori_shape`` and ``pred_instances`` that hold ``scores`` and
                ``masks``, the latter as tensor, arrays or run lengths.

        Raises:
            ValueError: no masks in the prediction, no ground truth, or one of another size.
        """
        for sample in data_samples:
            name = sample.get('img_path') or f'image {sample.get("img_id")}'
            try:
                gt, pred = self._label_maps(sample, name)
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from error
            self.results.append(type(self).terms(gt, pred))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores by name from the terms of all images."""
        # mmengine hands named tuples on as plain ones.
        results = [type(self.nothing)(*terms) for terms in results]
        skipped = results.count(self.nothing) if self.empty == 'skip' else 0
        if skipped:
            print_log(
                f'{type(self).__name__}: {skipped} of {len(results)} images have no objects in ground truth and '
                "prediction, and do not count (empty='skip')",
                logger='current',
            )
        return type(self).scores(results, self.average, self.empty)._asdict()

    def _label_maps(self, sample: dict, name: str) -> tuple[np.ndarray, np.ndarray]:
        shape = tuple(sample['ori_shape'][:2])
        objects = sample['pred_instances']
        if 'masks' not in objects:
            raise ValueError('the prediction has no masks, which this metric needs; does the model have a mask head?')
        scores = objects.get('mask_scores', objects['scores'])
        pred = predicted_label_map(objects['masks'], torch.as_tensor(scores).cpu().numpy(), self.score_thr, shape)
        truth = self._ground_truth(sample, shape)
        gt, hidden = true_label_map(truth.masks, shape)
        if hidden:
            print_log(
                f'{name}: {len(hidden)} of {len(truth.masks)} annotated objects lie wholly under smaller ones, and do '
                'not count',
                logger='current',
                level=logging.WARNING,
            )
        for void in decode_masks(truth.void, shape):
            gt[void] = pred[void] = 0
        return gt, pred

    def _ground_truth(self, sample: dict, shape: tuple[int, int]) -> GroundTruth:
        if self.annotations is not None:
            return self.annotations(sample['img_id'], shape, (self.dataset_meta or {}).get('classes'))
        if 'masks' not in sample.get('gt_instances', {}):
            raise ValueError(
                'the data sample has no masks of the ground truth; give ann_file, or put LoadAnnotations with '
                'with_mask=True after Resize in the test pipeline'
            )
        masks = sample['gt_instances']['masks']
        found = (masks.height, masks.width) if hasattr(masks, 'height') else tuple(masks.shape[1:])
        if found != shape:
            raise ValueError(
                f'the masks of the ground truth are {found}, expected the original size {shape}; put LoadAnnotations '
                'after Resize in the test pipeline, or give ann_file'
            )
        return GroundTruth(masks, sample.get('ignored_instances', {}).get('masks', ()))


@METRICS.register_module()
class GlandMetric(InstanceMetric):
    """Object F1, object Dice and object Hausdorff distance of the GlaS challenge (Sirinukunwattana et al. 2017).

    Gives ``gland/object_f1``, ``gland/precision``, ``gland/recall``, ``gland/object_dice`` (0 to 1, 1 is best) and
    ``gland/object_hausdorff`` (pixels, 0 is best); see :mod:`histomm.evaluation.gland_scores`. Without ``average`` the
    objects of all images are pooled, as the challenge does. Arguments are those of :class:`InstanceMetric`.
    """

    default_prefix = 'gland'
    terms, scores, nothing = staticmethod(gland_terms), staticmethod(gland_scores), GlandTerms()
    default_average = 'pooled'


@METRICS.register_module()
class InstanceOverlapMetric(InstanceMetric):
    """Aggregated Jaccard index and panoptic quality of all classes as one.

    Gives ``instance/aji``, ``instance/pq``, ``instance/dq`` and ``instance/sq`` (0 to 1, 1 is best); see
    :mod:`histomm.evaluation.overlap_scores`. Arguments are those of :class:`InstanceMetric`.
    """

    default_prefix = 'instance'
    terms, scores, nothing = staticmethod(overlap_terms), staticmethod(overlap_scores), OverlapTerms()
