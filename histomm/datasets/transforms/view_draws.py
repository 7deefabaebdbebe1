"""What the transforms of views would do to an image, as rows of numbers, for a model that makes the views itself.

The draws are those of :class:`~histomm.datasets.transforms.MultiView` on the same list of views: the same transforms
take them from the same generators, seeded by (seed, epoch, sample index, view).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from histomm.datasets.transforms.base import RandomTransform, view_generator
from histomm.datasets.transforms.geometric import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotate90,
    _crop_box,
    _refuse_turned,
)
from histomm.datasets.transforms.photometric import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from histomm.datasets.transforms.views import PackViews, list_pipelines
from histomm.registry import TRANSFORMS

GEOMETRY = 7
"""Numbers of the geometry at the start of a row: top, left, height, width of the crop, hflip, vflip, rot90."""

_CROPS = (RandomResizedCrop, RandomCrop)
_TURNS = (RandomFlip, RandomRotate90)


class ColourStep(NamedTuple):
    """A photometric transform, and which numbers of a row are its own.

    One of :class:`ColorJitter` has K steps: their numbers in order, −1 without jitter, then their K factors. The
    others have one number: yes or no, or the standard deviation of the blur, 0 for none.
    """

    transform: RandomTransform
    columns: slice


class UnsupportedViewError(ValueError):
    """A list of transforms that only the pipeline can carry out."""


class ViewDraws:
    """The transforms of one view, which draw without an image.

    Args:
        steps: A crop (``RandomResizedCrop`` or ``RandomCrop``), then ``RandomFlip``, ``RandomRotate90``,
            ``ColorJitter``, ``RandomGrayscale``, ``GaussianBlur`` and ``RandomSolarize`` in any order, several times or
            not at all; no flip after a turn.

    Raises:
        UnsupportedViewError: another transform or order.
    """

    def __init__(self, steps: Sequence[BaseTransform]) -> None:
        self.steps = list(steps)
        self._check()
        self.crop = self.steps[0]
        self.size: tuple[int, int] = self.crop.size
        self.interpolation = getattr(self.crop, 'interpolation', 'bilinear')
        self.colours: list[ColourStep] = []
        self.columns = GEOMETRY
        for step in self.steps[1:]:
            if not isinstance(step, _TURNS):
                width = 2 * len(step.steps) if isinstance(step, ColorJitter) else 1
                self.colours.append(ColourStep(step, slice(self.columns, self.columns + width)))
                self.columns += width

    def _check(self) -> None:
        names = [type(step).__name__ for step in self.steps]
        later = (*_TURNS, ColorJitter, RandomGrayscale, GaussianBlur, RandomSolarize)
        if not self.steps or type(self.steps[0]) not in _CROPS:
            raise UnsupportedViewError(
                f'a view is {names}, expected RandomResizedCrop or RandomCrop as its first transform'
            )
        unknown = next(
            (name for name, step in zip(names[1:], self.steps[1:], strict=True) if type(step) not in later), ''
        )
        if unknown:
            known = ', '.join(kind.__name__ for kind in later)
            raise UnsupportedViewError(f'a view has the transform {unknown}, expected after the crop only {known}')
        turns = [type(step) for step in self.steps if isinstance(step, _TURNS)]
        if RandomRotate90 in turns and RandomFlip in turns[turns.index(RandomRotate90) :]:
            raise UnsupportedViewError('a view has RandomFlip after RandomRotate90; put RandomFlip before')
        height, width = self.steps[0].size
        if RandomRotate90 in turns and height != width:
            raise UnsupportedViewError(f'a view of {width}×{height} pixels is turned; crop to a square')

    def draw(self, sample: dict, number: int) -> dict:
        """What view ``number``, from 1, of a sample is.

        Args:
            sample: With ``img``, and what the generator is seeded from.
            number: Of the view.

        Returns:
            dict: ``crop_box``, ``hflip``, ``vflip`` and ``rot90`` as the transforms would record them, and ``draws``,
            a row of :attr:`columns` numbers.

        Raises:
            ValueError: the image is already flipped or turned, or too small for the crop.
        """
        _refuse_turned(type(self.crop).__name__, sample)
        height, width = sample['img'].shape[:2]
        rng = view_generator(sample, number)
        path = (sample.get('img_path', 'the image'),) if isinstance(self.crop, RandomCrop) else ()
        rectangle = self.crop.draw(height, width, rng, *path)
        view = dict(crop_box=_crop_box(sample, *rectangle), hflip=False, vflip=False, rot90=0)
        row = np.zeros(self.columns)
        colours = iter(self.colours)
        for step in self.steps[1:]:
            drawn = step.draw(rng)
            if isinstance(step, RandomFlip):
                view['hflip'] ^= drawn[0]
                view['vflip'] ^= drawn[1]
            elif isinstance(step, RandomRotate90):
                view['rot90'] = (view['rot90'] + drawn) % 4
            else:
                row[next(colours).columns] = _jitter_row(step, drawn) if isinstance(step, ColorJitter) else drawn
        row[:GEOMETRY] = *rectangle, view['hflip'], view['vflip'], view['rot90']
        return dict(view, draws=row)


def _jitter_row(jitter: ColorJitter, drawn: list[tuple[int, float]]) -> list[float]:
    if not drawn:
        return [-1] * len(jitter.steps) + [0] * len(jitter.steps)
    return [number for number, _ in drawn] + [factor for _, factor in drawn]


def view_draws(views: Sequence[dict]) -> list[ViewDraws]:
    """One :class:`ViewDraws` for each view of a list as ``MultiView`` takes it.

    Raises:
        UnsupportedViewError: a view that only the pipeline can make.
        ValueError: a bad list.
    """
    return [ViewDraws(steps) for steps in list_pipelines(views)]


def making_views(pipeline: Sequence[dict]) -> list[dict]:
    """Configs of a pipeline that makes the views that this one may only draw; they take the same arguments."""
    makes = {'histomm.DrawViews': 'histomm.MultiView', 'histomm.PackDraws': 'histomm.PackViews'}
    return [dict(step, type=makes.get(step['type'], step['type'])) for step in pipeline]


@TRANSFORMS.register_module()
class DrawViews(BaseTransform):
    """Draw what ``MultiView`` would draw, and leave it to ``histomm.BatchViews`` to make the views of a batch.

    **Required keys:** img

    **Added keys:** views (list over views of ``crop_box``, ``hflip``, ``vflip``, ``rot90`` and ``draws``)

    Args:
        views: As of ``MultiView``; see :class:`ViewDraws` for the transforms that are possible.

    Raises:
        UnsupportedViewError: another transform or order.
        ValueError: a bad list.
    """

    def __init__(self, views: Sequence[dict]) -> None:
        self.views = view_draws(views)

    def transform(self, results: dict) -> dict:
        """Draw all views."""
        results['views'] = [view.draw(results, number) for number, view in enumerate(self.views, start=1)]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(views={[view.steps for view in self.views]})'


@TRANSFORMS.register_module()
class PackDraws(PackViews):
    """Pack a whole image and what was drawn for its views.

    **Required keys:** img, and views of :class:`DrawViews`

    **Returns:** dict of

    - ``inputs``: uint8 tensor (3, H, W), the image;
    - ``draws``: list over V views of rows of numbers, float64;
    - ``data_samples``: as of :class:`PackViews`.

    Args:
        meta_keys: As of :class:`PackViews`.

    Raises:
        KeyError: a sample lacks one of ``meta_keys``.
    """

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        return dict(
            inputs=self._planes(results['img']),
            draws=[torch.from_numpy(view['draws']) for view in results['views']],
            data_samples=self._sample(results, results['views']),
        )
