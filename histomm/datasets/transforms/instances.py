"""Maps of instances beside an image: loading and packing."""

from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from histomm.datasets.label_maps import read_label_map
from histomm.datasets.transforms.views import PackViews
from histomm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Load the map of instances of an image, which crops, flips and turns then change alike.

    **Required keys:** img, instance_path

    **Added keys:** gt_instance_map (H, W) uint16: 0 outside of objects, a number for each; seg_fields

    Raises:
        ValueError: an unreadable map, one of another size than the image, or one with numbers above 65535.
    """

    def transform(self, results: dict) -> dict:
        """Read ``results['instance_path']``."""
        path = results['instance_path']
        labels = read_label_map(Path(path))
        if labels.shape != results['img'].shape[:2]:
            height, width = results['img'].shape[:2]
            raise ValueError(
                f'LoadInstances: {path} is {labels.shape[1]}×{labels.shape[0]}, its image is {width}×{height} pixels; '
                'put LoadInstances right after LoadPatch, or convert the data set again'
            )
        if labels.max() > np.iinfo(np.uint16).max:
            raise ValueError(f'LoadInstances: {path} holds the number {labels.max()}, expected at most 65535')
        results['gt_instance_map'] = labels.astype(np.uint16)
        results.setdefault('seg_fields', []).append('gt_instance_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class PackInstances(PackViews):
    """Pack one image with its map of instances.

    **Required keys:** img, gt_instance_map

    **Returns:** what :class:`PackViews` does, and in the data sample ``gt_instance_map`` (H, W) int32 and ``gt_mask``
    (H, W) bool, where there is any.

    Args:
        meta_keys: As in :class:`PackViews`.

    Raises:
        ValueError: several views, each of which would need a map of its own.
    """

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        if 'views' in results:
            raise ValueError('PackInstances: found several views, expected one image; leave MultiView out')
        packed = super().transform(results)
        instances = torch.from_numpy(results['gt_instance_map'].astype(np.int32))
        packed['data_samples'].set_field(instances, 'gt_instance_map')
        packed['data_samples'].set_field(instances > 0, 'gt_mask')
        return packed
