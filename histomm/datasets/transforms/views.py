"""Several views of one image, with their geometry."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.structures import DataSample

from histomm.datasets.transforms.reduced import PendingJpeg, decode_for_views
from histomm.registry import TRANSFORMS

_GEOMETRY = ('crop_box', 'hflip', 'vflip', 'rot90')


def list_pipelines(views: Sequence[dict]) -> list[list[Callable]]:
    """The transforms of each view of the list that :class:`MultiView` takes, built; views of a kind share theirs.

    Raises:
        ValueError: no views, an unknown field, or a ``num`` below 1.
    """
    if not views:
        raise ValueError('MultiView: views is empty, expected at least one dict(pipeline=[...], num=1)')
    pipelines: list[list[Callable]] = []
    for view in views:
        num = view.get('num', 1)
        if not set(view) <= {'pipeline', 'num'} or 'pipeline' not in view or num < 1:
            raise ValueError(f'MultiView: a view is {dict(view)}, expected dict(pipeline=[...], num=1 or more)')
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in view['pipeline']]
        pipelines.extend([steps] * num)
    return pipelines


@TRANSFORMS.register_module()
class MultiView(BaseTransform):
    """Run pipelines on copies of one sample, each with its own random generator.

    The decoded image is shared by all views and write-protected while they are made, so a transform that would write
    into it fails instead of spoiling the other views. A pipeline finds the views made before it in ``earlier_views``,
    a tuple of their results.

    **Required keys:** img

    **Added keys:** views (list of the results of each view; their ``view`` is its number, from 1)

    **Removed keys:** img

    Args:
        views: One dict for each kind of view: ``pipeline`` (list of transforms) and ``num`` (how many views of this
            kind, 1 if left out).

    Raises:
        ValueError: no views, an unknown field, or a ``num`` below 1.
    """

    def __init__(self, views: Sequence[dict]) -> None:
        self.pipelines = list_pipelines(views)

    def transform(self, results: dict) -> dict | None:
        """Make all views; None if a transform gives one up."""
        source = results.pop('img')
        shared = {key: value for key, value in results.items() if key not in ('views', 'rng')}
        drawn: list[dict] = [{} for _ in self.pipelines]
        if isinstance(source, PendingJpeg):
            source, drawn = decode_for_views(source, self.pipelines, shared)
        source = source.view()
        source.flags.writeable = False
        results['views'] = []
        for number, (steps, known) in enumerate(zip(self.pipelines, drawn, strict=True), start=1):
            view = dict(shared, img=source, view=number, earlier_views=tuple(results['views']), **known)
            for step in steps:
                view = step(view)
                if view is None:
                    return None
            view.pop('earlier_views', None)
            results['views'].append(view)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(views={self.pipelines})'


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Pack views into ``inputs`` and a data sample that carries their geometry.

    **Required keys:** views, or img for a single view

    **Returns:** dict of

    - ``inputs``: list over V views of uint8 tensors (3, H, W);
    - ``data_samples``: :class:`mmpretrain.structures.DataSample` with the metainfo ``img_path``, ``sample_idx``,
      ``ori_shape`` (where the sample has them) and, one entry a view, ``crop_box`` (x1, y1, x2, y2), ``hflip``,
      ``vflip`` and ``rot90``.

    A view that was not cropped, flipped or turned gets the box of the whole image, False, False and 0. Labels are left
    behind: they are no business of pre-training.

    Args:
        meta_keys: Further entries of the sample to keep as metainfo.

    Raises:
        KeyError: a sample lacks one of ``meta_keys``.
    """

    def __init__(self, meta_keys: Sequence[str] = ()) -> None:
        self.meta_keys = tuple(meta_keys)

    @staticmethod
    def _geometry(view: dict) -> tuple:
        if 'crop_box' not in view:
            height, width = view.get('ori_shape') or view['img'].shape[:2]
            view = dict(view, crop_box=(0.0, 0.0, float(width), float(height)))
        return view['crop_box'], view.get('hflip', False), view.get('vflip', False), view.get('rot90', 0)

    @staticmethod
    def _planes(image: np.ndarray) -> torch.Tensor:
        """(H, W, 3) uint8 to a contiguous (3, H, W) tensor of its own."""
        planes = np.empty((3, *image.shape[:2]), np.uint8)
        cv2.split(image, list(planes))
        return torch.from_numpy(planes)

    def _sample(self, results: dict, views: Sequence[dict]) -> DataSample:
        """What is known of a sample and its views."""
        missing = [key for key in self.meta_keys if key not in results]
        if missing:
            raise KeyError(
                f'{type(self).__name__}: meta_keys {missing} are not in the sample, which has {sorted(results)}'
            )
        meta = {key: results[key] for key in ('img_path', 'ori_shape', *self.meta_keys) if key in results}
        if 'sample_idx' in results:
            meta['sample_idx'] = int(results['sample_idx'])
        meta.update(zip(_GEOMETRY, zip(*map(self._geometry, views), strict=True), strict=True))
        sample = DataSample()
        sample.set_metainfo(meta)
        return sample

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        views = results.get('views') or [results]
        return dict(inputs=[self._planes(view['img']) for view in views], data_samples=self._sample(results, views))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
